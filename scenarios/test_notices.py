"""What the server says to a client's user, and asks its program, while it is connected."""

import asyncio
from datetime import UTC, datetime, timedelta

from harness.clients.base import Ability, Client
from harness.conditions import healthy_about, needs_approval, running, warned_of
from harness.plugin import MakeTailnet
from harness.tailnet import Tailnet
from harness.wait import Budget

WAITS = "waits for approval"
ENDS = "key expires soon"
LATER = "1.998.0"


async def test_a_device_that_waits_shows_why(tailnet: Tailnet) -> None:
    """In `tailscale status`, by whichever way its release is told; approved, it does not any more."""
    await tailnet.server.set_device_approval(on=True)
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)
    key = await tailnet.auth_key("alice", reusable=True)

    async def is_told(client: Client) -> None:
        waiting = asyncio.create_task(client.up(tailnet.server.url, auth_key=key.text))
        await client.until(needs_approval(), Budget.JOIN)
        await client.until(warned_of(WAITS), Budget.SYNC)
        node = next(n for n in await tailnet.server.nodes() if n.hostname == client.name)
        await tailnet.server.authorize_node(node.id)
        await client.until(running() & healthy_about(WAITS), Budget.JOIN)
        assert (await waiting).ok

    await tailnet.each(clients, is_told)


async def test_a_key_that_ends_soon_is_told_in_time(tailnet: Tailnet) -> None:
    """With an hour to go the user reads it; put off, the warning goes."""
    clients = await tailnet.join_each(able=Ability.LOGOUT)
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)

    async def is_warned(client: Client) -> None:
        node = await tailnet.node_of(client)
        await client.until(healthy_about(ENDS), Budget.SYNC)
        await tailnet.server.expire_node(node.id, at=in_an_hour)
        await client.until(running() & warned_of(ENDS), Budget.SYNC)
        await tailnet.server.never_expire_node(node.id)
        await client.until(running() & healthy_about(ENDS), Budget.SYNC)

    await tailnet.each(clients, is_warned)


async def test_every_client_answers_a_question(tailnet: Tailnet) -> None:
    """Asked in its map stream, each program answers over its tunnel; one that is stopped does not."""
    clients = await tailnet.join_each()
    for client in clients:
        assert await tailnet.server.ping_node((await tailnet.node_of(client)).id), client.name
    gone = clients[0]
    node = await tailnet.node_of(gone)
    await gone.stop()
    assert not await tailnet.server.ping_node(node.id)


async def test_a_client_that_is_behind_learns_of_the_newer_release(make_tailnet: MakeTailnet) -> None:
    """With `clients.latest_version` its `tailscale status` names it; what runs that or a later one shows nothing."""
    behind = await make_tailnet(config={"clients.latest_version": LATER})
    clients = await behind.join_each(able=Ability.PREFS)
    for client in clients:
        await client.until(warned_of(LATER), Budget.SYNC)
    oldest = str(min((client.release for client in clients), key=lambda release: release.capability))
    current = await make_tailnet(config={"clients.latest_version": oldest})
    for client in await current.join_each(able=Ability.PREFS):
        await client.until(running() & healthy_about(oldest), Budget.SYNC)
