"""Drawn tailnets: who is in them, what they offer, and the policy; and what there is to reach, once they are built.

A plan is data, the same for real clients and for fakes. Addresses are given by the server, in the order of the nodes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from hypothesis import strategies as st

from harness.generated.policies import NAMES, TAGS, policies
from harness.oracle import OracleUser
from harness.reach import Target, Transport

PORTS: Final = (22, 85, 443)
"""Asked at every target, over TCP and UDP: policies name them alone, in a range, in a list, and not at all."""

TAGGINGS: Final = ((TAGS[0],), (TAGS[1],), (TAGS[0], TAGS[2]))

EXIT_ROUTES: Final = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class Lan:
    """A network behind a router, and the machine on it that has no client. Policies name some of its prefixes."""

    name: str
    ipv4: IPv4Network
    ipv6: IPv6Network | None
    hosts: tuple[str, ...]
    """The machine's addresses, beyond those that networks give to routers one by one."""
    routes: tuple[tuple[str, ...], ...]
    """What a router may advertise of it."""


LANS: Final = (
    Lan(
        "lab",
        IPv4Network("10.33.5.0/24"),
        IPv6Network("fd00:1::/64"),
        ("10.33.5.207", "fd00:1::8001"),
        (("10.33.5.0/24",), ("10.33.0.0/16",), ("10.33.5.0/24", "fd00:1::/64"), ("fd00:1::8000/113",)),
    ),
    Lan("home", IPv4Network("192.168.1.0/24"), None, ("192.168.1.209",), (("192.168.1.0/24",),)),
)


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One device. `release` is its place among the releases under test."""

    name: str
    release: int
    owner: str
    tags: tuple[str, ...] = ()
    lan: str = ""
    """Where it also stands, and routes to."""
    advertised: tuple[str, ...] = ()
    approved: bool = False
    """An administrator approves what it advertises."""
    accepts_routes: bool = True

    def told(self) -> str:
        """The device for people."""
        words = [f"{self.name}: {' '.join(self.tags) or self.owner}, release {self.release}"]
        if self.advertised:
            verb = "serves" if self.approved else "advertises unapproved"
            words.append(f"{verb} {' '.join(self.advertised)}")
        if not self.accepts_routes:
            words.append("takes no routes")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Plan:
    """One drawn tailnet."""

    nodes: tuple[NodePlan, ...]
    policy: Mapping[str, Any]
    opened_first: bool
    """Everything is shown alive before the policy is set, instead of after it was measured."""

    @property
    def text(self) -> str:
        """The policy's text."""
        return json.dumps(self.policy, indent=1)

    @property
    def users(self) -> tuple[str, ...]:
        """Whoever owns a device, each once."""
        return tuple(dict.fromkeys(node.owner for node in self.nodes))

    def told(self) -> str:
        """The plan for people: its nodes, and the policy's text."""
        when = "after everything was open" if self.opened_first else "from the beginning"
        return "\n".join([*(node.told() for node in self.nodes), f"policy, {when}:", self.text])


@st.composite
def plans(draw: st.DrawFn, *, releases: int = 1, most: int = 5) -> Plan:
    """Two to `most` devices of two users or with tags, of any of so many releases, and a policy in their words."""
    names = NAMES[:2]
    nodes = draw(st.lists(_nodes(names, releases), min_size=2, max_size=most))
    people = [OracleUser(number, name, "") for number, name in enumerate(names, start=1)]
    return Plan(tuple(_settled(nodes)), draw(policies(people)), draw(st.booleans()))


@st.composite
def _nodes(draw: st.DrawFn, owners: Sequence[str], releases: int) -> NodePlan:
    lan = draw(st.sampled_from((None, *LANS)))
    exits = EXIT_ROUTES if draw(st.sampled_from((False, False, False, True))) else ()
    return NodePlan(
        name="",
        release=draw(st.integers(0, releases - 1)),
        owner=draw(st.sampled_from(owners)),
        tags=draw(st.sampled_from(((), (), *TAGGINGS))),
        lan=lan.name if lan else "",
        advertised=(*(draw(st.sampled_from(lan.routes)) if lan else ()), *exits),
        approved=draw(st.booleans()),
        accepts_routes=draw(st.sampled_from((True, True, True, False))),
    )


def _settled(nodes: Sequence[NodePlan]) -> Iterator[NodePlan]:
    """With names, and one router in each LAN: who serves one of two is another matter (test_failover)."""
    taken = {""}
    for number, node in enumerate(nodes, start=1):
        if node.lan in taken:
            exits = tuple(route for route in node.advertised if route in EXIT_ROUTES)
            node = replace(node, lan="", advertised=exits)
        taken.add(node.lan)
        approved = node.approved and bool(node.advertised)
        yield replace(node, name=f"n{number}", approved=approved)


def lan_named(name: str) -> Lan:
    """The LAN of that name."""
    return next(lan for lan in LANS if lan.name == name)


def host_name(lan: Lan) -> str:
    """What the LAN's machine is called."""
    return f"{lan.name}-host"


def questions(plan: Plan, addresses: Mapping[str, Sequence[str]]) -> list[tuple[str, Target]]:
    """Who asks whom: every node every other one, and every LAN's machine that it does not stand beside.

    `addresses` are those of the nodes, by name. LANs to which no node leads are not asked for.
    """
    asked = []
    for node in plan.nodes:
        for other in plan.nodes:
            if other is not node:
                asked += [(node.name, target) for target in _targets(other.name, addresses[other.name])]
            if other.lan and other is not node:
                lan = lan_named(other.lan)
                asked += [(node.name, target) for target in _targets(host_name(lan), lan.hosts)]
    return asked


def _targets(name: str, addresses: Sequence[str]) -> Iterator[Target]:
    transports: tuple[Transport, ...] = ("tcp", "udp")
    for address in addresses:
        yield Target(name, "icmp", address)
        for transport in transports:
            yield from (Target(name, transport, address, port) for port in PORTS)


def way_to(plan: Plan, address: str, addresses: Mapping[str, Sequence[str]]) -> NodePlan | None:
    """Who takes packets for this address in: its node, or the router that serves the most of it."""
    for node in plan.nodes:
        if address in addresses[node.name]:
            return node
    where = ip_address(address)
    serving = [
        (ip_network(route).prefixlen, node)
        for node in plan.nodes
        if node.approved
        for route in node.advertised
        if route not in EXIT_ROUTES and where in ip_network(route)
    ]
    return max(serving, key=lambda found: found[0])[1] if serving else None
