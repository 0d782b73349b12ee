"""Leaving and coming back: down and up, logout and login, as the same user and as another."""

import pytest

from harness.clients.base import Ability, Client
from harness.conditions import (
    knows_relays,
    needs_login,
    no_peer,
    routes_through,
    running,
    sees,
    sees_expired,
    sees_offline,
    sees_online,
    stopped,
)
from harness.plugin import MakeTailnet
from harness.policies import grant, policy
from harness.reach import assert_reach
from harness.servers.base import identity
from harness.tailnet import Tailnet
from harness.wait import Budget

ROUTE = "10.99.0.0/24"


async def test_down_and_up_again(tailnet: Tailnet) -> None:
    """Peers see clients that are down go offline; up again, they are who they were and reach everyone."""
    clients = await tailnet.join_each(able=Ability.DOWN)
    watcher = await tailnet.join("alice", name="watcher")
    await tailnet.meshed([watcher, *clients])
    before = identity(await tailnet.server.nodes())
    names = await tailnet.each(clients, tailnet.given_name)

    async def go_down(client: Client) -> None:
        assert (await client.down()).ok
        await client.until(stopped(), Budget.DAEMON)

    async def come_up(client: Client) -> None:
        assert (await client.reconnect()).ok
        await client.until(running(), Budget.JOIN)

    await tailnet.each(clients, go_down)
    for name in names:
        await watcher.until(sees_offline(name), Budget.OFFLINE)
    await tailnet.each(clients, come_up)
    for name in names:
        await watcher.until(sees_online(name), Budget.SYNC)
    await tailnet.reach([watcher, *clients])
    assert identity(await tailnet.server.nodes()) == before


@pytest.mark.parametrize("with_tls", [False, True], ids=["http", "https"])
async def test_logout_and_login_as_the_same_user(make_tailnet: MakeTailnet, with_tls: bool) -> None:
    """A client that logs out is expired for its peers; logged in again it is the same node, with a new key, and its
    peers find it at the relay where it was.
    """
    tailnet = await make_tailnet(with_tls=with_tls)
    clients = await tailnet.join_each(able=Ability.LOGOUT)
    watcher = await tailnet.join("alice", clients[-1].release, name="watcher")
    before = await tailnet.server.nodes()
    names = await tailnet.each(clients, tailnet.given_name)
    relays = await home_relays(watcher, names)

    async def log_out(client: Client) -> None:
        assert (await client.logout()).ok
        await client.until(needs_login(), Budget.SYNC)

    await tailnet.each(clients, log_out)
    for name in names:
        await watcher.until(sees_expired(name), Budget.SYNC)

    async def log_in(client: Client) -> None:
        await tailnet.log_in(client, await tailnet.auth_key("alice"))

    await tailnet.each(clients, log_in)
    after = await tailnet.server.nodes()
    assert identity(after) == identity(before)
    assert {n.node_key for n in before if n.given_name != "watcher"}.isdisjoint(n.node_key for n in after)
    await tailnet.meshed([watcher, *clients])
    await tailnet.reach([watcher, *clients])
    assert await home_relays(watcher, names) == relays


async def home_relays(watcher: Client, names: list[str]) -> list[str]:
    """The codes of the regions where the watcher finds these peers."""
    await watcher.until(sees(names) & knows_relays(), Budget.SYNC)
    return [peer.relay for name in names if (peer := watcher.status.peer(name)) is not None]


async def test_logout_and_login_as_another_user(tailnet: Tailnet) -> None:
    """The machine becomes a second node of the other user; the first one stays with its owner, logged out."""
    clients = await tailnet.join_each("alice", able=Ability.LOGOUT)
    before = await tailnet.server.nodes()

    async def change_user(client: Client) -> None:
        assert (await client.logout()).ok
        await client.until(needs_login(), Budget.SYNC)
        await tailnet.log_in(client, await tailnet.auth_key("bob"))

    await tailnet.each(clients, change_user)
    after = await tailnet.server.nodes()
    assert identity([n for n in after if n.user == "alice"]) == identity(before)
    bobs = [n for n in after if n.user == "bob"]
    assert len(bobs) == len(clients)
    assert not {a for n in bobs for a in n.addresses} & {a for n in before for a in n.addresses}
    await tailnet.meshed(clients)
    await tailnet.reach(clients)


async def test_approved_routes_outlive_a_logout(tailnet: Tailnet) -> None:
    """A router whose route the policy approves logs out and in again: the same node serves the route again."""
    await tailnet.user("alice")
    await tailnet.server.set_policy(policy(grant("*", to="*"), routes={ROUTE: "alice@"}))
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)
    watcher = await tailnet.join("alice", name="watcher")

    async def comes_back(client: Client) -> None:
        for _ in range(2):
            key = await tailnet.auth_key("alice")
            flag = f"--advertise-routes={ROUTE}"
            assert (await client.up(tailnet.server.url, auth_key=key.text, extra=[flag])).ok
            await client.until(running(), Budget.JOIN)
            node = await tailnet.node_of(client)
            assert node.routes == (ROUTE,)
            await watcher.until(routes_through(node.given_name, ROUTE), Budget.SYNC)
            assert (await client.logout()).ok
            await client.until(needs_login(), Budget.SYNC)

    for client in clients:  # one after the other: a route has one primary
        await comes_back(client)
        await tailnet.server.delete_node((await tailnet.server.nodes())[-1].id)


async def test_what_an_administrator_approved_outlives_a_logout(tailnet: Tailnet) -> None:
    """No policy approves the route: the router that logs in again, with another key, serves it at once."""
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)
    flag = f"--advertise-routes={ROUTE}"
    for client in clients:
        for is_first in (True, False):
            key = await tailnet.auth_key("alice")
            assert (await client.up(tailnet.server.url, auth_key=key.text, extra=[flag])).ok
            await client.until(running(), Budget.JOIN)
            node = await tailnet.node_of(client)
            if is_first:
                assert node.routes == ()
                await tailnet.server.approve_routes(node.id, [ROUTE])
            assert (await tailnet.node_of(client)).routes == (ROUTE,)
            assert (await client.logout()).ok
            await client.until(needs_login(), Budget.SYNC)


async def test_a_deleted_node_is_gone_for_everyone(tailnet: Tailnet) -> None:
    """An administrator deletes a connected node: no peer sees or reaches it any more, the others go on."""
    gone, *others = await tailnet.join_each()
    others.append(await tailnet.join("alice"))
    await tailnet.meshed([gone, *others])
    node = await tailnet.node_of(gone)
    echo = gone.tcp()
    await assert_reach({(other, echo): True for other in others})
    await tailnet.server.delete_node(node.id)
    await tailnet.changes(others, no_peer(node.given_name), Budget.SYNC)
    assert node.id not in {n.id for n in await tailnet.server.nodes()}
    await tailnet.reach(others)
