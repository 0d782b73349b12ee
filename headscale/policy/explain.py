"""Why something is allowed, or why not: the rules behind an answer, for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from headscale.policy.aliases import Alias
from headscale.policy.compiled import Compiled
from headscale.policy.grants import Row
from headscale.policy.paths import End, Packet, carries, heard_by, rows_between
from headscale.policy.ports import PROTOCOLS, Traffic
from headscale.policy.program import Program
from headscale.tailcfg.filters import ANY_PORT

# More rules, or names in one rule, than these are counted, not listed: a person reads the answer.
REASONS_MAX: Final = 10
NAMES_MAX: Final = 10
_NAMES = {number: name for name, number in reversed(PROTOCOLS.items())}


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule, where it stands (line 0: no policy at all), and what it says, in one line."""

    path: str
    line: int
    says: str

    def __str__(self) -> str:
        return f"{self.path} (line {self.line}): {self.says}" if self.line else self.says


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a packet gets from one end to the other.

    `by` are the rules that let it; when there are none, `nearly` are those between the two ends about other traffic,
    and `others` those that let others send this traffic to the target. Of each there are REASONS_MAX at most, and
    `…_more` says how many more. `through` are the protocols that get through, of those that were asked for.
    """

    source: str
    target: str
    protocol: str
    port: int | None
    by: tuple[Reason, ...]
    nearly: tuple[Reason, ...] = ()
    others: tuple[Reason, ...] = ()
    by_more: int = 0
    nearly_more: int = 0
    others_more: int = 0
    through: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether any rule lets it."""
        return bool(self.by)


def explain(compiled: Compiled, source: End, target: End, *packets: Packet) -> Explanation:
    """Why any of these packets, which differ in their protocol alone, gets there, or why not.

    Without a packet the question is whether any traffic at all may flow.
    """
    program = compiled.program
    between = rows_between(program, source, target)
    by = [row for row in between if _carries_any(program, row, packets)]
    nearly = [] if by else between
    others = [] if by else _open_to_others(program, target, packets, without=between)
    (by_shown, by_more), (nearly_shown, nearly_more), (others_shown, others_more) = (
        _reasons(program, rows) for rows in (by, nearly, others)
    )
    return Explanation(
        source.name,
        target.name,
        " or ".join(protocol_name(packet.protocol) for packet in packets) or "anything",
        packets[0].port if packets else None,
        by=by_shown,
        nearly=nearly_shown,
        others=others_shown,
        by_more=by_more,
        nearly_more=nearly_more,
        others_more=others_more,
        through=tuple(
            protocol_name(p.protocol) for p in packets if any(carries(program, row, p) for row in by)
        ),
    )


def _carries_any(program: Program, row: int, packets: tuple[Packet, ...]) -> bool:
    if not packets:
        return program.rows[row].traffic is not None
    return any(carries(program, row, packet) for packet in packets)


def _open_to_others(
    program: Program, target: End, packets: tuple[Packet, ...], *, without: list[int]
) -> list[int]:
    """The rows that let anyone at all send any of this to the target."""
    rows = {row for family in target.families for row in heard_by(program, target, family)}
    if target.user_id is not None:
        rows.update(program.own_rows)
    return sorted(row for row in rows.difference(without) if _carries_any(program, row, packets))


def _reasons(program: Program, rows: Iterable[int]) -> tuple[tuple[Reason, ...], int]:
    """What each of these rows says, once, and how many were left out."""
    said: dict[object, Row] = {}
    for row in map(program.rows.__getitem__, rows):
        said.setdefault((row.place, row.source, row.targets, row.traffic, row.via), row)
    shown = [
        Reason(row.place.path, row.place.line, _describe(program, row))
        for row in [*said.values()][:REASONS_MAX]
    ]
    return tuple(dict.fromkeys(shown)), max(len(said) - REASONS_MAX, 0)


def describe(compiled: Compiled, row: Row) -> str:
    """The row as a line: who, to where, with what."""
    return _describe(compiled.program, row)


def _describe(program: Program, row: Row) -> str:
    if not row.place.path:
        return "there is no policy that restricts traffic: everybody reaches everything"
    sources = _listed(program.source_aliases[row.source])
    what = traffic_text(row.traffic) if row.traffic else f"app {', '.join(sorted(row.capabilities))}"
    via = f" via {', '.join(row.via)}" if row.via else ""
    return f"{sources} → {_listed(row.targets)}{via}: {what}"


def _listed(aliases: tuple[Alias, ...]) -> str:
    return listed(dict.fromkeys(alias.text for alias in aliases))


def listed(names: Iterable[str]) -> str:
    """The names with commas; of very many the first, and how many more there are."""
    names = tuple(names)
    if len(names) > NAMES_MAX:
        names = (*names[:NAMES_MAX], f"{len(names) - NAMES_MAX} more")
    return ", ".join(names)


def traffic_text(traffic: Traffic) -> str:
    """Traffic as a policy would write it: `tcp:80-90,443`, `*`."""
    ports = ",".join(
        "*" if p == ANY_PORT else str(p.first) if p.first == p.last else f"{p.first}-{p.last}"
        for p in traffic.ports
    )
    return ports if traffic.protocol is None else f"{protocol_name(traffic.protocol)}:{ports}"


def protocol_name(number: int) -> str:
    """The name that a policy uses for a protocol, else its number."""
    return _NAMES.get(number, str(number))
