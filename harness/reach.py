"""Who reaches whom, proved through the tunnel: TCP, UDP and ICMP probes, their matrix, and the assertion.

A probe counts only when the one it was meant for answers, with the question's nonce, and saw the prober's own
tailnet address as the source. A *no* counts only beside a *yes* to the same target, before and after, and
must last for Budget.HOLD.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from harness.errors import HarnessError
from harness.history import History, Source, Way
from harness.wait import Budget

Transport = Literal["tcp", "udp", "icmp"]

YES_SECONDS = 3.0
"""One try of a probe that should be answered: a TCP connection has room for its second SYN."""

NO_SECONDS = 1.0
"""One try of a probe that should not be; it is repeated for as long as the denial must hold."""

AT_ONCE = 16
"""Probes under way at the same time: two cores handshake no faster with more."""

SILENT_AT_ONCE = 512
"""The same for probes that should not be answered: all they do is wait."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something to reach: who must answer, and where. `address` is an IP address or a MagicDNS name."""

    name: str
    transport: Transport
    address: str
    port: int = 0

    def __str__(self) -> str:
        if self.transport == "icmp":
            return f"{self.name} icmp {self.address}"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.name} {self.transport} {host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Probe:
    """What one try saw. `reason` says why it does not count as reached; None when it does."""

    answered: bool
    reason: str | None
    seconds: float = 0.0
    source: str = ""
    """The sender's address as the target saw it; empty for ICMP and unanswered probes."""

    @property
    def reached(self) -> bool:
        """Answered by the right one, who saw the right sender."""
        return self.answered and self.reason is None


class Named(Protocol):
    """Who asks, as far as a table tells."""

    @property
    def name(self) -> str:
        """Unique among the probers of a matrix."""


N = TypeVar("N", bound=Named)


class Prober(Named, Protocol):
    """Something that can probe."""

    async def probe(self, target: Target, *, within: float) -> Probe:
        """Try once, for at most `within` seconds."""


Pair = tuple[Prober, Target]

Wanted = Mapping[Pair, bool]

ROWS_SHOWN = 16
"""Targets up to which a failure shows the whole matrix."""

SURPRISES_SHOWN = 24
"""Surprises that a failure explains one by one."""


class Unreached(AssertionError):
    """The matrix is not as expected; the text is the whole of it."""

    def __init__(self, text: str, *, leaked: bool = False) -> None:
        super().__init__(text)
        self.leaked = leaked
        """Whether anything was answered that should not be."""


async def probe_matrix(
    pairs: Iterable[Pair], *, within: float, at_once: int = AT_ONCE, wanted: Wanted | None = None
) -> dict[Pair, Probe]:
    """Probe every pair once, several at a time. With what is wanted of them, the probers' histories tell it."""
    room = asyncio.Semaphore(at_once)

    async def one(pair: Pair) -> tuple[Pair, Probe]:
        async with room:
            probe = await pair[0].probe(pair[1], within=within)
        if wanted is not None:
            _record(pair, wanted[pair], probe)
        return pair, probe

    return dict(await asyncio.gather(*(one(pair) for pair in pairs)))


async def assert_reach(
    expected: Mapping[Pair, bool], *, controls: Collection[Pair] = (), budget: Budget = Budget.REACH
) -> Mapping[Pair, Probe]:
    """Assert the whole matrix: every True comes to be within the budget, every False comes to be and lasts.

    A False needs a True to the same target in the matrix or among `controls`, which are pairs that must be
    reached before and after. Returns the last probes. Raises Unreached with the matrix as a table.
    """
    yes = {pair for pair, want in expected.items() if want} | set(controls)
    no = set(expected) - yes
    _check_controls(yes, no)
    wanted = dict.fromkeys(yes, True) | dict.fromkeys(no, False)

    _begin(wanted)
    seen = await _settle(wanted, budget.seconds)
    _demand(wanted, seen, f"within {budget.seconds:g} s (budget {budget.name})")
    if no:
        await _watch_denials(wanted, no, seen)
        witnesses = {pair: True for pair in yes if pair[1] in {target for _, target in no}}
        seen |= await _settle(witnesses, budget.seconds)
        _demand(wanted, seen, "when the targets were tried again after the denials")
    return seen


async def assert_exactly(
    expected: Mapping[Pair, bool],
    *,
    open_everything: Callable[[], Awaitable[None]],
    budget: Budget = Budget.REACH,
) -> None:
    """Assert a matrix in which a target may be reached by nobody: every pair that is denied is shown alive after.

    As `assert_reach`, but that what stands beside a False is the same pair's True once `open_everything` has let
    everybody reach everything.
    """
    no = {pair for pair, want in expected.items() if not want}
    _begin(expected)
    seen = await _settle(expected, budget.seconds)
    _demand(expected, seen, f"within {budget.seconds:g} s (budget {budget.name})")
    if no:
        await _watch_denials(expected, no, seen)
        await open_everything()
        alive = dict.fromkeys(no, True)
        _demand(alive, await _settle(alive, budget.seconds), "when everything was opened to show them alive")


async def _probe_silent(pairs: Collection[Pair], wanted: Wanted) -> dict[Pair, Probe]:
    return await probe_matrix(pairs, within=NO_SECONDS, at_once=SILENT_AT_ONCE, wanted=wanted)


async def _settle(wanted: Mapping[Pair, bool], seconds: float) -> dict[Pair, Probe]:
    """Probe what is not yet as wanted, again and again, until all is or the time is over."""
    deadline = asyncio.get_running_loop().time() + seconds
    seen = await probe_matrix(_greetings(wanted), within=YES_SECONDS, wanted=wanted)
    left = {pair for pair in wanted if pair not in seen or not seen[pair].reached}
    while left:
        yes = await probe_matrix({p for p in left if wanted[p]}, within=YES_SECONDS, wanted=wanted)
        no = await _probe_silent({p for p in left if not wanted[p]}, wanted)
        seen |= yes | no
        left = {pair for pair in left if not _as_wanted(wanted[pair], seen[pair])}
        if asyncio.get_running_loop().time() > deadline:
            break
    return seen


def _greetings(wanted: Mapping[Pair, bool]) -> Collection[Pair]:
    """One pair for any two machines that are to talk. Probed before all others, for of two machines that begin with
    each other at the same moment both may lose their handshake, and try again only after five seconds."""
    first: dict[frozenset[str], Pair] = {}
    for pair, want in wanted.items():
        if want:
            first.setdefault(frozenset((pair[0].name, pair[1].name)), pair)
    return first.values()


async def _watch_denials(wanted: Mapping[Pair, bool], no: Collection[Pair], seen: dict[Pair, Probe]) -> None:
    """They must go on being denied.

    A UDP probe may by chance leave from a port that a flow of an earlier policy had, which the receiver still lets go
    on (wgengine/filter keeps the last 512): what is answered is asked once more, by a new flow.
    """
    deadline = asyncio.get_running_loop().time() + Budget.HOLD.seconds
    while asyncio.get_running_loop().time() < deadline:
        seen |= await _probe_silent(no, wanted)
        again = {p for p in no if p[1].transport == "udp" and seen[p].answered}
        seen |= await _probe_silent(again, wanted)
        _demand(wanted, seen, f"for {Budget.HOLD.seconds:g} s on end")


def history_of(prober: Prober) -> History | None:
    """Where the prober's machine records what happens; what is not on a machine has none."""
    found = getattr(getattr(prober, "machine", None), "history", None)
    return found if isinstance(found, History) else None


def _begin(wanted: Wanted) -> None:
    """A new matrix: what the last one said is over."""
    for history in {id(h): h for prober, _ in wanted if (h := history_of(prober)) is not None}.values():
        history.ways.clear()


def _record(pair: Pair, want: bool, probe: Probe) -> None:
    """A probe is told when it is the pair's first in this matrix, and when it differs from the one before."""
    prober, target = pair
    history = history_of(prober)
    if history is None:
        return
    got, how = probe.answered and (probe.reached or not want), str(target).removeprefix(f"{target.name} ")
    way = Way(prober.name, target.name, how, want, got, _as_wanted(want, probe), _said(probe))
    before = history.ways.get((prober.name, target.name, how))
    history.ways[prober.name, target.name, how] = way
    if before is None or (before.want, before.got) != (want, got):
        told = {"to": str(target), "expected": "yes" if want else "no", "actual": "yes" if got else "no"}
        history.add(
            Source.PROBE, prober.name, "probe", told if way.as_wanted else {**told, "saw": _said(probe)}
        )


def _as_wanted(want: bool, probe: Probe) -> bool:
    return probe.reached if want else not probe.answered


def _check_controls(yes: Collection[Pair], no: Collection[Pair]) -> None:
    alive = {target for _, target in yes}
    for prober, target in no:
        if target not in alive:
            raise HarnessError(
                f"{prober.name} must not reach {target}, but nothing in the matrix shows that target alive: "
                "add a True to the same target, or a control"
            )


def _demand(wanted: Mapping[Pair, bool], seen: Mapping[Pair, Probe], when: str) -> None:
    wrong = {pair for pair, want in wanted.items() if not _as_wanted(want, seen[pair])}
    if wrong:
        raise Unreached(
            f"{len(wrong)} of {len(wanted)} pairs are not as expected {when}\n{table(wanted, seen)}",
            leaked=any(not wanted[pair] for pair in wrong),
        )


def table(wanted: Mapping[tuple[N, Target], bool], seen: Mapping[tuple[N, Target], Probe]) -> str:
    """The matrix for people: a row a target, a column a prober, then a line for every surprise.

    Cells: `yes` and `no` as expected, `YES` and `NO` not as expected, `·` not probed. Of a large matrix only the rows
    with a surprise are shown.
    """
    probers = sorted({prober.name for prober, _ in wanted})
    surprises = [
        (pair, seen[pair])
        for pair, want in wanted.items()
        if pair in seen and not _as_wanted(want, seen[pair])
    ]
    targets = sorted({target for _, target in wanted}, key=str)
    left_out = 0
    if len(targets) > ROWS_SHOWN:
        all_of_them, surprising = len(targets), {target for (_, target), _ in surprises}
        targets = [target for target in targets if target in surprising]
        left_out = all_of_them - len(targets)
    by_name = {
        (prober.name, target): (want, seen.get((prober, target))) for (prober, target), want in wanted.items()
    }
    rows = [["", *probers]]
    rows += [
        [str(target), *(_cell(*by_name.get((p, target), (True, None))) for p in probers)]
        for target in targets
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if left_out:
        lines.append(f"and {left_out} targets, to which all is as expected")
    for (prober, target), probe in surprises[:SURPRISES_SHOWN]:
        want = wanted[prober, target]
        lines.append(f"{prober.name} → {target}: expected {'yes' if want else 'no'}, {_said(probe)}")
    if len(surprises) > SURPRISES_SHOWN:
        lines.append(f"and {len(surprises) - SURPRISES_SHOWN} more surprises")
    return "\n".join(f"  {line}" for line in lines)


def _cell(want: bool, probe: Probe | None) -> str:
    if probe is None:
        return "·"
    word = "yes" if probe.answered and (probe.reached or not want) else "no"
    return word if _as_wanted(want, probe) else word.upper()


def _said(probe: Probe) -> str:
    if probe.reached:
        return f"was answered in {probe.seconds * 1000:.0f} ms with source {probe.source or 'unknown'}"
    return probe.reason or "no answer"
