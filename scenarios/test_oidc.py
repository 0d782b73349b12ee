"""People log in at an identity provider with real clients. What is refused: tests/integration/test_oidc.py.

What a login gives a node, and when it ends: test_oidc_nodes.py.
"""

import asyncio

from harness.browsing import open_browser
from harness.clients.base import Ability, Client
from harness.logins import each_logs_in_person, given_up, logs_in_person, logs_out, shows_url
from harness.plugin import MakeTailnet
from harness.servers.base import identity
from harness.servers.identity import IdentityProvider


async def test_people_let_their_devices_in(make_tailnet: MakeTailnet, provider: IdentityProvider) -> None:
    """Each command ends by itself; the devices are that person's, whose name peers show, and reach each other."""
    tailnet = await make_tailnet(config=provider.configuration)
    clients = await each_logs_in_person(tailnet, provider, "sub-alice")
    assert {node.user for node in await tailnet.server.nodes()} == {"alice"}
    await tailnet.reach(clients)


async def test_people_are_users_of_their_own_beside_those_that_are_there(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """Same names as local users, one address not verified: four users, and everybody reaches everybody."""
    provider.people["sub-bob"]["email_verified"] = False
    tailnet = await make_tailnet(config=provider.configuration)
    for name in ("alice", "bob"):
        await tailnet.user(name)
    clients = [
        client
        for subject in ("sub-alice", "sub-bob")
        for client in await each_logs_in_person(tailnet, provider, subject)
    ]
    users = await tailnet.server.users()
    assert [(user.name, user.email, user.provider_id) for user in users] == [
        ("alice", "", ""),
        ("bob", "", ""),
        ("alice", "alice@example.com", f"{provider.url}/sub-alice"),
        ("bob", "", f"{provider.url}/sub-bob"),
    ]
    owners = [(await tailnet.node_of(client)).user_id for client in clients]
    half = len(clients) // 2
    assert owners == [users[2].id] * half + [users[3].id] * half
    await tailnet.meshed(clients)
    await tailnet.reach(clients)


async def test_the_same_person_again_is_the_same_node(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    tailnet = await make_tailnet(config=provider.configuration)
    clients = await each_logs_in_person(tailnet, provider, "sub-alice")
    before = await tailnet.server.nodes()
    for client in clients:
        await logs_out(client)
        assert (await logs_in_person(tailnet, client, provider, "sub-alice")).ok
    after = await tailnet.server.nodes()
    assert identity(after) == identity(before)
    assert not {node.node_key for node in after} & {node.node_key for node in before}
    await tailnet.reach(clients)


async def test_another_person_is_another_node(make_tailnet: MakeTailnet, provider: IdentityProvider) -> None:
    """The first person's nodes stay theirs, and are theirs again when they come back; with a new key each time."""
    tailnet = await make_tailnet(config=provider.configuration)
    clients = await each_logs_in_person(tailnet, provider, "sub-alice")
    alices = await tailnet.server.nodes()
    for client in clients:
        await logs_out(client)
        assert (await logs_in_person(tailnet, client, provider, "sub-bob")).ok
    both = await tailnet.server.nodes()
    assert identity([node for node in both if node.user == "alice"]) == identity(alices)
    assert len(both) == 2 * len(clients)
    assert len({node.node_key for node in both}) == len(both)
    for client in clients:
        await logs_out(client)
        assert (await logs_in_person(tailnet, client, provider, "sub-alice")).ok
    again = await tailnet.server.nodes()
    assert identity(again) == identity(both)
    used = {node.node_key for node in both}
    assert [node.node_key in used for node in again] == [node.user == "bob" for node in again]
    await tailnet.reach(clients)


async def test_two_tabs_of_one_device(make_tailnet: MakeTailnet, provider: IdentityProvider) -> None:
    """The older tab's answer counts too."""
    tailnet = await make_tailnet(config=provider.configuration)
    (client, *_) = await tailnet.each(tailnet.able(Ability.LOGOUT)[:1], tailnet.client)
    waiting, url = await shows_url(tailnet, client)
    async with open_browser() as browser:
        first = await browser.get(url)
        await browser.get(url)
        assert (await browser.answer(first, answer="yes")).status == 200
    assert (await waiting).ok


async def test_a_no_is_told_on_the_device(make_tailnet: MakeTailnet, provider: IdentityProvider) -> None:
    tailnet = await make_tailnet(config=provider.configuration)

    async def turned_away(client: Client) -> None:
        waiting, url = await shows_url(tailnet, client)
        async with open_browser() as browser:
            await browser.answer(await browser.get(url), answer="no")
        if not waiting.done():
            await asyncio.wait({waiting}, timeout=5)
        await given_up(waiting)
        assert await tailnet.find_node(client) is None

    await tailnet.each(await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client), turned_away)
    assert await tailnet.server.nodes() == []
