"""What a server counts of its own work, in plain numbers that cost next to nothing to raise.

Each server has one `Counts`; what is counted where gets its part by its constructor. Who shows them (`monitoring`)
reads them when it is asked, and nothing here knows how.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

# Upper bounds in seconds: from what a step in memory takes to what a client gives up after.
SECONDS: Final = (
    0.0001,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Distribution:
    """How often a value fell between which bounds, and the sum of all values."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """One more value, or the same several times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def number(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The bound below which this share of the values lies; infinity beyond the last bound, 0 without values."""
        wanted, below = share * self.number, 0
        if not wanted:
            return 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            if below >= wanted:
                return bound
        return float("inf")


@dataclass(slots=True)
class WriterCounts:
    """Of the writer. An operation is a step by its function's name; its time is from asked to answered.

    `decided` is the time for working out a batch, `committed` for making it durable, `batches` for both. `is_failing`:
    the last commit was not made.
    """

    operations: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, Distribution] = field(default_factory=dict)
    sizes: Distribution = field(default_factory=lambda: Distribution(SIZES))
    decided: Distribution = field(default_factory=Distribution)
    committed: Distribution = field(default_factory=Distribution)
    batches: Distribution = field(default_factory=Distribution)
    failed_commits: int = 0
    is_failing: bool = False

    def done(self, operation: str, seconds: float) -> None:
        """One step was answered."""
        self.operations[operation] += 1
        taken = self.seconds.get(operation)
        if taken is None:
            taken = self.seconds[operation] = Distribution()
        taken.add(seconds)


@dataclass(slots=True)
class MapCounts:
    """Of map streams. `latency` is from a change being published to the end of the turn in which a stream got it."""

    sent: Counter[str] = field(default_factory=Counter)
    sent_bytes: int = 0
    generated: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    reports: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    latency: Distribution = field(default_factory=Distribution)
    rounds: Distribution = field(default_factory=Distribution)


@dataclass(slots=True)
class RelayCounts:
    """Of the embedded relay; packets are those of clients, bytes everything behind the upgrade."""

    accepted: int = 0
    finished: Counter[str] = field(default_factory=Counter)
    received_bytes: int = 0
    sent_bytes: int = 0
    forwarded: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class RouteCounts:
    """`failovers`: how often a subnet route went from one router to another."""

    failovers: int = 0


@dataclass(slots=True)
class HttpCounts:
    """Of the main listener. `requests` by (status, endpoint, protocol, whether the client left before the answer)."""

    requests: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    seconds: dict[str, Distribution] = field(default_factory=dict)
    in_flight: int = 0

    def done(self, endpoint: str, seconds: float) -> None:
        """One request was answered after so long."""
        taken = self.seconds.get(endpoint)
        if taken is None:
            taken = self.seconds[endpoint] = Distribution()
        taken.add(seconds)


@dataclass(slots=True)
class LoopCounts:
    """Of the event loop: how late it was, in seconds, at regular looks."""

    lag: Distribution = field(default_factory=Distribution)


@dataclass(slots=True)
class Counts:
    """All of a server's."""

    writer: WriterCounts = field(default_factory=WriterCounts)
    maps: MapCounts = field(default_factory=MapCounts)
    relay: RelayCounts = field(default_factory=RelayCounts)
    http: HttpCounts = field(default_factory=HttpCounts)
    routes: RouteCounts = field(default_factory=RouteCounts)
    loop: LoopCounts = field(default_factory=LoopCounts)
