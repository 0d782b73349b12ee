"""One server after another at the same URL: the devices notice nothing but a short absence.

The former server stops, its records go to the next in some way, and that has the same Noise key. Nobody logs in again;
numbers, addresses, names, keys, tags, approved routes, ends of keys and the policy stay; who is connected stays so.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from harness.backends.network import Backend
from harness.clients.base import Ability, Client
from harness.conditions import expires, running
from harness.errors import Missing
from harness.history import History
from harness.policies import acl, policy
from harness.reach import assert_reach
from harness.servers.base import AuthKey, ServerNode, all_online
from harness.servers.inprocess import InProcessServer
from harness.servers.local import LocalSettings, local_settings, remove_data
from harness.servers.postgres import start_postgres
from harness.servers.process import ProcessServer
from harness.servers.successor import in_postgres, out_of_postgres, with_file
from harness.strict import unavailable
from harness.tailnet import Tailnet, open_tailnet
from harness.versions import Release
from harness.wait import Budget

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUTE = "10.44.0.0/24"
Server = InProcessServer | ProcessServer
HandOver = Callable[[LocalSettings], Awaitable[LocalSettings]]


class Place:
    """A tailnet with much in it, and what must outlive a change of its server."""

    def __init__(self, tailnet: Tailnet, stack: AsyncExitStack) -> None:
        self.tailnet = tailnet
        self._stack = stack
        self.end = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
        self.rules = policy(acl("alice@", "alice@:*", "tag:web:*"), acl("tag:web", "alice@:*"))
        self.key = AuthKey("", "")
        self.people: list[Client] = []
        self.tagged: Client

    async def fill(self) -> None:
        """A device of each release, a tagged one with a route, an end of a key, a key that is left, a policy."""
        tailnet, server = self.tailnet, self.tailnet.server
        self.people = await tailnet.join_each("alice")
        routes = [f"--advertise-routes={ROUTE}"]
        self.tagged = await tailnet.join("alice", name="tagged", tags=["tag:web"], extra=routes)
        self.key = await tailnet.auth_key("alice", reusable=True)
        await server.approve_routes((await tailnet.node_of(self.tagged)).id, [ROUTE])
        await server.rename_node((await tailnet.node_of(self.tagged)).id, "printer")
        self.ending = next(client for client in self.people if Ability.PREFS in client.abilities)
        await server.expire_node((await tailnet.node_of(self.ending)).id, at=self.end)
        await tailnet.set_policy(self.rules)
        await tailnet.reach([*self.people, self.tagged])

    async def hand_over(self, hand_over: HandOver, kind: type[Server]) -> Server:
        """Stop the server, and start the next with what it is handed. Meanwhile packets flow."""
        former = self.tailnet.server
        assert isinstance(former, InProcessServer | ProcessServer)
        before = await former.nodes()
        await former.stop()
        durable = [client for client in self.people if Ability.OUTAGE in client.abilities]
        await assert_reach(
            {(one, other.tcp()): True for one in durable for other in durable if one is not other}
        )
        settings = await hand_over(former.settings)
        self._stack.callback(remove_data, former.settings)
        server: Server = kind(settings)
        self._stack.push_async_callback(server.close)
        await server.start()
        self.tailnet.server = server
        await self._nothing_changed(before)
        return server

    async def _nothing_changed(self, before: list[ServerNode]) -> None:
        tailnet = self.tailnet
        after = await tailnet.until_nodes(all_online(len(before)), Budget.RECONNECT)
        assert [_lasting(node) for node in after] == [_lasting(node) for node in before]
        everybody = [*self.people, self.tagged]
        await tailnet.changes(everybody, running(), Budget.RECONNECT)
        await tailnet.until_in_force(self.rules)
        await tailnet.all_hear(everybody)
        await tailnet.reach(everybody)
        await self.ending.until(expires(self.end), Budget.SYNC)

    async def lets_in(self) -> None:
        """A key that the first server made lets a device in at this one."""
        newcomer = await tailnet_newcomer(self.tailnet, self.key)
        self.people.append(newcomer)
        await self.tailnet.meshed(self.people)


async def tailnet_newcomer(tailnet: Tailnet, key: AuthKey) -> Client:
    releases = tailnet.able(Ability.LOGOUT)
    return await tailnet.log_in(await tailnet.client(releases[-1]), key)


def _lasting(node: ServerNode) -> tuple[object, ...]:
    names = ("id", "given_name", "hostname", "user", "addresses", "node_key", "tags", "routes", "serving")
    return tuple(getattr(node, name) for name in names)


@pytest_asyncio.fixture(loop_scope="session")
async def place(backend: Backend, releases: tuple[Release, ...]) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(backend.network("swap"))
        settings = local_settings(network.host_address, ephemeral_timeout=timedelta(minutes=30))
        first = ProcessServer(settings)
        tailnet = await stack.enter_async_context(open_tailnet(first, network, releases, History()))
        made = Place(tailnet, stack)
        await made.fill()
        yield made
        await asyncio.gather(*(client.close() for client in tailnet.clients))


async def test_a_server_of_another_kind_opens_the_file(place: Place) -> None:
    """From a process into this one, and back: the devices are the same, and old keys let new ones in."""
    await place.hand_over(with_file, InProcessServer)
    await place.lets_in()
    last = await place.hand_over(with_file, ProcessServer)
    assert isinstance(last, ProcessServer)
    assert registrations(last) == 0
    await place.lets_in()


async def test_the_records_go_to_postgresql_and_back(place: Place) -> None:
    """By `headscale database copy`, each way."""
    async with AsyncExitStack() as stack:
        try:
            postgres = await start_postgres(stack)
        except Missing as problem:
            unavailable(str(problem))
        second = await place.hand_over(lambda old: in_postgres(old, postgres, "swap"), ProcessServer)
        assert isinstance(second, ProcessServer)
        assert second.settings.elsewhere
        await place.lets_in()
        third = await place.hand_over(lambda old: out_of_postgres(old, postgres, "swap"), ProcessServer)
        assert isinstance(third, ProcessServer)
        assert (registrations(third), third.settings.elsewhere) == (0, {})
        await place.lets_in()


def registrations(server: ProcessServer) -> int:
    """How often a Go client registered; tailscale-rs does so at each connection, with the key that it has."""
    lines = [line for line in server.output.splitlines() if "node registered" in line]
    return sum("rust" not in line for line in lines)
