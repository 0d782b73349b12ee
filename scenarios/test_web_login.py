"""Logging in by a URL: `tailscale up` without a key, a page, and an administrator who decides."""

import asyncio

import pytest

from harness.clients.base import Ability, Client, CliResult
from harness.conditions import needs_login, no_peer, running, sees, sees_expired, state_is
from harness.logins import REAUTH, LoginRefused, asks, logs_in, logs_out
from harness.reach import assert_reach
from harness.servers.base import identity
from harness.tailnet import Tailnet
from harness.wait import Budget, until_it_holds


async def all_log_in(tailnet: Tailnet, user: str = "alice") -> list[Client]:
    """A client of each release that has a login page to show, let in by an administrator."""
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)

    async def log_in(client: Client) -> None:
        result = await logs_in(tailnet, client, user)
        assert result.ok, result.message
        await client.until(running(), Budget.JOIN)

    await tailnet.each(clients, log_in)
    await tailnet.meshed(clients)
    return clients


async def begin(tailnet: Tailnet, client: Client, key: str) -> "asyncio.Task[CliResult]":
    """`tailscale up` with a key, which goes on until the client is in."""
    return asyncio.create_task(client.up(tailnet.server.url, auth_key=key))


async def log_in_again(tailnet: Tailnet, clients: list[Client]) -> None:
    """`tailscale up --force-reauth` at each, and an administrator lets it in."""

    async def log_in(client: Client) -> None:
        result = await logs_in(tailnet, client, "alice", REAUTH)
        assert result.ok, result.message

    await tailnet.each(clients, log_in)


async def test_devices_that_an_administrator_lets_in_reach_each_other(tailnet: Tailnet) -> None:
    """Each is shown a URL; let in, its command ends by itself and it is in."""
    clients = await all_log_in(tailnet)
    clients.append(await tailnet.join("alice", name="watcher"))
    await tailnet.meshed(clients)
    await tailnet.reach(clients)


async def test_logging_out_and_in_again_is_the_same_node(tailnet: Tailnet) -> None:
    """Same user, same node, same addresses and name; peers follow it to its new key."""
    clients = await all_log_in(tailnet)
    before = await tailnet.server.nodes()
    await tailnet.each(clients, logs_out)
    await tailnet.each(clients, lambda client: logs_in(tailnet, client, "alice"))
    after = await tailnet.server.nodes()
    assert identity(after) == identity(before)
    assert not {node.node_key for node in after} & {node.node_key for node in before}
    await tailnet.reach(clients)


async def test_logging_in_as_another_user_is_another_node(tailnet: Tailnet) -> None:
    """The first user's nodes stay theirs."""
    clients = await all_log_in(tailnet)
    before = await tailnet.server.nodes()
    await tailnet.each(clients, logs_out)
    await tailnet.each(clients, lambda client: logs_in(tailnet, client, "bob"))
    after = await tailnet.server.nodes()
    assert identity([node for node in after if node.user == "alice"]) == identity(before)
    assert len([node for node in after if node.user == "bob"]) == len(clients)
    await tailnet.reach(clients)


async def test_a_device_that_is_turned_away_reads_so(tailnet: Tailnet) -> None:
    """It stays out, and another device can still be let in."""
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)

    async def is_turned_away(client: Client) -> None:
        waiting, found = await asks(tailnet, client)
        await tailnet.server.turn_away(found)
        result = await waiting
        assert not result.ok
        assert "turned this login away" in result.message
        await until_it_holds(client, needs_login(), Budget.HOLD)

    await tailnet.each(clients, is_turned_away)
    assert await tailnet.server.nodes() == []
    newcomer = await tailnet.client(tailnet.able(Ability.LOGOUT)[-1])
    assert (await logs_in(tailnet, newcomer, "alice")).ok


async def test_a_forced_login_changes_the_key_and_nothing_else(tailnet: Tailnet) -> None:
    """`up --force-reauth` while connected: peers reach the node again, under its new key."""
    clients = await all_log_in(tailnet)
    watcher = await tailnet.join("alice", name="watcher")
    await tailnet.meshed([watcher, *clients])
    before = await tailnet.server.nodes()

    await log_in_again(tailnet, clients)
    after = await tailnet.server.nodes()
    assert identity(after) == identity(before)
    kept = {node.node_key for node in after} & {node.node_key for node in before}
    assert len(kept) == 1  # the watcher's
    await tailnet.reach([watcher, *clients])


async def test_a_node_whose_key_was_ended_comes_back_by_logging_in(tailnet: Tailnet) -> None:
    """An administrator ends the keys: peers see it and reach nobody; after a login all is as before."""
    clients = await all_log_in(tailnet)
    watcher = await tailnet.join("alice", name="watcher")
    await tailnet.meshed([watcher, *clients])
    before = await tailnet.server.nodes()
    ended = [node for node in before if node.given_name != "watcher"]
    for node in ended:
        await tailnet.server.expire_node(node.id)
    for node in ended:
        await watcher.until(sees_expired(node.given_name), Budget.SYNC)
    await tailnet.changes(clients, needs_login(), Budget.SYNC)

    await log_in_again(tailnet, clients)
    assert identity(await tailnet.server.nodes()) == identity(before)
    await tailnet.reach([watcher, *clients])


async def test_a_device_that_needs_approval_waits_and_is_let_in(tailnet: Tailnet) -> None:
    """Its client says that it waits; nobody sees it. Approved, it reaches everybody without doing anything."""
    watcher = await tailnet.join("alice", name="watcher")
    await tailnet.server.set_device_approval(on=True)
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)
    key = await tailnet.auth_key("alice", reusable=True)
    waiting = await tailnet.each(clients, lambda client: begin(tailnet, client, key.text))
    await tailnet.changes(clients, state_is("NeedsMachineAuth"), Budget.JOIN)
    nodes = [node for node in await tailnet.server.nodes() if node.given_name != "watcher"]
    assert len(nodes) == len(clients)
    for node in nodes:
        await until_it_holds(watcher, no_peer(node.given_name), Budget.HOLD)
    for node in nodes:
        await tailnet.server.authorize_node(node.id)
    await tailnet.changes(clients, running(), Budget.JOIN)
    for command in waiting:
        assert (await command).ok
    await watcher.until(sees(node.given_name for node in nodes), Budget.SYNC)
    await tailnet.reach([watcher, *clients])


async def test_a_tag_that_nobody_may_give_is_refused_at_once(tailnet: Tailnet) -> None:
    """Without a policy there are no tags: the user reads so instead of a URL."""

    async def is_refused(client: Client) -> None:
        with pytest.raises(LoginRefused, match="requested tags tag:web are invalid or not permitted"):
            await asks(tailnet, client, "--advertise-tags=tag:web")

    await tailnet.each(await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client), is_refused)
    watcher = await tailnet.join("alice", name="watcher")
    other = await tailnet.join("alice", name="other")
    await assert_reach({(watcher, other.tcp()): True})
