"""Keys that end: by an administrator, by time, by being put off, and not at all."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.clients.base import Ability, Client
from harness.clients.fake import FakeClient
from harness.conditions import expires, needs_login, never_expires, running, sees_expired, sees_unexpired
from harness.logins import REAUTH, logs_in
from harness.plugin import MakeTailnet
from harness.tailnet import Tailnet
from harness.wait import Budget, Condition, until, until_it_holds

SLACK = timedelta(minutes=2)


async def with_watcher(tailnet: Tailnet) -> tuple[list[Client], Client]:
    """A client of each release that can log in again, and one more that watches them."""
    clients = await tailnet.join_each(able=Ability.LOGOUT)
    watcher = await tailnet.join("alice", name="watcher")
    await tailnet.meshed([watcher, *clients])
    return clients, watcher


async def ids(tailnet: Tailnet, clients: list[Client]) -> dict[str, str]:
    """The numbers of the clients' nodes by given name."""
    nodes = [await tailnet.node_of(client) for client in clients]
    return {node.given_name: node.id for node in nodes}


async def test_an_ended_key_is_told_to_its_client_and_all_peers(tailnet: Tailnet) -> None:
    """The client wants a login, its peers see an expired node; put off again, it carries on without a login."""
    clients, watcher = await with_watcher(tailnet)
    nodes = await ids(tailnet, clients)
    for number in nodes.values():
        await tailnet.server.expire_node(number)
    await tailnet.changes(clients, needs_login(), Budget.SYNC)
    for name in nodes:
        await watcher.until(sees_expired(name), Budget.SYNC)
    for number in nodes.values():
        await tailnet.server.never_expire_node(number)
    await tailnet.changes(clients, running(), Budget.JOIN)
    for name in nodes:
        await watcher.until(sees_unexpired(name), Budget.SYNC)
    await tailnet.reach([watcher, *clients])


async def test_a_key_that_will_end_is_good_until_then(tailnet: Tailnet) -> None:
    """Two hours from now: client and peers know the time, and everything goes on; then it is called off."""
    clients, watcher = await with_watcher(tailnet)
    nodes = await ids(tailnet, clients)
    end = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    for number in nodes.values():
        await tailnet.server.expire_node(number, at=end)
    for client in clients:
        await client.until(expires(end), Budget.SYNC)
    for name in nodes:
        await watcher.until(expires(end, peer=name), Budget.SYNC)
    await tailnet.reach([watcher, *clients])
    for number in nodes.values():
        await tailnet.server.never_expire_node(number)
    for client in clients:
        await client.until(never_expires(), Budget.SYNC)
    for name in nodes:
        await watcher.until(never_expires(peer=name), Budget.SYNC)


async def test_a_key_ends_when_its_time_comes(tailnet: Tailnet) -> None:
    """A few seconds from now: nobody does anything more, and the client wants a login and peers see it ended."""
    clients, watcher = await with_watcher(tailnet)
    nodes = await ids(tailnet, clients)
    end = datetime.now(UTC) + timedelta(seconds=6)
    for number in nodes.values():
        await tailnet.server.expire_node(number, at=end)
    await tailnet.changes(clients, needs_login(), Budget.SYNC)
    assert datetime.now(UTC) >= end
    for name in nodes:
        await watcher.until(sees_expired(name), Budget.SYNC)


async def test_an_ended_key_opens_nothing_whatever_its_client_thinks(tailnet: Tailnet) -> None:
    """Tailscale's clients see by their own clocks that their time is over; the server does not rely on that."""
    async with FakeClient(tailnet.server.url, hostname="stubborn") as client:
        await client.register(auth_key=(await tailnet.auth_key("alice")).text)
        [node] = await tailnet.server.nodes()
        end = datetime.now(UTC) + timedelta(seconds=3)
        await tailnet.server.expire_node(node.id, at=end)
        assert not (await client.register()).get("NodeKeyExpired")
        await until(Registrations(client), HAS_ENDED, Budget.SYNC)
        assert datetime.now(UTC) >= end


class Registrations:
    """What a client is told that registers again and again with its old key, as a source of facts."""

    name = "the stubborn client"

    def __init__(self, client: FakeClient) -> None:
        self._client = client

    async def read(self) -> Mapping[str, Any]:
        return await self._client.register()

    async def changed(self, within: float) -> None:
        await asyncio.sleep(within)


HAS_ENDED: Condition[Mapping[str, Any]] = Condition(
    "its key has ended", lambda told: None if told.get("NodeKeyExpired") else f"it is told {dict(told)}"
)


async def test_keys_live_as_long_as_the_tailnet_says(make_tailnet: MakeTailnet) -> None:
    """With `node.expiry` every new node of a user has an end, a tagged one has none, and a login renews it."""
    tailnet = await make_tailnet(config={"node.expiry": "90d"})
    clients = await tailnet.join_each(able=Ability.LOGOUT)
    tagged = await tailnet.join("alice", name="tagged", tags=["tag:a"])
    end = datetime.now(UTC) + timedelta(days=90)
    for client in clients:
        await client.until(expires(end, within=SLACK), Budget.SYNC)
    await tagged.until(never_expires(), Budget.SYNC)
    first = await tailnet.node_of(clients[0])
    await tailnet.server.expire_node(first.id, at=datetime.now(UTC) + timedelta(hours=1))
    await clients[0].until(expires(datetime.now(UTC) + timedelta(hours=1), within=SLACK), Budget.SYNC)
    result = await logs_in(tailnet, clients[0], "alice", REAUTH)
    assert result.ok, result.message
    await clients[0].until(expires(end, within=SLACK), Budget.SYNC)


async def test_a_deleted_key_does_not_matter_to_who_is_in(tailnet: Tailnet) -> None:
    """Down and up again after the key with which it joined was deleted: it is in without another one."""
    clients = await tailnet.each(tailnet.able(Ability.DOWN), tailnet.client)
    key = await tailnet.auth_key("alice", reusable=True)
    await tailnet.each(clients, lambda client: tailnet.log_in(client, key))
    before = await ids(tailnet, clients)
    await tailnet.server.delete_key(key.id)

    async def goes_and_comes(client: Client) -> None:
        assert (await client.down()).ok
        assert (await client.reconnect()).ok
        await client.until(running(), Budget.JOIN)
        await client.restart()
        await client.until(running(), Budget.JOIN)

    await tailnet.each(clients, goes_and_comes)
    assert await ids(tailnet, clients) == before
    await tailnet.reach(clients)


async def test_logging_in_again_needs_a_good_key(tailnet: Tailnet) -> None:
    """With a key that has ended the user reads so and stays out; the node is still there for a good one."""
    clients = await tailnet.join_each("alice", able=Ability.LOGOUT)
    before = await ids(tailnet, clients)
    ended = await tailnet.auth_key("alice", reusable=True)
    await tailnet.server.expire_key(ended.id)

    async def tries(client: Client) -> None:
        assert (await client.logout()).ok
        await client.until(needs_login(), Budget.SYNC)
        result = await client.up(tailnet.server.url, auth_key=ended.text)
        assert not result.ok
        assert "has expired" in result.message
        await until_it_holds(client, needs_login(), Budget.HOLD)

    await tailnet.each(clients, tries)
    nodes = await tailnet.server.nodes()
    assert {node.given_name: node.id for node in nodes} == before


async def test_everybody_goes_and_comes_three_times(tailnet: Tailnet) -> None:
    """All down, all up, three rounds: each time all see and reach each other again, as the nodes that they were."""
    clients = await tailnet.join_each(able=Ability.DOWN)
    before = await ids(tailnet, clients)
    for _ in range(3):
        for result in await tailnet.each(clients, lambda client: client.down()):
            assert result.ok, result.message
        for result in await tailnet.each(clients, lambda client: client.reconnect()):
            assert result.ok, result.message
        await tailnet.changes(clients, running(), Budget.RECONNECT)
        await tailnet.reach(clients)
    assert await ids(tailnet, clients) == before
