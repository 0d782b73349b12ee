"""The deterministic twin of a generated tailnet: fakes in this process are told their netmaps, and what real clients
would do with those is worked out in Python, packet by packet.

So a failure on real clients is told apart: when the twin is wrong too, the server tells clients something wrong; when
it is not, it is a matter of time, of packets or of one client.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

from harness.clients.fake import FakeClient
from harness.clients.netmap import Json, NetMap
from harness.errors import HarnessError
from harness.expected import look
from harness.filters import Match, lets_in
from harness.generated.plans import EXIT_ROUTES, Plan
from harness.generated.verdicts import Outcome, Question, packet_of, predict
from harness.oracle import ICMP, ICMPV6, TCP, UDP
from harness.reach import Probe
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings

LOCALHOST = "127.0.0.1"
EPHEMERAL = timedelta(minutes=5)
HOUR = timedelta(hours=1)
GRACE = timedelta(milliseconds=50)
"""Nobody comes back when a twin ends."""

DEFAULT_PROTOS = (TCP, UDP, ICMP, ICMPV6)
"""Of a rule that names none (tailcfg.FilterRule)."""

ALL = ("0.0.0.0/0", "::/0")


async def twin(plan: Plan, capabilities: Sequence[int]) -> Outcome:
    """Build the plan on fakes of these capability versions, by place, and read what they are told."""
    async with AsyncExitStack() as stack:
        server = InProcessServer(local_settings(LOCALHOST, ephemeral_timeout=EPHEMERAL), grace=GRACE)
        stack.push_async_callback(server.close)
        await server.start()
        fakes = await _join_all(plan, server, stack, capabilities)
        await server.set_policy(plan.text)
        world = await look(server)
        addresses = {node.name: [str(address) for address in node.addresses] for node in world.nodes}
        expected = predict(plan, world, addresses)
        netmaps = {name: await _netmap(fake) for name, fake in fakes.items()}
    told = Told(plan, netmaps, addresses)
    return Outcome(
        plan,
        expected,
        {question: told.probe(question) for question in expected.reach},
        {name: told.peers(name) for name in netmaps},
    )


async def _join_all(
    plan: Plan, server: InProcessServer, stack: AsyncExitStack, capabilities: Sequence[int]
) -> Mapping[str, FakeClient]:
    users = {name: await server.create_user(name) for name in plan.users}
    fakes = {}
    for node in plan.nodes:
        version = capabilities[node.release % len(capabilities)]
        fake = await stack.enter_async_context(FakeClient(server.url, version=version, hostname=node.name))
        fake.hostinfo |= {"RoutableIPs": list(node.advertised)} if node.advertised else {}
        key = await server.create_key(
            users[node.owner], reusable=False, ephemeral=False, lifetime=HOUR, tags=node.tags
        )
        answer = await fake.register(auth_key=key.text)
        if not answer["MachineAuthorized"]:
            raise HarnessError(f"{node.name} was not let in: {answer.get('Error')}")
        await fake.stream_map()  # who is offline serves no routes
        fakes[node.name] = fake
    listed = {node.given_name: node.id for node in await server.nodes()}
    for node in plan.nodes:
        if node.approved:
            await server.approve_routes(listed[node.name], node.advertised)
    return fakes


async def _netmap(fake: FakeClient) -> NetMap:
    netmap = NetMap(version=fake.version)
    netmap.apply(await fake.map_once(), now="")
    return netmap


class Told:
    """What real clients with these netmaps would do."""

    def __init__(
        self, plan: Plan, netmaps: Mapping[str, NetMap], addresses: Mapping[str, Sequence[str]]
    ) -> None:
        self._takes = {node.name: node.accepts_routes for node in plan.nodes}
        self._netmaps = netmaps
        self._addresses = addresses
        self._filters = {
            name: [match for rule in netmap.packet_filter for match in matches_of(rule)]
            for name, netmap in netmaps.items()
        }

    def peers(self, name: str) -> list[str]:
        """Whom the node is told of."""
        return [_name(peer) for peer in self._netmaps[name].peers.values()]

    def probe(self, question: Question) -> Probe:
        """Whether a first packet would be let in by whoever is the way to its target."""
        name, target = question
        way = self._way(name, target.address)
        if way is None:
            return Probe(answered=False, reason="no peer is the way there")
        if name not in self.peers(way):
            return Probe(answered=False, reason=f"{way} does not know {name}")
        packet = packet_of(name, target, self._addresses)
        if not lets_in(self._filters[way], packet):
            return Probe(answered=False, reason=f"the packet filter of {way} keeps it out")
        return Probe(answered=True, reason=None, source=str(packet.src))

    def _way(self, name: str, address: str) -> str | None:
        """The peer with the longest prefix that the node takes from it (wireguard's AllowedIPs, of nmcfg)."""
        where = ip_address(address)
        found = [
            (network.prefixlen, _name(peer))
            for peer in self._netmaps[name].peers.values()
            for text in peer.get("AllowedIPs") or ()
            if text not in EXIT_ROUTES and (text in peer["Addresses"] or self._takes[name])
            for network in (ip_network(text),)
            if where in network
        ]
        return max(found)[1] if found else None


def matches_of(rule: Json) -> list[Match]:
    """A rule of the wire as a Go client holds it. What grants capabilities lets nothing in."""
    if not rule.get("DstPorts"):
        return []
    sources = [network for text in rule.get("SrcIPs") or () for network in networks_of(text)]
    ports = [
        {"Net": network, "Ports": to["Ports"]} for to in rule["DstPorts"] for network in networks_of(to["IP"])
    ]
    return [{"IPProto": rule.get("IPProto") or DEFAULT_PROTOS, "Srcs": sources, "Dsts": ports}]


def networks_of(text: str) -> list[str]:
    """The prefixes that an address, a prefix, a range or `*` stands for (wgengine/filter, parseIPSet)."""
    if text == "*":
        return list(ALL)
    if "-" in text:
        first, _, last = text.partition("-")
        ends: Any = (ip_address(first), ip_address(last))
        return [str(network) for network in summarize_address_range(*ends)]
    return [str(ip_network(text))]


def _name(peer: Json) -> str:
    return str(peer["Name"]).partition(".")[0]
