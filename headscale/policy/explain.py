"""Why something is allowed, or why not: the rules behind an answer, for people."""

from dataclasses import dataclass

from headscale.policy.aliases import Alias
from headscale.policy.compiled import Compiled
from headscale.policy.grants import Row
from headscale.policy.paths import End, Packet, carries, rows_between
from headscale.policy.ports import PROTOCOLS, Traffic
from headscale.tailcfg.filters import ANY_PORT

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
    and `others` those that let others send this traffic to the target.
    """

    source: str
    target: str
    protocol: str
    port: int | None
    by: tuple[Reason, ...]
    nearly: tuple[Reason, ...] = ()
    others: tuple[Reason, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether any rule lets it."""
        return bool(self.by)


def explain(compiled: Compiled, source: End, target: End, packet: Packet) -> Explanation:
    """Why the packet gets there, or why not."""
    program = compiled.program
    between = rows_between(program, source, target)
    by = [row for row in between if carries(program, row, packet)]
    nearly = [row for row in between if row not in by] if not by else []
    others: list[int] = []
    if not by:
        anyone = [row for row in range(len(program.rows)) if carries(program, row, packet)]
        others = [row for row in anyone if row not in between and _reaches(compiled, row, target)]
    return Explanation(
        source.name,
        target.name,
        protocol_name(packet.protocol),
        packet.port,
        _reasons(compiled, by),
        _reasons(compiled, nearly),
        _reasons(compiled, others),
    )


def _reaches(compiled: Compiled, row: int, target: End) -> bool:
    who = compiled.program.targets[row]
    if who.everyone or not who.labels.isdisjoint(target.labels):
        return True
    return any(address in who.ips for address in target.addresses)


def _reasons(compiled: Compiled, rows: list[int]) -> tuple[Reason, ...]:
    """One reason a rule, however many rows it made."""
    found: dict[str, Reason] = {}
    for number in rows:
        row = compiled.program.rows[number]
        reason = Reason(row.place.path, row.place.line, describe(compiled, row))
        found.setdefault(str(reason), reason)
    return tuple(found.values())


def describe(compiled: Compiled, row: Row) -> str:
    """The row as a line: who, to where, with what."""
    if not row.place.path:
        return "there is no policy that restricts traffic: everybody reaches everything"
    sources = _listed(compiled.program.source_aliases[row.source])
    what = traffic_text(row.traffic) if row.traffic else f"app {', '.join(sorted(row.capabilities))}"
    via = f" via {', '.join(row.via)}" if row.via else ""
    return f"{sources} → {_listed(row.targets)}{via}: {what}"


def _listed(aliases: tuple[Alias, ...]) -> str:
    return ", ".join(dict.fromkeys(alias.text for alias in aliases))


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
