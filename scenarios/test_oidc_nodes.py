"""What a login at an identity provider gives a node: how long its key lasts, its routes, and the policy from the first
moment; and what becomes of a login that nobody comes for.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from harness.browsing import open_browser
from harness.clients.base import Ability, Client
from harness.conditions import (
    SECOND,
    expires,
    has_login_url_beside,
    needs_login,
    own_name,
    routes_through,
    running,
)
from harness.logins import each_logs_in_person, logs_in_person, logs_out, shows_url
from harness.plugin import MakeTailnet
from harness.policies import grant, policy
from harness.reach import assert_reach
from harness.servers.identity import IdentityProvider
from harness.wait import Budget

ALICE = "alice@example.com"
BOB = "bob@example.com"
LAST = timedelta(hours=72)


async def test_a_login_that_nobody_came_for_gets_another_url(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """The client shows it by itself; the first one leads nowhere any more, the other one lets the device in."""
    tailnet = await make_tailnet(config={**provider.configuration, "tuning.register_cache_expiration": "10s"})
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)

    async def lapses(client: Client) -> None:
        waiting, first = await shows_url(tailnet, client)
        second = (await client.until(has_login_url_beside(first), Budget.JOIN)).auth_url
        async with open_browser() as browser:
            over = await browser.get(first)
            assert (over.status, over.has_form) == (404, False)
            assert (await browser.answer(await browser.get(second), answer="yes")).status == 200
        assert (await waiting).ok
        await client.until(running(), Budget.JOIN)

    await tailnet.each(clients, lapses)
    await tailnet.meshed(clients)
    assert len(await tailnet.server.nodes()) == len(clients)
    await tailnet.reach(clients)


async def test_keys_end_with_the_token_and_stay_so_over_a_restart(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """Where the operator wants that; each client then asks for a login."""
    tailnet = await make_tailnet(config={**provider.configuration, "oidc.use_expiry_from_token": True})
    provider.token_lifetime_s = 60
    clients = await each_logs_in_person(tailnet, provider, "sub-alice")
    await tailnet.server.stop()
    await tailnet.server.start()
    await tailnet.reach(clients)
    last = max(ending_of(client) for client in clients)
    await asyncio.sleep((last - datetime.now(UTC)).total_seconds())
    await tailnet.changes(clients, needs_login(), Budget.SYNC)


async def test_a_restart_leaves_the_end_of_keys_as_it_is(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """72 hours from the login, for the clients themselves and for their peers, before and after."""
    tailnet = await make_tailnet(config={**provider.configuration, "node.expiry": "72h"})
    begun = datetime.now(UTC)
    clients = await each_logs_in_person(tailnet, provider, "sub-alice")
    ends = {client.name: ending_of(client) for client in clients}
    for end in ends.values():
        assert begun + LAST - SECOND <= end <= datetime.now(UTC) + LAST + SECOND
    await tailnet.server.stop()
    await tailnet.server.start()
    for client in clients:  # under the new name it hears of the new server
        await tailnet.server.rename_node((await tailnet.node_of(client)).id, f"{client.name}-again")
        await client.until(own_name(f"{client.name}-again") & expires(ends[client.name]), Budget.RECONNECT)
    for client in clients:
        known = expires(ends[client.name], peer=f"{client.name}-again")
        await tailnet.changes([peer for peer in clients if peer is not client], known, Budget.SYNC)


async def test_approved_routes_outlive_a_logout(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """A router whose route the policy approves comes back as the same node, which serves the route again."""
    tailnet = await make_tailnet(config=provider.configuration)
    watcher = await tailnet.join("watcher", name="watcher")
    await tailnet.server.set_policy(policy(grant("*", to="*"), routes={"10.99.0.0/16": ALICE}))
    for number, client in enumerate(await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)):
        route, nodes = f"10.99.{number}.0/24", []
        for _ in range(2):
            flag = f"--advertise-routes={route}"
            assert (await logs_in_person(tailnet, client, provider, "sub-alice", flag)).ok
            await client.until(running(), Budget.JOIN)
            node = await tailnet.node_of(client)
            assert node.routes == (route,)
            await watcher.until(routes_through(node.given_name, route), Budget.SYNC)
            nodes.append((node.id, node.addresses))
            await logs_out(client)
        assert nodes[0] == nodes[1]
        assert len(await tailnet.server.nodes()) == number + 2


async def test_the_policy_is_there_with_the_first_netmap(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """Who logs in has the routes that the policy gives them at once; their own is approved and there for others.

    The policy names both before they ever logged in.
    """
    lab, homes = "10.33.0.0/16", "10.44.0.0/16"
    tailnet = await make_tailnet(config=provider.configuration)
    await tailnet.server.set_policy(
        policy(grant(ALICE, to=[lab, BOB]), grant(BOB, to=homes), routes={lab: BOB, homes: ALICE})
    )
    releases = tailnet.able(Ability.LOGOUT)
    gateway, *joiners = await tailnet.each([releases[-1], *releases], tailnet.client)
    assert (await logs_in_person(tailnet, gateway, provider, "sub-bob", f"--advertise-routes={lab}")).ok
    there = await tailnet.given_name(gateway)
    for number, joiner in enumerate(joiners):
        home = f"10.44.{number}.0/24"
        flags = [f"--advertise-routes={home}", "--accept-routes"]
        assert (await logs_in_person(tailnet, joiner, provider, "sub-alice", *flags)).ok
        first = await joiner.until(running(), Budget.JOIN)
        peer = first.peer(there)
        assert peer is not None
        assert peer.primary_routes == (lab,)
        assert lab in peer.allowed_ips
        node = await tailnet.node_of(joiner)
        assert node.routes == (home,)
        await gateway.until(routes_through(node.given_name, home), Budget.SYNC)
    await assert_reach({(joiner, gateway.tcp()): True for joiner in joiners})


def ending_of(client: Client) -> datetime:
    """When the client's own key ends, as of its last read."""
    own = client.status.self_node
    assert own is not None
    return datetime.fromisoformat(own.key_expiry)
