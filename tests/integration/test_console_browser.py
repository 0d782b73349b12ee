"""The console in a real browser, headless Chromium, with JavaScript off: the way in over the provider's site, what a
person does there, and what another site cannot."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.chromium import Chromium, is_well_made
from tests.integration.fakes import PATIENCE_S
from tests.integration.people import Place, logged_in, place_apart, someone


@pytest.fixture
async def here() -> AsyncIterator[Place]:
    async with place_apart() as made:
        yield made


def follow(chromium: Chromium, words: str) -> None:
    """The link with these words."""
    chromium.driver.find_element("link text", words).click()


async def test_a_person_removes_their_device(here: Place, chromium: Chromium) -> None:
    """The session's cookie comes along with the way back from the provider, and with the page's own forms."""
    client = await logged_in(here, "laptop")
    node = here.tailnet.node_of(client)

    def look() -> None:
        chromium.open(f"{here.tailnet.server.url}/admin")
        chromium.is_at("My devices")
        assert "Signed in as alice@example.com (member)" in chromium.text
        is_well_made(chromium)
        chromium.shoot("console-my-devices")
        follow(chromium, "laptop")
        chromium.is_at("Device laptop")
        is_well_made(chromium)
        chromium.shoot("console-device")
        chromium.press("Remove this device")
        chromium.is_at("The device is removed")
        follow(chromium, "Back to the console")
        chromium.is_at("My devices")
        assert "There are no devices." in chromium.text
        chromium.press("Sign out")
        chromium.is_at("You are signed out")
        assert chromium.driver.get_cookies() == []

    await asyncio.to_thread(look)
    assert here.tailnet.node(node.id) is None


async def test_an_administrator_lets_a_device_in(here: Place, chromium: Chromium) -> None:
    await logged_in(here, "laptop")
    await here.tailnet.server.call("POST", f"user/{someone(here).id}/role", {"role": "admin"})
    client, url = await here.device("phone")
    waiting = asyncio.create_task(client.register(followup=url))

    def look() -> None:
        chromium.open(f"{here.tailnet.server.url}/admin/waiting")
        chromium.is_at("Waiting")
        is_well_made(chromium)
        chromium.shoot("console-waiting")
        (field,) = chromium.driver.find_elements("css selector", "input[name=user]")
        label = chromium.driver.find_element("css selector", f"label[for={field.get_attribute('id')}]")
        assert label.text.startswith("User who gets it")
        field.send_keys("bob")
        chromium.press("Let it in")
        chromium.is_at("The device is in")
        for place in ("All devices", "Users", "Audit log"):
            chromium.open(f"{here.tailnet.server.url}/admin")
            follow(chromium, place)
            chromium.is_at(place)
            is_well_made(chromium)
            chromium.shoot(f"console-{place.lower().replace(' ', '-')}")

    await asyncio.to_thread(look)
    async with asyncio.timeout(PATIENCE_S):
        assert (await waiting)["MachineAuthorized"] is True
    assert here.tailnet.node_of(client).user_id == 2


async def test_another_site_cannot_press_the_button(here: Place, chromium: Chromium, tmp_path: Path) -> None:
    """Even with a token that it should not know: its form goes without the cookie."""
    node = here.tailnet.node_of(await logged_in(here, "laptop"))

    def look() -> None:
        chromium.open(f"{here.tailnet.server.url}/admin/device/{node.id}")
        button = chromium.driver.find_element("css selector", 'form[action$="/remove"]')
        token = button.find_element("css selector", "input[name=token]").get_attribute("value")
        (tmp_path / "form.html").write_text(
            f'<form method="post" action="{button.get_attribute("action")}"><input name="token" value="{token}">'
            "<button>Win a prize</button></form>"
        )
        chromium.open(f"file://{tmp_path}/form.html")
        chromium.press("Win a prize")
        chromium.is_at("This did not work")
        assert "not signed in" in chromium.text

    await asyncio.to_thread(look)
    assert here.tailnet.node(node.id) is not None
