"""Packet filter rules as one node is given them.

A node's copy of a rule keeps only the destinations that concern it. What names nodes becomes the node's own
addresses; what is written as addresses keeps the width that it has in the policy; `*` stays `*`. Rules with the same
sources and protocols are merged into the first of them, wherever that one leads (recording acl-at06); rules with
capabilities never are (recordings acl-mr*, grant-g1).

The filters of nodes of one kind differ in nothing but their own addresses. So a filter is worked out once as a
template with a gap for these, and written for a node only when that node is to be sent it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from headscale.ipset import IPSet, of_networks, point, span
from headscale.policy.facts import Facts, subnets
from headscale.policy.members import SourceText
from headscale.policy.program import INTERNET, Program, is_public
from headscale.policy.subjects import EXIT_ROUTES, Network, Subject
from headscale.tailcfg.filters import CapGrant, FilterRule, NetPortRange, PortRange

_ANY_ADDRESS: Final = "*"

# Who a source set is, or with a user's id which of that user's own devices are in it.
Sources = Callable[[int, int | None], SourceText]


@dataclass(frozen=True, slots=True)
class Opening:
    """Ports at the node's own addresses (`at` is None) or at those that the policy spells out."""

    at: tuple[str, ...] | None
    ports: tuple[PortRange, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One rule to be: traffic (`openings`) or capabilities, these at the node's addresses of the `families` (4, 6)."""

    source: SourceText
    protocol: int | None = None
    openings: tuple[Opening, ...] = ()
    capabilities: Mapping[str, list[msgspec.Raw]] | None = None
    families: tuple[int, ...] = (4, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The filter of all nodes that differ in their addresses alone. `is_fixed`: not even in these."""

    parts: tuple[Part, ...]
    is_fixed: bool

    def rules(self, subject: Subject) -> tuple[FilterRule, ...]:
        """The filter of this node."""
        own = _addresses(subject)
        networks: dict[int, str] = {
            a.version: f"{a}/{a.max_prefixlen}" for a in (subject.ipv4, subject.ipv6) if a is not None
        }
        return tuple(_rule(part, own, networks) for part in self.parts)


def say_the_same(one: Template, other: Template) -> bool:
    """Whether two templates make the same filter of the same node, even when made from different policies."""
    if one is other:
        return True
    if len(one.parts) != len(other.parts):
        return False
    return all(_spelled(a) == _spelled(b) for a, b in zip(one.parts, other.parts, strict=True))


def _spelled(part: Part) -> tuple[object, ...]:
    return part.source.texts, part.protocol, part.openings, part.capabilities, part.families


def _rule(part: Part, own: tuple[str, ...], networks: Mapping[int, str]) -> FilterRule:
    if part.capabilities is not None:
        at = tuple(network for family, network in networks.items() if family in part.families)
        grant = CapGrant(at, dict(part.capabilities))
        return FilterRule(src_ips=part.source.texts, cap_grant=(grant,))
    ports = [
        NetPortRange(text, ports)
        for opening in part.openings
        for text in (own if opening.at is None else opening.at)
        for ports in opening.ports
    ]
    return FilterRule(
        src_ips=part.source.texts,
        dst_ports=tuple(dict.fromkeys(ports)) if len(part.openings) > 1 else tuple(ports),
        ip_proto=() if part.protocol is None else (part.protocol,),
    )


@dataclass(frozen=True, slots=True)
class Slot:
    """A rule of a plan: its place in the order, its source set (`own`: as far as it is the node's user), its rest."""

    place: int
    source: int
    own: bool
    protocol: int | None = None
    openings: tuple[Opening, ...] = ()
    capabilities: Mapping[str, list[msgspec.Raw]] | None = None
    families: tuple[int, ...] = (4, 6)


Plan = tuple[Slot, ...]


def plan_for(program: Program, facts: Facts) -> Plan:
    """A node's filter before it is known who the sources are: the same for all nodes that no rule tells apart."""
    slots: list[Slot] = []
    place = _place_of(facts)
    merged: dict[tuple[int, bool, int | None], list[Opening]] = {}
    for number in facts.rows:
        row, own = program.rows[number], program.targets[number].own
        if row.traffic is None:
            slot = _capabilities(program, number, facts)
            slots += [slot] if slot else []
        elif openings := _openings(program, number, facts, place):
            key = (row.source, own, row.traffic.protocol)
            if key not in merged:
                merged[key] = []
                slots.append(Slot(number if own else program.merged_into(number), *key))
            merged[key] += openings
    filled = (
        slot
        if slot.capabilities is not None
        else replace(slot, openings=tuple(dict.fromkeys(merged[slot.source, slot.own, slot.protocol])))
        for slot in slots
    )
    return tuple(sorted(filled, key=lambda slot: slot.place))


def template_of(plan: Plan, sources: Sources, user_id: int | None) -> Template:
    """The plan with its sources, its rules in the order in which they are sent."""
    parts: list[Part] = []
    merged: dict[tuple[SourceText, int | None], int] = {}
    more: dict[int, list[Opening]] = {}
    for slot in plan:
        source = sources(slot.source, user_id if slot.own else None)
        if slot.capabilities is not None:
            parts.append(Part(source, capabilities=slot.capabilities, families=slot.families))
        elif source.texts:
            at = merged.setdefault((source, slot.protocol), len(parts))
            if at == len(parts):
                parts.append(Part(source, slot.protocol, slot.openings))
            else:
                more.setdefault(at, []).extend(slot.openings)
    for at, openings in more.items():
        whole = dict.fromkeys((*parts[at].openings, *openings))
        parts[at] = replace(parts[at], openings=tuple(whole))
    return Template(tuple(parts), is_fixed=all(_is_fixed(part) for part in parts))


def _is_fixed(part: Part) -> bool:
    if part.capabilities is not None:
        return False
    return all(opening.at is not None for opening in part.openings)


def _addresses(subject: Subject) -> tuple[str, ...]:
    return tuple(str(address) for address in (subject.ipv4, subject.ipv6) if address is not None)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node is: its addresses and the ends of its subnet routes as points, and its exit routes."""

    points: tuple[int, ...]
    behind: tuple[tuple[int, int], ...]
    exits: tuple[Network, ...]

    def leads_to(self, ips: IPSet) -> bool:
        """Whether the node routes any of these addresses."""
        return any(ips.meets(first, past) for first, past in self.behind)

    def is_exit_for(self, ips: IPSet) -> bool:
        """Whether the node is an exit node for these addresses, which must all be public."""
        return any(is_public(ips, 0 if route.version == 4 else 1) for route in self.exits)

    def is_in(self, ips: IPSet) -> bool:
        """Whether the node has one of these addresses."""
        return any(ips.has_point(value) for value in self.points)


def _place_of(facts: Facts) -> _Place:
    subject = facts.subject
    return _Place(
        tuple(point(address) for address in (subject.ipv4, subject.ipv6) if address is not None),
        tuple(map(span, subnets(subject))),
        tuple(route for route in subject.routes if route in EXIT_ROUTES),
    )


def _openings(program: Program, number: int, facts: Facts, place: _Place) -> list[Opening]:
    """What of the row's targets concerns this node."""
    traffic, target = program.rows[number].traffic, program.targets[number]
    assert traffic is not None
    via = bool(program.rows[number].via)
    found: list[tuple[str, ...] | None] = []
    if target.everyone:
        found.append((_ANY_ADDRESS,))
    if target.own or (not via and not target.labels.isdisjoint(facts.kind.labels)):
        found.append(None)
    for literal in program.literals[number]:
        if place.leads_to(literal) or (not via and (place.is_in(literal) or place.is_exit_for(literal))):
            found.append(program.spelled(literal))
    if target.internet:
        found += ((INTERNET & of_networks(route)).texts() for route in place.exits)
    return [Opening(at, traffic.ports) for at in found]


def _capabilities(program: Program, number: int, facts: Facts) -> Slot | None:
    """The capabilities at this node's own addresses; None when the row does not mean them.

    Sources that are nobody at the moment still make a rule (recording grant-h6).
    """
    target, subject, row = program.targets[number], facts.subject, program.rows[number]
    families: tuple[int, ...] = (4, 6)
    if not (target.own or target.everyone or not target.labels.isdisjoint(facts.kind.labels)):
        families = tuple(
            address.version
            for address in (subject.ipv4, subject.ipv6)
            if address is not None and address in target.ips
        )
        if not families:
            return None
    return Slot(number, row.source, target.own, capabilities=row.capabilities, families=families)
