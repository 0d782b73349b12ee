"""What was done and seen in a tailnet, in order: one line of time for administrators, clients, probes and faults.

Entries are kept in memory, and written beside the other evidence of a failed test. What only logs know (the server's
events, the map responses that a client got) joins them when the evidence is collected; see `harness.report.timeline`.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.masking import masked, masked_value
from headscale.clock import Clock, SystemClock


class Source(StrEnum):
    """Who acted, or whose view it is."""

    HARNESS = "harness"
    """What a scenario did, and what it found."""
    ADMIN = "admin"
    """An administrator's act, by whichever door."""
    SERVER = "server"
    """What the server's log tells, and its starts and ends."""
    MAP = "map"
    """A map response as a client got it."""
    CLIENT = "client"
    """What a client notified of, and the commands that ran on its machine."""
    PROBE = "probe"
    """A packet that was to come through, or not."""
    FAULT = "fault"
    """What was broken on purpose."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `at` is seconds since the history began; `who` a client or server, or empty."""

    at: float
    wall: datetime
    event: str
    fields: Mapping[str, Any]
    source: Source = Source.HARNESS
    who: str = ""

    def line(self) -> str:
        """As one line of JSON."""
        told: dict[str, Any] = {
            "at": round(self.at, 4),
            "wall": self.wall.isoformat(timespec="milliseconds"),
            "source": str(self.source),
        }
        if self.who:
            told["who"] = self.who
        # A field that is called like one of ours must not hide it.
        own = {f"_{name}" if name in (*told, "event") else name: value for name, value in self.fields.items()}
        return json.dumps({**told, "event": self.event, **own}, ensure_ascii=False, default=str)


@dataclass(frozen=True, slots=True)
class Way:
    """What a matrix last said of one prober and one target: `want` and `got` are whether it is reached."""

    prober: str
    target: str
    """The name of the one who is to answer."""
    how: str
    """Transport, address and port."""
    want: bool
    got: bool
    as_wanted: bool
    reason: str


@dataclass(slots=True)
class History:
    """An append-only record. Secrets are masked on the way in."""

    clock: Clock = field(default_factory=SystemClock)
    ways: dict[tuple[str, str, str], Way] = field(default_factory=dict)
    """The last matrix that was measured."""
    _entries: list[Entry] = field(default_factory=list)
    began: datetime = field(init=False)
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock.monotonic()
        self.began = self.clock.now()

    def record(self, event: str, **fields: Any) -> None:
        """Add what a scenario did or found: fixed words and the fields that differ."""
        self.add(Source.HARNESS, "", event, fields)

    def add(
        self,
        source: Source,
        who: str,
        event: str,
        fields: Mapping[str, Any] | None = None,
        *,
        wall: datetime | None = None,
    ) -> None:
        """Add what happens now; with `wall`, what happened a while ago."""
        now = self.clock.now()
        late = (now - wall).total_seconds() if wall is not None else 0.0
        at = self.clock.monotonic() - self._start - late
        self._entries.append(Entry(at, wall or now, masked(event), masked_value(fields or {}), source, who))

    @contextlib.contextmanager
    def during(self, source: Source, who: str, event: str, **fields: Any) -> Iterator[None]:
        """Record when it begins and when it is over."""
        self.add(source, who, event, fields)
        try:
            yield
        finally:
            self.add(source, who, f"{event}: over", fields)

    def at_wall(
        self, wall: datetime, source: Source, who: str, event: str, fields: Mapping[str, Any]
    ) -> Entry:
        """What another clock of this machine saw, as an entry of this line of time; it is not added."""
        return Entry(
            (wall - self.began) / timedelta(seconds=1), wall, masked(event), masked_value(fields), source, who
        )

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All so far, oldest first."""
        return tuple(self._entries)

    def write(self, path: Path) -> None:
        """Write it as JSON lines."""
        path.write_text("".join(f"{entry.line()}\n" for entry in self._entries))
