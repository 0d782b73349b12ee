"""One side of a differential run: a server, the clients on it, and how they look."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

from harness.backends.network import Backend, Network
from harness.clients.base import Client
from harness.differential.picture import Json, Look, Names, names_of, plain_netmap, plain_nodes
from harness.differential.script import (
    SERVICES,
    Approve,
    Down,
    Expire,
    Join,
    Leave,
    Rename,
    SetPolicy,
    SetTags,
    Step,
    Up,
)
from harness.errors import HarnessError, NotAnswering
from harness.history import History
from harness.reach import NO_SECONDS, Pair, probe_matrix
from harness.servers.base import ControlServer
from harness.servers.configuration import Configuration
from harness.servers.local import local_settings
from harness.tailnet import Tailnet, open_tailnet
from harness.versions import Release

EPHEMERAL = timedelta(minutes=30)
IMAGE, URL = "image:", "url:"
KINDS = f"inprocess, process, {IMAGE}REFERENCE, {URL}ADDRESS"


def server_of(kind: str, network: Network, keys: Mapping[str, Any]) -> ControlServer:
    """The server that a side is named after, with these keys of its configuration. Raises HarnessError."""
    configuration = Configuration(keys)
    if kind.startswith(IMAGE):
        from harness.servers.container import ContainerServer

        image = kind.removeprefix(IMAGE)
        return ContainerServer(network, image, ephemeral_timeout=EPHEMERAL, configuration=configuration)
    if kind.startswith(URL):
        from harness.servers.hosted.choose import hosted_server

        return hosted_server(kind.removeprefix(URL), plain=not keys)
    settings = local_settings(network.host_address, ephemeral_timeout=EPHEMERAL, configuration=configuration)
    if kind == "process":
        from harness.servers.process import ProcessServer

        return ProcessServer(settings)
    if kind == "inprocess":
        from harness.servers.inprocess import InProcessServer

        return InProcessServer(settings)
    raise HarnessError(f"{kind!r} is no kind of server: there are {KINDS}")


class Side:
    """See the module. `name` is the server's kind, as the ledger has it."""

    def __init__(self, tailnet: Tailnet) -> None:
        self.tailnet = tailnet
        self.name = tailnet.server.name
        self._clients: dict[str, Client] = {}
        self._numbers: dict[str, str] = {}
        """The scenario's names by node number."""

    async def act(self, step: Step) -> None:
        """Do it, and return when it is so for whoever it is done to."""
        tailnet, server = self.tailnet, self.tailnet.server
        match step:
            case Join():
                await self._join(step)
            case SetPolicy(text=text):
                ports = {service.name: str(service) for service in tailnet.services}
                for name, port in ports.items():
                    text = text.replace(f"{{{name}}}", port)
                await tailnet.set_policy(text)
            case Rename(client=client, name=name):
                await server.rename_node(self._number(client), name)
            case SetTags(client=client, tags=tags):
                await server.set_tags(self._number(client), tags)
            case Approve(client=client, routes=routes):
                await server.approve_routes(self._number(client), routes)
            case Expire(client=client):
                await server.expire_node(self._number(client))
            case Leave(client=client):
                await tailnet.leave(self._clients.pop(client))
            case Down(client=client):
                self._check(client, (await self._clients[client].down()).ok)
            case Up(client=client):
                self._check(client, (await self._clients[client].reconnect()).ok)

    async def look(self) -> Look:
        """Netmaps and the list of nodes, now."""
        nodes = await self.tailnet.server.nodes()
        raw = await self._netmaps()
        names = self._names(nodes, raw)
        plain = {
            name: plain_netmap(netmap, names, _online(self._clients[name])) for name, netmap in raw.items()
        }
        return Look(plain, plain_nodes(nodes, names))

    async def reach(self) -> Mapping[str, bool]:
        """Who reaches whom, now: services over TCP and UDP, and ICMP, by IPv4.

        Of any two one asks alone first: where both begin with each other at the same moment, both may lose their
        handshake, and do so again each time they try, five seconds later.
        """
        online = [client for client in self._clients.values() if client.status.state == "Running"]
        greetings: list[Pair] = [(one, other.icmp()) for one, other in combinations(online, 2)]
        await probe_matrix(greetings, within=NO_SECONDS, at_once=len(greetings) or 1)
        pairs: dict[Pair, str] = {}
        for prober in online:
            for peer in online:
                if peer is prober:
                    continue
                targets = {"icmp": peer.icmp()}
                for service in self.tailnet.services:
                    targets[f"tcp {service.name}"] = peer.tcp(service.of(peer))
                    targets[f"udp {service.name}"] = peer.udp(service.of(peer))
                pairs |= {
                    (prober, target): f"{prober.name} to {peer.name} {way}" for way, target in targets.items()
                }
        seen = await probe_matrix(pairs, within=NO_SECONDS, at_once=len(pairs) or 1)
        return {pairs[pair]: probe.reached for pair, probe in seen.items()}

    async def _join(self, step: Join) -> None:
        release = self.tailnet.releases[step.release % len(self.tailnet.releases)]
        extra = [f"--advertise-routes={step.advertise}"] if step.advertise else []
        client = await self.tailnet.join(
            step.user, release, name=step.client, extra=extra, tags=list(step.tags)
        )
        self._clients[step.client] = client
        self._numbers[(await self.tailnet.node_of(client)).id] = step.client

    async def _netmaps(self) -> dict[str, Json]:
        async def of(client: Client) -> Json:
            try:
                await client.read()
                return await client.netmap()
            except NotAnswering as problem:  # one that is down has none
                return {"none": type(problem).__name__}

        found = await asyncio.gather(*(of(client) for client in self._clients.values()))
        return dict(zip(self._clients, found, strict=True))

    def _names(self, nodes: Any, netmaps: Mapping[str, Json]) -> Names:
        host = urlsplit(self.tailnet.server.url).hostname or ""
        return names_of(nodes, self._numbers, netmaps.values(), host=host)

    def _number(self, client: str) -> str:
        return next(number for number, name in self._numbers.items() if name == client)

    def _check(self, client: str, done: bool) -> None:
        if not done:
            raise HarnessError(f"{self.name}: {client} did not do as it was told")


def _online(client: Client) -> list[str]:
    """The numbers of the peers that are online for the client, as of its last status."""
    return [peer.stable_id for peer in client.status.peers if peer.online]


async def open_side(
    stack: AsyncExitStack,
    backend: Backend,
    releases: tuple[Release, ...],
    kind: str,
    *,
    number: int,
    keys: Mapping[str, Any],
) -> Side:
    """A side whose server runs, with a network of its own; it ends with the stack."""
    network = await stack.enter_async_context(backend.network(f"side-{number}"))
    server = server_of(kind, network, keys)
    tailnet = await stack.enter_async_context(open_tailnet(server, network, releases, History()))
    await tailnet.serve(*SERVICES)
    return Side(tailnet)
