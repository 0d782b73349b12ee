"""May this reach that, and by which rule: single questions, for the tests in a policy and for people.

The filters answer the same for whole nodes; here both ends are given, and may be something that is no node: a user
without a device, an address behind a router.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

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
from headscale.policy.bits import bits_of, numbers_of
from headscale.policy.compiled import Compiled
from headscale.policy.facts import Facts
from headscale.policy.ports import DEFAULT
from headscale.policy.program import INTERNET, Program, Side
from headscale.policy.who import MEMBER, TAGGED, Who

# Nodes are called by their numbers where nobody says how else.
NO_NAMES: Final[Mapping[int, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class End:
    """One end of a path. Without any address it stands for a node that is not there yet, of either family.

    `name` is for people. `user_id` is that of a user's own device; `is_own` is a device of whoever asks. `is_public` is
    what exit nodes lead to, `is_routed` an address behind a subnet router: as a source, `*` has it too.
    """

    name: str
    labels: tuple[str, ...] = ()
    user_id: int | None = None
    addresses: tuple[Address, ...] = ()
    is_own: bool = False
    is_public: bool = False
    is_routed: bool = False

    @property
    def families(self) -> frozenset[int]:
        """The families (4, 6) in which it can be spoken to."""
        return frozenset(a.version for a in self.addresses) if self.addresses else frozenset({4, 6})


@dataclass(frozen=True, slots=True)
class Packet:
    """What is sent: the protocol's number, and the port for those that have ports."""

    protocol: int
    port: int | None


def ends_of(compiled: Compiled, alias: Alias, names: Mapping[int, str] = NO_NAMES) -> list[End]:
    """What the alias stands for: its nodes by id; without any, the users or tags that could have some.

    `names` are what nodes are called, by id.
    """
    if isinstance(alias, Addresses):
        return _address_ends(compiled, alias)
    who = compiled.program.directory.present((alias,))
    nodes = compiled.all_nodes if who.everyone else compiled.labelled(who.labels)
    return [node_end(facts, names) for facts in nodes] or list(_absent(compiled, alias, who))


def _address_ends(compiled: Compiled, alias: Addresses) -> list[End]:
    """The first address of each network or range, as the node that has it, if any."""
    found = []
    for first, _ in alias.ips.ranges():
        facts = compiled.node_at(first)
        end = node_end(facts) if facts else address_end(compiled, alias.text, first)
        found.append(replace(end, name=alias.text, addresses=(first,)))
    return found


def address_end(compiled: Compiled, name: str, address: Address) -> End:
    """An address that no node has."""
    return End(
        name, addresses=(address,), is_public=address in INTERNET, is_routed=address in compiled.routed
    )


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
    elif isinstance(alias, Autogroup) and who.internet:
        yield End(alias.text, is_public=True)
    elif isinstance(alias, Everyone):
        yield End(alias.text, (MEMBER,))


def node_end(facts: Facts, names: Mapping[int, str] = NO_NAMES) -> End:
    """A node as an end."""
    subject = facts.subject
    addresses = tuple(a for a in (subject.ipv4, subject.ipv6) if a is not None)
    return End(names.get(subject.id, f"node {subject.id}"), facts.kind.labels, subject.user_id, addresses)


def alike(program: Program, ends: Iterable[End]) -> list[End]:
    """The first of each kind of ends: no rule tells one from another of its kind."""
    found: dict[object, End] = {}
    sides = (program.from_side, program.to_side)
    for end in ends:
        labels = frozenset(label for label in end.labels if any(label in side.by_label for side in sides))
        named = tuple(
            side.by_address.containing(point(address)) for side in sides for address in end.addresses
        )
        inside = tuple(address in program.tailnet for address in end.addresses)
        key = (labels, end.user_id if program.own_rows else None, named, inside, end.families)
        found.setdefault(key, end)
    return list(found.values())


def own_devices(compiled: Compiled, source: End) -> End | None:
    """The devices of the source's own user; None for a source that is nobody's."""
    if source.user_id is None:
        return None
    labels = compiled.program.directory.labels(source.user_id)
    return End("autogroup:self", labels, source.user_id, is_own=True)


def rows_between(program: Program, source: End, target: End) -> list[int]:
    """The numbers of the rows that let the source reach the target at all, in the order of the policy."""
    found: set[int] = set()
    own = program.own_rows if target.user_id is not None and target.user_id == source.user_id else ()
    for family in source.families & target.families:
        sources = sent_by(program, source, family)
        rows = (*heard_by(program, target, family), *own)
        found.update(row for row in rows if program.rows[row].source in sources)
    return sorted(found)


def sent_by(program: Program, end: End, family: int) -> frozenset[int]:
    """The source sets that the end is in, in this family (4 or 6)."""
    if family not in end.families:
        return frozenset()
    return frozenset(numbers_of(_bits(program, program.from_side, end, family)))


def heard_by(program: Program, end: End, family: int) -> frozenset[int]:
    """The rows that are about this target, in this family, but for those about one's own devices."""
    return frozenset(numbers_of(hearing(program, end, family)))


def hearing(program: Program, end: End, family: int) -> int:
    """As `heard_by`, as bits."""
    if family not in end.families:
        return 0
    found: set[int] = set()
    for number in {number for numbers in program.via_rows.values() for number in numbers}:
        if _is_steered(program.targets[number], end, family):
            found.add(number)
    if end.is_public:
        internet = program.internet_rows[0 if family == 4 else 1]
        found.update(number for number in internet if program.targets[number].internet)
    return _bits(program, program.to_side, end, family) | bits_of(found, len(program.rows))


def _is_steered(target: Who, end: End, family: int) -> bool:
    """Whether a `via` rule with this target is about the end, which its routers then lead to."""
    if any(address in target.ips for address in end.addresses if address.version == family):
        return True
    return (end.is_public and target.internet) or (end.is_routed and target.everyone)


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


def _bits(program: Program, side: Side, end: End, family: int) -> int:
    found = side.of_labels(end.labels) | bits_of(side.anything, side.width)
    for address in end.addresses:
        if address.version == family:
            found |= side.by_address.containing(point(address))
    # `*` is anything as a destination, but as a source only what is in the tailnet.
    everywhere = side is program.to_side or not end.addresses or end.is_routed
    if everywhere or _is_inside(program, end.addresses, family):
        found |= bits_of(side.everyone, side.width)
    return found


def _is_inside(program: Program, addresses: Iterable[Address], family: int) -> bool:
    return any(address in program.tailnet for address in addresses if address.version == family)
