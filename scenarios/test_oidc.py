"""People log in at an identity provider with real clients. What is refused: tests/integration/test_oidc.py.

One login at a time: who comes to the provider is whom it was told to expect.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from harness.browsing import open_browser
from harness.clients.base import Ability, Client
from harness.conditions import needs_login, running
from harness.logins import given_up, logs_in_person, shows_url
from harness.plugin import MakeTailnet
from harness.servers.base import identity
from harness.servers.identity import IdentityProvider
from harness.tailnet import Tailnet
from harness.wait import Budget


@pytest_asyncio.fixture(loop_scope="session")
async def provider() -> AsyncIterator[IdentityProvider]:
    """With alice and bob."""
    made = IdentityProvider()
    await made.start()
    for name in ("bob", "alice"):
        made.knows(f"sub-{name}", email=f"{name}@example.com", email_verified=True, preferred_username=name)
    yield made
    await made.close()


async def all_log_in(
    tailnet: Tailnet, provider: IdentityProvider, subject: str = "sub-alice"
) -> list[Client]:
    """A client of each release that has a login page to show, let in by the same person."""
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)
    for client in clients:
        result = await logs_in_person(tailnet, client, provider, subject)
        assert result.ok, result.message
        await client.until(running(), Budget.JOIN)
    await tailnet.meshed(clients)
    return clients


async def log_out(client: Client) -> None:
    assert (await client.logout()).ok
    await client.until(needs_login(), Budget.SYNC)


async def test_people_let_their_devices_in(make_tailnet: MakeTailnet, provider: IdentityProvider) -> None:
    """Each command ends by itself; the devices are that person's, whose name peers show, and reach each other."""
    tailnet = await make_tailnet(config=provider.configuration)
    clients = await all_log_in(tailnet, provider)
    assert {node.user for node in await tailnet.server.nodes()} == {"alice"}
    await tailnet.reach(clients)


async def test_the_same_person_again_is_the_same_node(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    tailnet = await make_tailnet(config=provider.configuration)
    clients = await all_log_in(tailnet, provider)
    before = await tailnet.server.nodes()
    for client in clients:
        await log_out(client)
        assert (await logs_in_person(tailnet, client, provider, "sub-alice")).ok
    after = await tailnet.server.nodes()
    assert identity(after) == identity(before)
    assert not {node.node_key for node in after} & {node.node_key for node in before}
    await tailnet.reach(clients)


async def test_another_person_is_another_node(make_tailnet: MakeTailnet, provider: IdentityProvider) -> None:
    """The first person's nodes stay theirs, and are theirs again when they come back."""
    tailnet = await make_tailnet(config=provider.configuration)
    clients = await all_log_in(tailnet, provider)
    alices = await tailnet.server.nodes()
    for client in clients:
        await log_out(client)
        assert (await logs_in_person(tailnet, client, provider, "sub-bob")).ok
    both = await tailnet.server.nodes()
    assert identity([node for node in both if node.user == "alice"]) == identity(alices)
    assert len(both) == 2 * len(clients)
    for client in clients:
        await log_out(client)
        assert (await logs_in_person(tailnet, client, provider, "sub-alice")).ok
    assert identity(await tailnet.server.nodes()) == identity(both)
    await tailnet.reach(clients)


async def test_keys_end_with_the_token_and_stay_so_over_a_restart(
    make_tailnet: MakeTailnet, provider: IdentityProvider
) -> None:
    """Where the operator wants that; the client then asks for a login."""
    provider.token_lifetime_s = 40
    tailnet = await make_tailnet(config={**provider.configuration, "oidc.use_expiry_from_token": True})
    (client, *_) = await tailnet.each(tailnet.able(Ability.LOGOUT)[:1], tailnet.client)
    assert (await logs_in_person(tailnet, client, provider, "sub-alice")).ok
    await client.until(running(), Budget.JOIN)
    await tailnet.server.stop()
    await tailnet.server.start()
    await client.until(running(), Budget.JOIN)
    await asyncio.sleep(40)
    await client.until(needs_login(), Budget.SYNC)


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
