"""Instructions for devices with an address that has to be escaped and quoted."""

import html
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from headscale.pages.devices import DevicePages

URL = "https://vpn.example.com/a&b/<i>"
PAGES = DevicePages(lambda: URL)


@pytest.mark.parametrize("handler", [PAGES.apple, PAGES.windows], ids=["apple", "windows"])
async def test_an_awkward_address_is_quoted_in_what_is_typed_and_escaped(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> None:
    text = (await handler(make_mocked_request("GET", "/"))).text or ""
    assert html.escape(f"tailscale login --login-server '{URL}'") in text
    assert URL not in text


async def test_every_mac_app_has_its_line() -> None:
    text = (await PAGES.apple(make_mocked_request("GET", "/apple"))).text or ""
    for domain in ("io.tailscale.ipn.macos", "io.tailscale.ipn.macsys"):
        assert html.escape(f"defaults write {domain} ControlURL '{URL}'") in text
