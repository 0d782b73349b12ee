"""A real browser, headless Chromium, with JavaScript off unless a page needs it. Screenshots go to artifacts/pages."""

import shutil
import time
from pathlib import Path
from typing import Any

from harness.strict import unavailable
from tests.integration.fakes import PATIENCE_S

SHOTS = Path("artifacts/pages")
WIDTHS = {"wide": 1200, "phone": 380}

# What is inside a block of commands, or of a table that is too wide, may be scrolled to.
SHOWN = "main, main *:not(pre *, .scroll *)"
STICKING_OUT = f"""
const side = document.documentElement.clientWidth
return [...document.querySelectorAll("{SHOWN}")]
  .filter(each => each.getBoundingClientRect().left < 0 || each.getBoundingClientRect().right > side + 1)
  .map(each => each.outerHTML.slice(0, 200))
"""


class Chromium:
    """One window. Everything waits for the page; calls block, so they belong into a thread."""

    def __init__(self, *, scripts: bool = False) -> None:
        self._scripts = scripts
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if chromium is None or driver is None:
            unavailable("Chromium and its driver are not installed (apt install chromium chromium-driver)")
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = chromium
        for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(word)
        allowed = 1 if scripts else 2
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript": allowed}
        )
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
        """What the browser refused or could not load, but for the page's own status."""
        own = f"{self.driver.current_url} - Failed to load resource"
        messages = [str(entry["message"]) for entry in self.driver.get_log("browser")]
        return [each for each in messages if not each.startswith(own)]

    def shoot(self, name: str) -> None:
        """Screenshots, in a wide window and on a phone; nothing may stick out at the side."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        for kind, width in WIDTHS.items():
            self.driver.set_window_size(width, 800)
            self.driver.save_screenshot(str(SHOTS / f"{name}-{kind}.png"))
            whole = self.driver.get_window_size()["width"]
            if self._scripts:  # hundreds of elements, each of which would be asked by itself
                assert self.driver.execute_script(STICKING_OUT) == [], kind
                continue
            for shown in self.driver.find_elements("css selector", SHOWN):
                assert shown.rect["x"] >= 0, (kind, shown.text)
                assert shown.rect["x"] + shown.rect["width"] <= whole, (kind, shown.text)


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
