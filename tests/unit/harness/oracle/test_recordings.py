"""The oracle agrees with the hosted service: with every packet filter and every list of peers that were recorded.

Packets are drawn from all interesting sources, destinations, protocols and ports of a case, by a seed that is the
case's id, and are put to the recorded rules by a plain matcher that knows nothing but the wire format.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import combinations
from typing import Any

import pytest

from harness import oracle
from harness.oracle import ICMP, ICMPV6, SCTP, TCP, UDP, Address, OracleNode, OracleUser, Packet, Prefix
from tests.conformance import Case, Span, params, spans

GRE = 47
RECORDED_FOR_TRAFFIC = ("acl", "grant", "routes", "exit_visibility")
PACKETS = 12
"""Packets a receiver, some 50,000 in all: every one of them would take an hour."""

OUTSIDE = (
    "8.8.8.8",
    "192.0.2.1",
    "100.115.92.5",
    "127.0.0.1",
    "2001:db8::1",
    "fd00:1::5",
    "fd7a:115c:a1e1::1",
)
DEFAULT_PROTOS = (TCP, UDP, ICMP, ICMPV6)


@dataclass(frozen=True)
class RecordedRule:
    """A recorded filter rule, read once."""

    sources: tuple[Span, ...]
    destinations: tuple[tuple[Span, int, int], ...]
    protos: tuple[int, ...]


def recorded_rules(rules: Sequence[Any]) -> list[RecordedRule]:
    return [
        RecordedRule(
            tuple(span for text in rule.get("SrcIPs") or () for span in spans(text)),
            tuple(
                (span, dst["Ports"]["First"], dst["Ports"]["Last"])
                for dst in rule.get("DstPorts") or ()
                for span in spans(dst["IP"])
            ),
            tuple(rule.get("IPProto") or DEFAULT_PROTOS),
        )
        for rule in rules
    ]


def within(address: Address, span: Span) -> bool:
    return address.version == span[0] and span[1] <= int(address) <= span[2]


def passes(rules: Sequence[RecordedRule], packet: Packet, *, as_client: bool) -> bool:
    """Whether recorded rules admit a packet, at their word or as a client applies them."""
    ping = as_client and packet.proto == (ICMP if packet.dst.version == 4 else ICMPV6)
    portless = as_client and packet.proto not in (TCP, UDP, SCTP)
    return any(
        (ping or packet.proto in rule.protos)
        and any(within(packet.src, span) for span in rule.sources)
        and any(
            within(packet.dst, span)
            and (ping or ((first, last) == (0, 65535) if portless else first <= packet.port <= last))
            for span, first, last in rule.destinations
        )
        for rule in rules
    )


def users_of(case: Case) -> list[OracleUser]:
    return [OracleUser(user["id"], user["name"], user["email"]) for user in case["users"]]


def nodes_of(case: Case) -> list[OracleNode]:
    user_ids = {user["name"]: user["id"] for user in case["users"]}
    return [
        OracleNode(
            id=node["id"],
            name=node["name"],
            user_id=user_ids[node["user"]] if "user" in node else None,
            tags=tuple(node.get("tags") or ()),
            ipv4=IPv4Address(node["ipv4"]),
            ipv6=IPv6Address(node["ipv6"]),
            approved=tuple(ip_network(route) for route in node.get("approved_routes") or ()),
        )
        for node in case["nodes"]
    ]


def literals_in(policy: dict[str, Any]) -> Iterator[Prefix]:
    """Every address and prefix that the policy names, be it in a rule or as a host."""
    rules = [*(policy.get("acls") or ()), *(policy.get("grants") or ())]
    texts = [text for rule in rules for text in (*rule["src"], *rule["dst"])]
    for text in (*texts, *(policy.get("hosts") or {}).values()):
        for candidate in (text, text.rpartition(":")[0]):
            try:
                yield ip_network(candidate)
                break
            except ValueError:
                continue


def places_of(prefix: Prefix) -> list[Address]:
    """The first address, the last, one inside, and the neighbours on both sides."""
    inner = prefix[prefix.num_addresses // 3]
    around = (int(prefix[0]) - 1, int(prefix[-1]) + 1)
    family = type(prefix[0])
    return [prefix[0], inner, prefix[-1], *(family(n) for n in around if 0 <= n < 1 << prefix.max_prefixlen)]


def addresses_in(case: Case, nodes: Sequence[OracleNode]) -> list[Address]:
    prefixes = {
        *literals_in(json.loads(case["policy"])),
        *(route for node in nodes for route in node.subnets),
    }
    found = {address for prefix in prefixes for address in places_of(prefix)}
    found |= {address for node in nodes for address in node.addresses}
    found |= {ip_address(text) for text in OUTSIDE}
    return sorted(found, key=lambda address: (address.version, int(address)))


def ports_in(case: Case) -> list[int]:
    """The ends of every recorded range of ports, and their neighbours."""
    ranges = [
        dst["Ports"]
        for result in case["expected"]["nodes"].values()
        for rule in result["filter_rules"]
        for dst in rule.get("DstPorts") or ()
    ]
    ends = {end + by for ports in ranges for end in (ports["First"], ports["Last"]) for by in (-1, 0, 1)}
    return sorted(end for end in {*ends, 1, 22, 65535} if 0 <= end <= 65535)


def packets_for(
    receiver: OracleNode,
    *,
    nodes: Sequence[OracleNode],
    addresses: Sequence[Address],
    ports: Sequence[int],
    draw: random.Random,
    count: int,
) -> Iterator[Packet]:
    """Packets that get as far as the receiver: half of them from nodes, most of them over TCP."""
    here = [address for address in addresses if oracle.delivered(receiver, address)]
    from_nodes = [address for node in nodes for address in node.addresses]
    for number in range(count):
        dst = draw.choice(here)
        sources = from_nodes if number % 2 else addresses
        src = draw.choice(sources)
        while src.version != dst.version:
            src = draw.choice(sources)
        proto = draw.choice((TCP, TCP, TCP, UDP, UDP, SCTP, GRE, ICMP, ICMPV6))
        yield Packet(src, dst, proto, draw.choice(ports) if proto in (TCP, UDP, SCTP) else 0)


@pytest.mark.parametrize("case", params(*RECORDED_FOR_TRAFFIC, accepted_only=True))
def test_filters_are_those_recorded(case: Case) -> None:
    """Every drawn packet is admitted exactly if the recorded rules admit it, in both ways of matching."""
    policy, users, nodes = json.loads(case["policy"]), users_of(case), nodes_of(case)
    draw = random.Random(case["id"])
    addresses, ports = addresses_in(case, nodes), ports_in(case)
    for receiver in nodes:
        if receiver.name not in case["expected"]["nodes"]:
            continue
        rules = recorded_rules(case["expected"]["nodes"][receiver.name]["filter_rules"])
        for number, packet in enumerate(
            packets_for(receiver, nodes=nodes, addresses=addresses, ports=ports, draw=draw, count=PACKETS)
        ):
            as_client = number % 3 == 0
            matches = oracle.as_clients_match if as_client else oracle.as_written
            said = oracle.admits(policy, users, nodes, receiver, packet, matches=matches)
            assert said == passes(rules, packet, as_client=as_client), (
                f"{receiver.name} {as_client=}: {packet}"
            )


@pytest.mark.parametrize("case", params(*RECORDED_FOR_TRAFFIC, accepted_only=True))
def test_peers_are_those_recorded(case: Case) -> None:
    """Every recorded node sees exactly the peers that it was recorded to see."""
    policy, users, nodes = json.loads(case["policy"]), users_of(case), nodes_of(case)
    recorded = case["expected"]["nodes"]
    for a, b in combinations(nodes, 2):
        said = oracle.sees(policy, users, nodes, a, b)
        for node, other in ((a, b), (b, a)):
            if node.name in recorded:
                assert said == (other.name in recorded[node.name]["peers"]), f"{node.name} sees {other.name}"
