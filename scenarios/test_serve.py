"""`tailscale serve`: what a device serves is reached by its name, and knows who asks. Funnel says why not."""

import asyncio

from harness.clients.base import Ability, Client
from harness.errors import NotAnswering
from harness.policies import ALLOW_ALL, acl, policy
from harness.tailnet import Tailnet
from harness.wait import RECHECK_SECONDS, Budget
from harness.web import Page, fetch_page, start_mirror

DOMAIN = "tailnet.internal"
PORT = 8080


async def test_what_a_device_serves_is_reached_by_name(tailnet: Tailnet) -> None:
    """Every device serves a text of its own, and every other one reads it; until the policy closes the port."""
    clients = await tailnet.join_each(able=Ability.PREFS)
    clients.append(await tailnet.join("bob", name="other"))
    await tailnet.meshed(clients)
    for client in clients:
        served = await client.cli("serve", "--bg", f"--http={PORT}", f"text:of {client.name}")
        assert served.ok, served.message
    pages = {client.name: await url_of(tailnet, client) for client in clients}
    for asking in clients:
        for served_by in clients:
            if asking is not served_by:
                page = await until_answered(asking, pages[served_by.name])
                assert (page.status, page.text) == (200, f"of {served_by.name}")
    await tailnet.set_policy(policy(acl("*", f"*:{PORT + 1}")))
    for asking in clients[:-1]:
        assert not await answers(asking, pages["other"])
    await tailnet.set_policy(ALLOW_ALL)
    for asking in clients[:-1]:
        await until_answered(asking, pages["other"])


async def test_a_served_program_knows_who_asks(tailnet: Tailnet) -> None:
    """Login and name of the user, whatever the request claims; of a tagged device neither."""
    clients = await tailnet.join_each(able=Ability.PREFS)
    bobs = await tailnet.join("bob", name="bobs")
    tagged = await tailnet.join("bob", name="server", tags=["tag:server"])
    await tailnet.meshed([*clients, bobs, tagged])
    claim = {"Tailscale-User-Login": "alice", "Tailscale-User-Name": "Alice"}
    for client in clients:
        mirror = await start_mirror(client)
        served = await client.cli("serve", "--bg", f"--http={PORT}", f"http://127.0.0.1:{mirror}")
        assert served.ok, served.message
        page = await url_of(tailnet, client)
        seen = (await until_answered(bobs, page, **claim)).text
        assert "Tailscale-User-Login: bob\r\n" in seen
        assert "Tailscale-User-Name: bob\r\n" in seen
        assert "lice" not in seen
        assert "Tailscale-User-" not in (await until_answered(tagged, page, **claim)).text


async def test_https_and_funnel_say_what_is_missing(tailnet: Tailnet) -> None:
    """The server's words, and nothing is served."""
    for client in await tailnet.join_each(able=Ability.PREFS):
        for command in (("serve", "--bg", "text:hello"), ("funnel", "--bg", "text:hello")):
            told = await client.cli(*command)
            assert "HTTPS is not enabled in this tailnet" in told.message
        status = await client.cli("serve", "status", "--json")
        assert status.message == "{}"


async def url_of(tailnet: Tailnet, client: Client) -> str:
    """Where others find what it serves."""
    return f"http://{await tailnet.given_name(client)}.{DOMAIN}:{PORT}/"


async def until_answered(client: Client, url: str, **headers: str) -> Page:
    """The page, once somebody answers."""
    async with asyncio.timeout(Budget.REACH.seconds):
        while True:
            try:
                return await fetch_page(client, url, headers=headers)
            except (NotAnswering, TimeoutError):
                await asyncio.sleep(RECHECK_SECONDS)


async def answers(client: Client, url: str) -> bool:
    """Whether anybody does within the time for which an absence must last."""
    try:
        async with asyncio.timeout(Budget.HOLD.seconds):
            await fetch_page(client, url)
    except (NotAnswering, TimeoutError):
        return False
    return True
