"""The pages of people in a real browser, headless Chromium, with JavaScript off: they are read and answered, and keep
their own rules (Content-Security-Policy, cookies that come along only where they should).

The provider is another site (localhost) than the server (127.0.0.1), as in life. Screenshots go to artifacts/pages.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.servers.identity import IdentityProvider
from harness.strict import unavailable
from tests.integration.fakes import PATIENCE_S, Tailnet
from tests.integration.people import ALICE, Place, logged_in
from tests.integration.test_dns import serving
from tests.integration.test_ssh_check import Ends, Enrolled, is_accepted, policy

SHOTS = Path("artifacts/pages")
WIDTHS = {"wide": 1200, "phone": 380}


class Chromium:
    """One window. Everything waits for the page; calls block, so they belong into a thread."""

    def __init__(self) -> None:
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            unavailable("Chromium and its driver are not installed (apt install chromium chromium-driver)")
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = chromium
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(word)
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver: Any = Chrome(options=options, service=ChromeService(driver))

    def open(self, url: str) -> None:
        self.driver.get(url)

    def press(self, words: str) -> None:
        """The button with these words."""
        (button,) = [b for b in self.driver.find_elements("css selector", "button") if b.text == words]
        button.click()

    @property
    def text(self) -> str:
        """What there is to read."""
        return str(self.driver.find_element("css selector", "body").text)

    def is_at(self, heading: str) -> None:
        """Raises AssertionError unless the page with this heading comes."""
        until = time.monotonic() + PATIENCE_S
        while (found := self._headings()) != [heading]:
            assert time.monotonic() < until, (found, self.text)
            time.sleep(0.05)

    def _headings(self) -> list[str]:
        from selenium.common.exceptions import StaleElementReferenceException

        try:
            return [h.text for h in self.driver.find_elements("css selector", "h1")]
        except StaleElementReferenceException:  # the page went while it was read
            return []

    def complaints(self) -> list[str]:
        """What the browser refused or could not load, but for its own wish for an icon and the page's own status."""
        own = f"{self.driver.current_url} - Failed to load resource"
        messages = [str(entry["message"]) for entry in self.driver.get_log("browser")]
        return [each for each in messages if "favicon.ico" not in each and not each.startswith(own)]

    def shoot(self, name: str) -> None:
        """Screenshots, in a wide window and on a phone; nothing may stick out at the side."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        for kind, width in WIDTHS.items():
            self.driver.set_window_size(width, 800)
            self.driver.save_screenshot(str(SHOTS / f"{name}-{kind}.png"))
            whole = self.driver.get_window_size()["width"]
            # What is inside a block of commands may be scrolled to.
            for shown in self.driver.find_elements("css selector", "main, main *:not(pre *)"):
                assert shown.rect["x"] >= 0, (kind, shown.text)
                assert shown.rect["x"] + shown.rect["width"] <= whole, (kind, shown.text)


@pytest.fixture
async def chromium() -> AsyncIterator[Chromium]:
    made = await asyncio.to_thread(Chromium)
    yield made
    await asyncio.to_thread(made.driver.quit)


@pytest.fixture
async def here() -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        idp = IdentityProvider()
        await idp.start("localhost")
        stack.push_async_callback(idp.close)
        idp.knows("sub-alice", **ALICE)
        tailnet = await stack.enter_async_context(serving(idp.configuration))
        yield Place(tailnet, idp, stack)


def is_well_made(chromium: Chromium) -> None:
    """It says in which language it is, what it is, and complains of nothing."""
    driver = chromium.driver
    assert driver.find_element("css selector", "html").get_attribute("lang") == "en"
    (heading,) = driver.find_elements("css selector", "h1")
    assert heading.text in driver.title
    assert len(driver.find_elements("css selector", "main")) == 1
    for button in driver.find_elements("css selector", "button"):
        assert button.text
        assert button.is_enabled()
    assert chromium.complaints() == []


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
