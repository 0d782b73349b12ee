"""A client's packet filter as its netmap shows it, and whether it is what a policy says.

The filter is compared by its verdicts, not by its text: for packets between all nodes, at and beside every port
that the policy names. So a filter that did not have to change is right at once, and one that changed for another
reason is not mistaken for the new one.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from harness.clients.base import Client
from harness.expected import World
from harness.oracle import ICMP, ICMPV6, TCP, UDP, OracleNode, Packet, Policy, admits
from harness.oracle.text import ANY_PORT, WITH_PORTS, openings
from harness.wait import Condition

Netmap = Mapping[str, Any]
Match = Mapping[str, Any]
"""One rule as Go's clients hold it (wgengine/filter/filtertype.Match, 1.80.3 to 1.102.4, Go's JSON)."""

HIGHEST_PORT = 65535
_network = lru_cache(maxsize=4096)(ip_network)  # the same few, for every packet of a sample

SHOWN = 3
"""Wrong verdicts that a message gives; one is enough, a few show the pattern."""


class Filter:
    """A client's netmap as a source of facts."""

    def __init__(self, client: Client) -> None:
        self.name = client.name
        self._client = client

    async def read(self) -> Netmap:
        return await self._client.netmap()

    async def changed(self, within: float) -> None:
        await self._client.changed(within)


def goes_by(policy: Policy, world: World, node: OracleNode) -> Condition[Netmap]:
    """The node's packet filter gives the policy's verdict on every packet of a sample.

    Raises ValueError when the oracle does not understand the policy.
    """
    wanted = {
        packet: admits(policy, world.users, world.nodes, node, packet)
        for packet in sample(policy, world, node)
    }

    def why_not(netmap: Netmap) -> str | None:
        matches = netmap.get("PacketFilter") or ()
        wrong = [packet for packet, want in wanted.items() if lets_in(matches, packet) != want]
        if not wrong:
            return None
        surprises = "; ".join(
            f"{'lets' if not wanted[p] else 'keeps'} {told(p)} {'in' if not wanted[p] else 'out'}"
            for p in wrong[:SHOWN]
        )
        count = f"{len(wrong)} of {len(wanted)} verdicts are not the policy's"
        return f"{count}: it {surprises}; its filter is {shown(matches)}"

    return Condition("its packet filter is the policy's", why_not)


def sample(policy: Policy, world: World, node: OracleNode) -> Iterator[Packet]:
    """Packets from every other node to this one and its subnets: each protocol, each port where verdicts change."""
    opened = openings(policy)
    limits = {
        port
        for opening in opened
        for first, last in opening.ports
        for port in (first - 1, first, last, last + 1)
    }
    ports = sorted(port for port in limits if 0 < port <= HIGHEST_PORT)
    protos = {TCP, UDP, *(proto for opening in opened for proto in opening.protos)} - {ICMP, ICMPV6}
    behind = [route.network_address for route in node.subnets]
    for source in (address for other in world.nodes if other is not node for address in other.addresses):
        for to in (address for address in (*node.addresses, *behind) if address.version == source.version):
            yield Packet(source, to, ICMP if to.version == 4 else ICMPV6)
            for proto in protos:
                for port in ports if proto in WITH_PORTS else (0,):
                    yield Packet(source, to, proto, port)


def lets_in(matches: Sequence[Match], packet: Packet) -> bool:
    """Whether a client with this filter lets the packet in, when it is the first of its flow.

    Source: tailscale v1.102.4, wgengine/filter/match.go, as `harness.oracle.as_clients_match`.
    """
    return any(_matches(match, packet) for match in matches)


def _matches(match: Match, packet: Packet) -> bool:
    if not any(packet.src in _network(prefix) for prefix in match.get("Srcs") or ()):
        return False
    ports = [
        (to["Ports"]["First"], to["Ports"]["Last"])
        for to in match.get("Dsts") or ()
        if packet.dst in _network(to["Net"])
    ]
    if packet.proto in (ICMP, ICMPV6):
        return bool(ports)
    if packet.proto not in (match.get("IPProto") or ()):
        return False
    if packet.proto in WITH_PORTS:
        return any(first <= packet.port <= last for first, last in ports)
    return ANY_PORT in ports


def shown(matches: Sequence[Match]) -> str:
    """The filter for people, a rule after the other."""
    rules = [
        f"[{','.join(map(str, match.get('IPProto') or ()))}] {','.join(match.get('Srcs') or ())} → "
        + ",".join(
            f"{to['Net']}:{to['Ports']['First']}-{to['Ports']['Last']}" for to in match.get("Dsts") or ()
        )
        for match in matches
    ]
    return "; ".join(rules) or "empty"


def told(packet: Packet) -> str:
    """The packet for people."""
    port = f" port {packet.port}" if packet.proto in WITH_PORTS else ""
    return f"protocol {packet.proto} {packet.src} → {packet.dst}{port}"
