"""What should be: the oracle asked about a real tailnet, its nodes as the server lists them and its clients as they
are known to filter.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from harness.clients.base import Ability, By, Client
from harness.errors import HarnessError
from harness.oracle import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Address,
    OracleNode,
    OracleUser,
    Packet,
    Policy,
    admits,
    as_clients_match,
    as_written,
    sees,
)
from harness.reach import Pair, Target
from harness.servers.base import ControlServer, ServerNode, ServerUser
from harness.services import Service

FAMILIES: tuple[By, ...] = ("ipv4", "ipv6")

ANSWERED_AT = (1024, 16000, 32768, 49152, 65535)
"""Ports that questions may come from, whatever program draws them; answers go to these."""


@dataclass(frozen=True, slots=True)
class World:
    """The users and nodes that there are, in the oracle's words."""

    users: tuple[OracleUser, ...]
    nodes: tuple[OracleNode, ...]

    def node_of(self, client: Client) -> OracleNode:
        """The client's node. Raises HarnessError when there is none."""
        own = set(client.status.addresses)
        found = next((node for node in self.nodes if own & set(node.addresses)), None)
        if found is None:
            raise HarnessError(f"the server lists no node with an address of {client.name}")
        return found

    def peers_of(self, policy: Policy, node: OracleNode) -> list[str]:
        """The names of those whom the node is to see under the policy."""
        others = [other for other in self.nodes if other is not node]
        return [other.name for other in others if sees(policy, self.users, self.nodes, node, other)]

    def admits(self, policy: Policy, client: Client, packet: Packet) -> bool:
        """Whether the client, as it filters, lets the packet in when it is the first of its flow."""
        matches = as_clients_match if Ability.FILTER in client.abilities else as_written
        return admits(policy, self.users, self.nodes, self.node_of(client), packet, matches=matches)


async def look(server: ControlServer) -> World:
    """The world as the server tells it."""
    users, nodes = await server.users(), await server.nodes()
    return World(tuple(map(_user, users)), tuple(map(_node, nodes)))


def matrix(
    policy: Policy, world: World, clients: Sequence[Client], *, services: Sequence[Service]
) -> Mapping[Pair, bool]:
    """Who is to reach whom: every service over TCP and UDP, and ICMP, over IPv4 and IPv6, all pairs of clients.

    Left out is what would show nothing: ICMP where either end cannot do it, what a client may ask whose packet filter
    would keep the answer out, and denials of UDP to a client whose probes are not new flows.
    """
    expected: dict[Pair, bool] = {}
    for prober, peer in itertools.permutations(clients, 2):
        for target in _targets(peer, services):
            if target.transport == "icmp" and Ability.ICMP not in prober.abilities & peer.abilities:
                continue
            verdict = _verdict(policy, world, prober=prober, peer=peer, target=target)
            if verdict is not None:
                expected[prober, target] = verdict
    return expected


def _targets(peer: Client, services: Sequence[Service]) -> Iterator[Target]:
    for family in FAMILIES:
        for service in services:
            yield peer.tcp(service.of(peer), by=family)
            yield peer.udp(service.of(peer), by=family)
        yield peer.icmp(by=family)


def _verdict(policy: Policy, world: World, *, prober: Client, peer: Client, target: Target) -> bool | None:
    dst = ip_address(target.address)
    src = prober.address(4 if dst.version == 4 else 6)
    udp = target.transport == "udp"
    if not world.admits(policy, peer, packet_for(target.transport, src, dst, port=target.port)):
        return None if udp and Ability.UDP_PORTS not in prober.abilities else False
    if (Ability.UDP_FLOWS if udp else Ability.FILTER) in prober.abilities:
        return True
    answers = (packet_for(target.transport, dst, src, port=port) for port in ANSWERED_AT)
    return True if all(world.admits(policy, prober, answer) for answer in answers) else None


def packet_for(transport: str, src: Address, dst: Address, *, port: int) -> Packet:
    """A probe's packet; ICMP has no port, and another number in IPv6."""
    if transport == "icmp":
        return Packet(src, dst, ICMP if dst.version == 4 else ICMPV6)
    return Packet(src, dst, TCP if transport == "tcp" else UDP, port)


def _user(user: ServerUser) -> OracleUser:
    return OracleUser(int(user.id), user.name, user.email, user.provider_id)


def _node(node: ServerNode) -> OracleNode:
    addresses: list[Any] = [ip_address(text) for text in node.addresses]
    return OracleNode(
        id=int(node.id),
        name=node.given_name,
        user_id=None if node.tags else int(node.user_id),
        tags=node.tags,
        ipv4=next((each for each in addresses if isinstance(each, IPv4Address)), None),
        ipv6=next((each for each in addresses if isinstance(each, IPv6Address)), None),
        approved=tuple(ip_network(route) for route in node.routes),
    )
