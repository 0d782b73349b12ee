"""The pages of people in a real browser, headless Chromium, with JavaScript off: they are read and answered, and keep
their own rules (Content-Security-Policy, cookies that come along only where they should).

The provider is another site (localhost) than the server (127.0.0.1), as in life. Screenshots go to artifacts/pages.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.chromium import Chromium, is_well_made
from tests.integration.fakes import PATIENCE_S, Tailnet
from tests.integration.people import Place, logged_in, place_apart
from tests.integration.test_ssh_check import Ends, Enrolled, is_accepted, policy


@pytest.fixture
async def here() -> AsyncIterator[Place]:
    async with place_apart() as made:
        yield made


async def test_a_person_lets_a_device_in(here: Place, chromium: Chromium) -> None:
    """Over to the provider's site and back, and a yes: the cookies come along where they must."""
    client, url = await here.device("laptop")
    waiting = asyncio.create_task(client.register(followup=url))

    def look() -> None:
        chromium.open(url)
        chromium.is_at("Connect this device?")
        for words in ("laptop", "alice@example.com", "Machine key"):
            assert words in chromium.text
        is_well_made(chromium)
        chromium.shoot("confirm-device")
        chromium.press("Yes, connect it")
        chromium.is_at("The device is connected")
        is_well_made(chromium)
        chromium.shoot("device-connected")
        chromium.driver.back()
        chromium.driver.refresh()

    await asyncio.to_thread(look)
    async with asyncio.timeout(PATIENCE_S):
        assert (await waiting)["MachineAuthorized"] is True
    assert len(here.tailnet.server.app.writer.snapshot.nodes) == 1


async def test_a_no_and_a_page_that_is_used_up(here: Place, chromium: Chromium) -> None:
    _, url = await here.device("laptop")

    def look() -> None:
        chromium.open(url)
        chromium.press("No")
        chromium.is_at("The device was turned away")
        chromium.open(url)
        chromium.is_at("This login is not waiting")
        chromium.shoot("login-over")

    await asyncio.to_thread(look)
    assert len(here.tailnet.server.app.writer.snapshot.nodes) == 0


async def test_another_site_cannot_press_the_button(here: Place, chromium: Chromium, tmp_path: Path) -> None:
    """Its form goes without the cookie, and it may not frame the page."""
    _, url = await here.device("laptop")

    def look() -> None:
        chromium.open(url)
        form = chromium.driver.find_element("css selector", "form")
        target = form.get_attribute("action")
        token = chromium.driver.find_element("css selector", "input[name=token]").get_attribute("value")
        (tmp_path / "form.html").write_text(
            f'<form method="post" action="{target}"><input name="token" value="{token}">'
            '<button name="answer" value="yes">Win a prize</button></form>'
        )
        (tmp_path / "frame.html").write_text(f'<iframe src="{url}"></iframe>')
        chromium.open(f"file://{tmp_path}/form.html")
        chromium.press("Win a prize")
        chromium.is_at("This login did not work")
        chromium.open(f"file://{tmp_path}/frame.html")
        chromium.driver.switch_to.frame(0)
        assert "Connect this device?" not in chromium.text

    await asyncio.to_thread(look)
    assert len(here.tailnet.server.app.writer.snapshot.nodes) == 0


async def test_the_owner_confirms_a_session(here: Place, chromium: Chromium) -> None:
    await here.tailnet.server.set_policy(policy().replace('"alice@"', '"alice@example.com"'))
    source = await logged_in(here, "laptop")
    ends = Ends(
        here.tailnet,
        Enrolled(source, here.tailnet.node_of(source).id),
        await here.tailnet.join("server", tags=("tag:server",)),
        await here.tailnet.join("bobs", user="2"),
    )
    check_id = await ends.check()
    waiting = asyncio.create_task(ends.ask(auth_id=check_id))

    def look() -> None:
        chromium.open(f"{here.tailnet.server.url}/auth/{check_id}")
        chromium.is_at("Confirm this SSH session?")
        is_well_made(chromium)
        chromium.shoot("confirm-session")
        chromium.press("Yes, it is me")
        chromium.is_at("The session is confirmed")

    await asyncio.to_thread(look)
    assert is_accepted(await waiting)


async def test_without_a_provider_the_commands_are_there(tailnet: Tailnet, chromium: Chromium) -> None:
    client = await tailnet.client("laptop")
    url = str((await client.register())["AuthURL"])

    def look() -> None:
        chromium.open(url)
        chromium.is_at("A device asks to join")
        assert "headscale auth register --auth-id" in chromium.text
        is_well_made(chromium)
        chromium.shoot("device-asks")

    await asyncio.to_thread(look)


PAGES = {
    "/apple": "Tailscale on Apple devices",
    "/windows": "Tailscale on Windows",
    "/apple/watch": "There is no such profile",
    "/nothing": "There is no such page",
}


async def test_pages_that_help_and_those_of_who_went_astray(tailnet: Tailnet, chromium: Chromium) -> None:
    """All look and behave as those of logins; at the address alone there is nothing."""

    def look() -> None:
        for path, heading in PAGES.items():
            chromium.open(tailnet.server.url + path)
            chromium.is_at(heading)
            is_well_made(chromium)
            chromium.shoot(f"page{path.replace('/', '-')}")
        chromium.open(f"{tailnet.server.url}/")
        assert chromium.text == ""
        assert chromium.driver.title == "headscale"

    await asyncio.to_thread(look)
