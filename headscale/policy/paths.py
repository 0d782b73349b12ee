"""May this reach that, and by which rule: single questions, for the tests in a policy and for people.

The filters answer the same for whole nodes; here both ends are given, and may be something that is no node: a user
without a device, an address behind a router.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headscale.ipset import Address, point
from headscale.policy.aliases import (
    Addresses,
    Alias,
    Autogroup,
    Everyone,
    GroupName,
    TagName,
    UserDomain,
    UserName,
)
from headscale.policy.compiled import Compiled
from headscale.policy.facts import Facts
from headscale.policy.ports import DEFAULT
from headscale.policy.program import Program, Side
from headscale.policy.who import MEMBER, TAGGED, Who


@dataclass(frozen=True, slots=True)
class End:
    """One end of a path. Without any address it stands for a node that is not there yet, of either family.

    `name` is for people. `user_id` is that of a user's own device; `is_own` is a device of whoever asks.
    """

    name: str
    labels: tuple[str, ...] = ()
    user_id: int | None = None
    addresses: tuple[Address, ...] = ()
    is_own: bool = False

    @property
    def families(self) -> frozenset[int]:
        """The families (4, 6) in which it can be spoken to."""
        return frozenset(a.version for a in self.addresses) if self.addresses else frozenset({4, 6})


@dataclass(frozen=True, slots=True)
class Packet:
    """What is sent: the protocol's number, and the port for those that have ports."""

    protocol: int
    port: int | None


def ends_of(compiled: Compiled, alias: Alias) -> list[End]:
    """What the alias stands for: its nodes by id; without any, the users or tags that could have some."""
    if isinstance(alias, Addresses):
        return _address_ends(compiled, alias)
    who = compiled.program.directory.who((alias,))
    nodes = [
        node_end(facts)
        for _, facts in sorted(compiled.nodes.items())
        if who.everyone or not who.labels.isdisjoint(facts.kind.labels)
    ]
    return nodes or list(_absent(compiled, alias, who))


def _address_ends(compiled: Compiled, alias: Addresses) -> list[End]:
    """The first address of each network or range, as the node that has it, if any."""
    found = []
    for first, _ in alias.ips.ranges():
        facts = compiled.node_at(first)
        end = node_end(facts) if facts else End(alias.text)
        found.append(End(alias.text, end.labels, end.user_id, (first,)))
    return found


def _absent(compiled: Compiled, alias: Alias, who: Who) -> Iterator[End]:
    if isinstance(alias, UserName | UserDomain | GroupName):
        for person_id in sorted(compiled.people):
            labels = compiled.program.directory.labels(person_id)
            if not who.labels.isdisjoint(labels):
                yield End(alias.text, labels, person_id)
    elif isinstance(alias, TagName):
        yield End(alias.text, (alias.text, TAGGED))
    elif isinstance(alias, Autogroup) and who.labels:
        yield End(alias.text, (*who.labels, *(() if alias.name in (MEMBER, TAGGED) else (MEMBER,))))
    elif isinstance(alias, Everyone):
        yield End(alias.text, (MEMBER,))


def node_end(facts: Facts) -> End:
    """A node as an end."""
    subject = facts.subject
    addresses = tuple(a for a in (subject.ipv4, subject.ipv6) if a is not None)
    return End(f"node {subject.id}", facts.kind.labels, subject.user_id, addresses)


def own_devices(compiled: Compiled, source: End) -> End | None:
    """The devices of the source's own user; None for a source that is nobody's."""
    if source.user_id is None:
        return None
    labels = compiled.program.directory.labels(source.user_id)
    return End("autogroup:self", labels, source.user_id, is_own=True)


def rows_between(program: Program, source: End, target: End) -> list[int]:
    """The numbers of the rows that let the source reach the target at all, in the order of the policy."""
    found: set[int] = set()
    for family in source.families & target.families:
        sources = set(_numbers(program, program.from_side, source, family))
        rows = {
            *_numbers(program, program.to_side, target, family),
            *_more_rows(program, source, target, family),
        }
        found.update(row for row in rows if program.rows[row].source in sources)
    return sorted(found)


def admitting(program: Program, source: End, target: End, packet: Packet) -> list[int]:
    """The numbers of the rows that let this packet through, in the order of the policy."""
    return [row for row in rows_between(program, source, target) if carries(program, row, packet)]


def carries(program: Program, number: int, packet: Packet) -> bool:
    """Whether the row is about this kind of traffic."""
    traffic = program.rows[number].traffic
    if traffic is None:
        return False
    if packet.protocol not in (DEFAULT if traffic.protocol is None else (traffic.protocol,)):
        return False
    return packet.port is None or any(ports.first <= packet.port <= ports.last for ports in traffic.ports)


def _numbers(program: Program, side: Side, end: End, family: int) -> Iterator[int]:
    yield from side.of_labels(end.labels)
    yield from side.anything
    for address in end.addresses:
        if address.version == family:
            yield from side.by_address.containing(point(address))
    # `*` is anything as a destination, but as a source only what is in the tailnet.
    if side is program.to_side or not end.addresses or _is_inside(program, end.addresses, family):
        yield from side.everyone


def _is_inside(program: Program, addresses: Iterable[Address], family: int) -> bool:
    return any(address in program.tailnet for address in addresses if address.version == family)


def _more_rows(program: Program, source: End, target: End, family: int) -> Iterator[int]:
    """The rows that neither labels nor addresses of the target alone decide: one's own devices, and `via`."""
    if target.user_id is not None and target.user_id == source.user_id:
        yield from program.own_rows
    for numbers in program.via_rows.values():
        for number in numbers:
            if any(a in program.targets[number].ips for a in target.addresses if a.version == family):
                yield number
