"""The slow, obvious reading of a policy, for tests of engines that read it fast.

Each answer is computed anew from the policy's text (as decoded JSON) for one packet or one pair of nodes: nothing is
compiled, cached or kept in sets of addresses, and nothing is shared with `headscale.policy`. What the oracle does not
understand it refuses with ValueError. The recordings of the hosted service are its own test.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from typing import Final, Literal

from harness.oracle.aliases import Tailnet, check_words, concerns, is_destination, is_self, is_source
from harness.oracle.text import ANY_PORT, SELF, AppGrant, Opening, Policy, app_grants, openings
from harness.oracle.values import (
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    TSMP,
    UDP,
    Address,
    OracleNode,
    OracleUser,
    Packet,
    Prefix,
    delivered,
    single,
)

__all__ = [
    "ICMP",
    "ICMPV6",
    "SCTP",
    "TCP",
    "TSMP",
    "UDP",
    "Address",
    "OracleNode",
    "OracleUser",
    "Packet",
    "Policy",
    "Prefix",
    "Way",
    "admits",
    "as_clients_match",
    "as_written",
    "delivered",
    "reach",
    "sees",
]

Way = tuple[
    str, str, int, int
]  # name of the source, name of the destination, protocol, port (0 where there is none)
Matches = Callable[[Packet, Opening], bool]

# Capabilities that tell the source's nodes about the destination's as well: recordings grant-a4, grant-v19.
TOLD_BOTH_WAYS: Final = ("tailscale.com/cap/drive", "tailscale.com/cap/relay")


def as_written(packet: Packet, opening: Opening) -> bool:
    """Whether protocol and port are among those that the rule names."""
    return packet.proto in opening.protos and _in_ports(packet, opening)


def as_clients_match(packet: Packet, opening: Opening) -> bool:
    """Whether a client finds protocol and port covered by a rule whose addresses fit.

    TCP, UDP and SCTP are matched by protocol and port. ICMP (ICMPv6 in IPv6) is let in by any rule, whatever
    protocols and ports it names: who may reach something may ping it. Every other protocol must be named, and
    only by a rule for all ports. So with ports limited, a default-protocol rule lets pings pass, no more.
    Source: tailscale v1.102.4 and v1.80.3, wgengine/filter/filter.go (runIn4, runIn6) and match.go (match,
    matchIPsOnly, matchProtoAndIPsOnlyIfAllPorts).
    """
    if packet.proto == (ICMP if packet.dst.version == 4 else ICMPV6):
        return True
    if packet.proto in (TCP, UDP, SCTP):
        return as_written(packet, opening)
    return packet.proto in opening.protos and ANY_PORT in opening.ports


def admits(
    policy: Policy,
    users: Sequence[OracleUser],
    nodes: Sequence[OracleNode],
    receiver: OracleNode,
    packet: Packet,
    *,
    matches: Matches = as_clients_match,
) -> bool:
    """Whether the packet, the first of its flow, comes to the receiver and passes its filter.

    With `matches=as_written` the rules are taken at their word instead of as a client applies them.
    """
    tailnet = Tailnet(policy, users, nodes)
    opened = _checked_openings(tailnet)
    if packet.src.version != packet.dst.version or not delivered(receiver, packet.dst):
        return False
    if matches is as_clients_match and (packet.dst.is_multicast or packet.dst.is_link_local):
        return False  # dropped before any rule: filter.go, pre
    if matches is as_clients_match and packet.proto == TSMP:
        return True  # the clients' own messages need no rule: filter.go, runIn4
    return any(
        _lets_in(tailnet, opening, receiver, packet) and matches(packet, opening) for opening in opened
    )


def sees(
    policy: Policy,
    users: Sequence[OracleUser],
    nodes: Sequence[OracleNode],
    a: OracleNode,
    b: OracleNode,
) -> bool:
    """Whether the two nodes are peers: some packet, or a capability, may pass from one of them to the other.

    Both count with their approved subnets. Source and destination must share a family of addresses.
    """
    tailnet = Tailnet(policy, users, nodes)
    opened = _checked_openings(tailnet)
    granted = app_grants(policy)
    for grant in granted:
        check_words(tailnet, grant)
    return any(
        any(_names(tailnet, opening, receiver, sender, version) for opening in opened)
        or any(_tells(tailnet, grant, receiver, sender, version) for grant in granted)
        for receiver, sender in ((a, b), (b, a))
        for version in (4, 6)
    )


def reach(
    policy: Policy,
    users: Sequence[OracleUser],
    nodes: Sequence[OracleNode],
    *,
    ports: Iterable[int],
    protos: Sequence[int] = (TCP,),
    version: Literal[4, 6] = 4,
) -> dict[Way, bool]:
    """The complete matrix of who reaches whose own address, over one family of addresses.

    Protocols without ports stand in it once, with port 0. A node without an address of the family is left out.
    """
    kinds = [(proto, port) for proto in protos for port in (ports if proto in (TCP, UDP, SCTP) else (0,))]
    matrix: dict[Way, bool] = {}
    for source, destination in permutations(nodes, 2):
        src, dst = ((node.ipv4 if version == 4 else node.ipv6) for node in (source, destination))
        if src is None or dst is None:
            continue
        for proto, port in kinds:
            packet = Packet(src, dst, proto, port)
            matrix[source.name, destination.name, proto, port] = admits(
                policy, users, nodes, destination, packet
            )
    return matrix


def _checked_openings(tailnet: Tailnet) -> list[Opening]:
    opened = openings(tailnet.policy)
    for opening in opened:
        check_words(tailnet, opening)
    return opened


def _in_ports(packet: Packet, opening: Opening) -> bool:
    return any(first <= packet.port <= last for first, last in opening.ports)


def _lets_in(tailnet: Tailnet, opening: Opening, receiver: OracleNode, packet: Packet) -> bool:
    """Whether the opening, as the receiver is told of it, has the packet's two addresses."""
    if opening.destination == SELF:
        senders = [node for node in tailnet.nodes if packet.src in node.addresses]
        return packet.dst in receiver.addresses and any(
            is_self(tailnet, opening.sources, receiver, sender) for sender in senders
        )
    return (
        concerns(tailnet, opening, receiver, packet.dst.version)
        and is_destination(tailnet, opening, packet.dst)
        and any(is_source(tailnet, alias, single(packet.src)) for alias in opening.sources)
    )


def _names(
    tailnet: Tailnet, opening: Opening, receiver: OracleNode, sender: OracleNode, version: int
) -> bool:
    """Whether the receiver is told of this opening, and the sender is a source of it, both in this family."""
    if opening.destination == SELF:
        return _are_self(tailnet, opening, receiver, sender, version)
    return concerns(tailnet, opening, receiver, version) and _is_sender(
        tailnet, opening.sources, sender, version
    )


def _tells(tailnet: Tailnet, grant: AppGrant, receiver: OracleNode, sender: OracleNode, version: int) -> bool:
    """Whether an application grant tells the receiver about the sender."""
    if grant.destination == SELF:
        return _are_self(tailnet, grant, receiver, sender, version)
    sends = _is_sender(tailnet, grant.sources, sender, version)
    if grant.via:
        # No capability is told to anybody, yet they see each other: recording grant-k12.
        return sends and concerns(tailnet, grant, receiver, version)
    if sends and _holds(tailnet, grant.destination, receiver, version):
        return True
    backwards = any(capability in TOLD_BOTH_WAYS for capability in grant.capabilities)
    return (
        backwards
        and any(_holds(tailnet, alias, receiver, version) for alias in grant.sources)
        and _is_sender(tailnet, (grant.destination,), sender, version)
    )


def _are_self(
    tailnet: Tailnet, rule: Opening | AppGrant, receiver: OracleNode, sender: OracleNode, version: int
) -> bool:
    both_have = all(any(each.version == version for each in node.addresses) for node in (receiver, sender))
    return both_have and is_self(tailnet, rule.sources, receiver, sender)


def _holds(tailnet: Tailnet, alias: str, node: OracleNode, version: int) -> bool:
    """Whether one of the node's own addresses is meant; capabilities are never for what lies behind a router."""
    own = [single(address) for address in node.addresses if address.version == version]
    return any(alias == "*" or is_source(tailnet, alias, place) for place in own)


def _is_sender(tailnet: Tailnet, sources: Sequence[str], sender: OracleNode, version: int) -> bool:
    """Whether the node is a source by an address of its own or by an approved subnet route."""
    places = [place for place in sender.places if place.version == version]
    return any(is_source(tailnet, alias, place) for alias in sources for place in places)
