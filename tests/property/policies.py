"""Small tailnets with valid policies over them, the packets that matter there, and the many ways to write a policy.

The policies themselves are those that real clients are tried with too: harness.generated.policies.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from hypothesis import strategies as st

from harness.generated.policies import (
    NAMES,
    PUBLIC,
    ROUTES,
    SUBNETS,
    TAGS,
    TAILNET_PARTS,
    policies,
)
from harness.oracle import (
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Address,
    OracleNode,
    OracleUser,
    Packet,
    Prefix,
    delivered,
)
from tests.property.hujson import hujson_texts

GRE: Final = 47
EXIT_ROUTES: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
OUTSIDE: Final = ("8.8.8.8", "9.9.9.9", "10.99.1.1", "100.115.92.9", "192.0.2.7", "2001:4860::8", "fd00:2::1")

PORTS: Final = (1, 2, 21, 22, 23, 47, 53, 79, 80, 85, 90, 91, 443, 65534, 65535)


@dataclass(frozen=True)
class Probe:
    """A packet that peers hand to this receiver."""

    receiver: OracleNode
    packet: Packet


@dataclass(frozen=True)
class PolicyCase:
    """A tailnet, its policy as decoded JSON, and packets to try."""

    policy: dict[str, Any]
    users: tuple[OracleUser, ...]
    nodes: tuple[OracleNode, ...]
    probes: tuple[Probe, ...]

    @property
    def text(self) -> str:
        """The policy as plain JSON."""
        return json.dumps(self.policy)


@st.composite
def users(draw: st.DrawFn) -> tuple[OracleUser, ...]:
    """Two to five accounts; some have an e-mail address, some an identity at a provider."""
    found = []
    for number, name in enumerate(NAMES[: draw(st.integers(2, 5))], start=1):
        email = draw(st.sampled_from(("", f"{name}@example.com", f"{name}@example.org")))
        provider = draw(st.sampled_from(("", "", f"https://login.example.net/{name}@id")))
        found.append(OracleUser(number, name, email, provider))
    return tuple(found)


@st.composite
def nodes(draw: st.DrawFn, owners: Sequence[OracleUser]) -> tuple[OracleNode, ...]:
    """Two to eight devices of the users or with tags; routers, exit nodes, and some with one address only."""
    return tuple(draw(_node(number, owners)) for number in range(1, 1 + draw(st.integers(2, 8))))


@st.composite
def _node(draw: st.DrawFn, number: int, owners: Sequence[OracleUser]) -> OracleNode:
    tags = draw(st.lists(st.sampled_from(TAGS), max_size=2, unique=True)) if draw(st.booleans()) else []
    families = draw(st.sampled_from(("both", "both", "both", "both", "v4", "v6")))
    routes = draw(st.lists(st.sampled_from(ROUTES), max_size=2, unique=True)) if draw(st.booleans()) else []
    is_exit = draw(st.sampled_from((False, False, False, True)))
    return OracleNode(
        id=number,
        name=f"node{number}",
        user_id=None if tags else draw(st.sampled_from(owners)).id,
        tags=tuple(sorted(tags)),
        ipv4=IPv4Address(f"100.64.0.{number}") if families != "v6" else None,
        ipv6=IPv6Address(f"fd7a:115c:a1e0::{number:x}") if families != "v4" else None,
        approved=(*(ip_network(route) for route in routes), *(EXIT_ROUTES if is_exit else ())),
    )


def probes(policy: dict[str, Any], tailnet: Sequence[OracleNode]) -> st.SearchStrategy[Probe]:
    """Packets near the edges of what nodes have, rules name and routes cover: a third of each, at both ends.

    Where nothing is restricted, engines differ in what they think of strangers: there, only the tailnet sends.
    """
    own = [address for node in tailnet for address in node.addresses]
    named = [address for prefix in _named_in(policy) for address in _edges(prefix)]
    places = interesting_addresses(tailnet)
    senders = [own, named, places]
    if "acls" not in policy and "grants" not in policy:
        senders = [own, [address for address in places if _is_of_tailnet(tailnet, address)]]
    of_receiver = [
        _probes_of(receiver, receivers=[list(receiver.addresses), named, places], senders=senders)
        for receiver in tailnet
    ]
    return st.sampled_from(of_receiver).flatmap(lambda strategy: strategy)


@st.composite
def _probes_of(
    draw: st.DrawFn,
    receiver: OracleNode,
    *,
    receivers: Sequence[list[Address]],
    senders: Sequence[list[Address]],
) -> Probe:
    families = {address.version for kind in senders for address in kind}
    here = [
        [each for each in kind if each.version in families and delivered(receiver, each)]
        for kind in receivers
    ]
    dst = draw(st.sampled_from([kind for kind in here if kind]).flatmap(st.sampled_from))
    sources = [[each for each in kind if each.version == dst.version] for kind in senders]
    src = draw(st.sampled_from([kind for kind in sources if kind]).flatmap(st.sampled_from))
    proto = draw(st.sampled_from((TCP, TCP, UDP, SCTP, GRE, ICMP, ICMPV6)))
    port = draw(st.sampled_from(PORTS)) if proto in (TCP, UDP, SCTP) else 0
    return Probe(receiver, Packet(src, dst, proto, port))


def _named_in(policy: dict[str, Any]) -> list[Prefix]:
    """The prefixes that rules name, as literals or by a host's name."""
    rules = [*policy.get("acls", ()), *policy.get("grants", ())]
    texts = " ".join(text for rule in rules for text in (*rule["src"], *rule["dst"]))
    literals = {name: name for name in (*SUBNETS, *TAILNET_PARTS, *PUBLIC)} | policy["hosts"]
    return [ip_network(value) for name, value in literals.items() if name in texts]


def interesting_addresses(tailnet: Sequence[OracleNode]) -> list[Address]:
    """Every node's addresses, both ends of all that rules and routes name, the neighbours of these, and strangers."""
    texts = (*SUBNETS, *TAILNET_PARTS, *PUBLIC)
    found = {address for text in texts for address in _edges(ip_network(text))}
    found |= {address for node in tailnet for address in node.addresses}
    found |= {ip_address(text) for text in OUTSIDE}
    return sorted(found, key=lambda address: (address.version, int(address)))


def _edges(prefix: Prefix) -> Iterator[Address]:
    family = type(prefix[0])
    for number in (int(prefix[0]) - 1, int(prefix[0]), int(prefix[-1]), int(prefix[-1]) + 1):
        yield family(number)


def _is_of_tailnet(tailnet: Sequence[OracleNode], address: Address) -> bool:
    routes = [route for node in tailnet for route in node.subnets]
    return any(address in node.addresses for node in tailnet) or any(address in route for route in routes)


@st.composite
def policy_cases(draw: st.DrawFn, *, size: int = 12) -> PolicyCase:
    """A tailnet with a valid policy, and at most so many packets to try."""
    people = draw(users())
    tailnet = draw(nodes(people))
    policy = draw(policies(people))
    tried = draw(st.lists(probes(policy, tailnet), min_size=min(1, size), max_size=size))
    return PolicyCase(policy, people, tailnet, tuple(tried))


@st.composite
def policy_texts(draw: st.DrawFn) -> tuple[PolicyCase, str]:
    """A case and its policy written by a human: with comments, blanks and commas at the end."""
    case = draw(policy_cases(size=0))
    return case, draw(hujson_texts(case.policy))
