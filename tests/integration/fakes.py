"""What tests of the running server share: clients with keys, and waiting for what they are told."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from harness.clients.fake import FakeClient, MapStream
from harness.clients.netmap import Json, NetMap
from harness.servers.inprocess import InProcessServer
from headscale.records import Node

# Everything here happens within milliseconds; only a failure waits for so long.
PATIENCE_S = 10.0
# How long the server of these tests takes a client that left for one that changes networks.
GRACE = timedelta(milliseconds=300)
EPHEMERAL_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A client that is in, and its node's number."""

    client: FakeClient
    id: int

    async def stream(self, **fields: Any) -> MapStream:
        """Begin a poll and read its full map."""
        stream = await self.client.stream_map(**fields)
        await until(stream, lambda netmap: netmap.updates > 0)
        return stream


Join = Callable[..., Awaitable[Enrolled]]


class Tailnet:
    """A server in this process, and the clients that a test lets in. They are closed with it."""

    def __init__(self, server: InProcessServer, stack: AsyncExitStack) -> None:
        self.server = server
        self._stack = stack

    async def key(self, user: str = "1", **kind: Any) -> str:
        """A pre-auth key's text; single-use unless told otherwise."""
        wanted: dict[str, Any] = {
            "reusable": False,
            "ephemeral": False,
            "lifetime": timedelta(hours=1),
            "tags": (),
            **kind,
        }
        return (await self.server.create_key(user, **wanted)).text

    async def client(self, name: str = "fake", **more: Any) -> FakeClient:
        """A client that has not registered."""
        return await self._stack.enter_async_context(FakeClient(self.server.url, hostname=name, **more))

    async def join(self, name: str = "fake", *, user: str = "1", version: int = 142, **kind: Any) -> Enrolled:
        """A client that has."""
        client = await self.client(name, version=version)
        await registered(client, await self.key(user, **kind))
        return Enrolled(client, self.node_of(client).id)

    def node_of(self, client: FakeClient) -> Node:
        """The node that the server knows by this client's keys; raises LookupError."""
        node = self.server.app.writer.snapshot.node_of(client.node_key, client.machine_key)
        if node is None:
            raise LookupError(f"the server has no node of {client.hostinfo['Hostname']}")
        return node

    def node(self, node_id: int) -> Node | None:
        """The node of this number."""
        return self.server.app.writer.snapshot.nodes.get(node_id)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until the server's state is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110  (any part of the state is looked at)
                await asyncio.sleep(0.005)


async def registered(client: FakeClient, key: str = "", **more: Any) -> Json:
    """Register and be let in."""
    answer = await client.register(auth_key=key, **more)
    assert answer["Error"] == ""
    assert answer["MachineAuthorized"] is True
    return answer


async def until(stream: MapStream, holds: Callable[[NetMap], bool]) -> NetMap:
    """Read a poll until the client's netmap is so."""
    return await stream.until(holds, within=PATIENCE_S)
