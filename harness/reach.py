"""Who reaches whom, proved through the tunnel: TCP, UDP and ICMP probes, their matrix, and the assertion.

A probe counts only when the one it was meant for answers, with the question's nonce, and saw the prober's own
tailnet address as the source. A *no* counts only beside a *yes* to the same target, before and after, and
must last for Budget.HOLD.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.errors import HarnessError
from harness.wait import Budget

Transport = Literal["tcp", "udp", "icmp"]

YES_SECONDS = 3.0
"""One try of a probe that should be answered: a TCP connection has room for its second SYN."""

NO_SECONDS = 1.0
"""One try of a probe that should not be; it is repeated for as long as the denial must hold."""

AT_ONCE = 16
"""Probes under way at the same time: two cores handshake no faster with more."""


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


class Prober(Protocol):
    """Something that can probe."""

    @property
    def name(self) -> str:
        """Unique among the probers of a matrix."""

    async def probe(self, target: Target, *, within: float) -> Probe:
        """Try once, for at most `within` seconds."""


Pair = tuple[Prober, Target]


class Unreached(AssertionError):
    """The matrix is not as expected; the text is the whole of it."""


async def probe_matrix(pairs: Iterable[Pair], *, within: float) -> dict[Pair, Probe]:
    """Probe every pair once, several at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(pair: Pair) -> tuple[Pair, Probe]:
        async with room:
            return pair, await pair[0].probe(pair[1], within=within)

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

    seen = await _settle(wanted, budget.seconds)
    _demand(wanted, seen, f"within {budget.seconds:g} s (budget {budget.name})")
    if no:
        await _watch_denials(wanted, no, seen)
        witnesses = {pair: True for pair in yes if pair[1] in {target for _, target in no}}
        seen |= await _settle(witnesses, budget.seconds)
        _demand(wanted, seen, "when the targets were tried again after the denials")
    return seen


async def _settle(wanted: Mapping[Pair, bool], seconds: float) -> dict[Pair, Probe]:
    """Probe what is not yet as wanted, again and again, until all is or the time is over."""
    deadline = asyncio.get_running_loop().time() + seconds
    seen: dict[Pair, Probe] = {}
    left = set(wanted)
    while left:
        yes = await probe_matrix({p for p in left if wanted[p]}, within=YES_SECONDS)
        no = await probe_matrix({p for p in left if not wanted[p]}, within=NO_SECONDS)
        seen |= yes | no
        left = {pair for pair in left if not _as_wanted(wanted[pair], seen[pair])}
        if asyncio.get_running_loop().time() > deadline:
            break
    return seen


async def _watch_denials(wanted: Mapping[Pair, bool], no: Collection[Pair], seen: dict[Pair, Probe]) -> None:
    deadline = asyncio.get_running_loop().time() + Budget.HOLD.seconds
    while asyncio.get_running_loop().time() < deadline:
        seen |= await probe_matrix(no, within=NO_SECONDS)
        _demand(wanted, seen, f"for {Budget.HOLD.seconds:g} s on end")


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
            f"{len(wrong)} of {len(wanted)} pairs are not as expected {when}\n{table(wanted, seen)}"
        )


def table(wanted: Mapping[Pair, bool], seen: Mapping[Pair, Probe]) -> str:
    """The matrix for people: a row a target, a column a prober, then a line for every surprise.

    Cells: `yes` and `no` as expected, `YES` and `NO` not as expected, `·` not probed.
    """
    probers = sorted({prober.name for prober, _ in wanted})
    targets = sorted({target for _, target in wanted}, key=str)
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
    for (prober, target), want in wanted.items():
        probe = seen.get((prober, target))
        if probe is not None and not _as_wanted(want, probe):
            lines.append(f"{prober.name} → {target}: expected {'yes' if want else 'no'}, {_said(probe)}")
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
