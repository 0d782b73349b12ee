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

from headscale.ipset import IPSet, of_networks
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
    """One rule to be: traffic (`openings`) or capabilities, these at own addresses (`at` is None) or some of them."""

    source: SourceText
    protocol: int | None = None
    openings: tuple[Opening, ...] = ()
    capabilities: Mapping[str, list[msgspec.Raw]] | None = None
    at: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The filter of all nodes that differ in their addresses alone. `is_fixed`: not even in these."""

    parts: tuple[Part, ...]
    is_fixed: bool

    def rules(self, subject: Subject) -> tuple[FilterRule, ...]:
        """The filter of this node."""
        own = _addresses(subject)
        networks = tuple(f"{a}/{a.max_prefixlen}" for a in (subject.ipv4, subject.ipv6) if a is not None)
        return tuple(_rule(part, own, networks) for part in self.parts)


def say_the_same(one: Template, other: Template) -> bool:
    """Whether two templates make the same filter of the same node, even when made from different policies."""
    if one is other:
        return True
    if len(one.parts) != len(other.parts):
        return False
    return all(_spelled(a) == _spelled(b) for a, b in zip(one.parts, other.parts, strict=True))


def _spelled(part: Part) -> tuple[object, ...]:
    return part.source.texts, part.protocol, part.openings, part.capabilities, part.at


def _rule(part: Part, own: tuple[str, ...], networks: tuple[str, ...]) -> FilterRule:
    if part.capabilities is not None:
        grant = CapGrant(networks if part.at is None else part.at, dict(part.capabilities))
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
    at: tuple[str, ...] | None = None


Plan = tuple[Slot, ...]


def plan_for(program: Program, facts: Facts) -> Plan:
    """A node's filter before it is known who the sources are; as good as the node's kind, addresses and routes."""
    slots: list[Slot] = []
    merged: dict[tuple[int, bool, int | None], list[Opening]] = {}
    for number in facts.rows:
        row, own = program.rows[number], program.targets[number].own
        if row.traffic is None:
            slot = _capabilities(program, number, facts)
            slots += [slot] if slot else []
        elif openings := _openings(program, number, facts):
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
    for slot in plan:
        source = sources(slot.source, user_id if slot.own else None)
        if slot.capabilities is not None:
            parts.append(Part(source, capabilities=slot.capabilities, at=slot.at))
        elif source.texts:
            at = merged.setdefault((source, slot.protocol), len(parts))
            if at == len(parts):
                parts.append(Part(source, slot.protocol, slot.openings))
            else:
                more = dict.fromkeys((*parts[at].openings, *slot.openings))
                parts[at] = replace(parts[at], openings=tuple(more))
    return Template(tuple(parts), is_fixed=all(_is_fixed(part) for part in parts))


def _is_fixed(part: Part) -> bool:
    if part.capabilities is not None:
        return part.at is not None
    return all(opening.at is not None for opening in part.openings)


def _addresses(subject: Subject) -> tuple[str, ...]:
    return tuple(str(address) for address in (subject.ipv4, subject.ipv6) if address is not None)


def _openings(program: Program, number: int, facts: Facts) -> list[Opening]:
    """What of the row's targets concerns this node."""
    traffic, target, subject = program.rows[number].traffic, program.targets[number], facts.subject
    assert traffic is not None
    via = bool(program.rows[number].via)
    found: list[tuple[str, ...] | None] = []
    exits = [route for route in subject.routes if route in EXIT_ROUTES and not via]
    if target.everyone:
        found.append((_ANY_ADDRESS,))
    if target.own or (not via and not target.labels.isdisjoint(facts.kind.labels)):
        found.append(None)
    for literal in program.literals[number]:
        if _leads_to(literal, subject, exits) or (not via and _holds(literal, subject)):
            found.append(literal.texts())
    if target.internet:
        every_exit = (route for route in subject.routes if route in EXIT_ROUTES)
        found += ((INTERNET & of_networks(route)).texts() for route in every_exit)
    return [Opening(at, traffic.ports) for at in found]


def _leads_to(ips: IPSet, subject: Subject, exits: list[Network]) -> bool:
    """Whether the node routes any of these addresses; for exit nodes they must all be public."""
    if any(ips.overlaps(route) for route in subnets(subject)):
        return True
    return any(is_public(ips, 0 if route.version == 4 else 1) for route in exits)


def _holds(ips: IPSet, subject: Subject) -> bool:
    return any(address in ips for address in (subject.ipv4, subject.ipv6) if address is not None)


def _capabilities(program: Program, number: int, facts: Facts) -> Slot | None:
    """The capabilities at this node's own addresses; None when the row does not mean them.

    Sources that are nobody at the moment still make a rule (recording grant-h6).
    """
    target, subject, row = program.targets[number], facts.subject, program.rows[number]
    at: tuple[str, ...] | None = None
    if not (target.own or target.everyone or not target.labels.isdisjoint(facts.kind.labels)):
        at = tuple(
            f"{address}/{address.max_prefixlen}"
            for address in (subject.ipv4, subject.ipv6)
            if address is not None and address in target.ips
        )
        if not at:
            return None
    return Slot(number, row.source, target.own, capabilities=row.capabilities, at=at)
