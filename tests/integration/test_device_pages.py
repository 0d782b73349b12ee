"""Pages for people who set a device up, the page at the address alone, and what a browser is shown that went astray."""

import plistlib
import re

import aiohttp
import pytest

from harness.browsing import Page, open_browser
from headscale.errors import Unavailable
from headscale.pages import devices
from headscale.pages.profile import CONTENT_TYPE, PAYLOAD_TYPES
from tests.integration.fakes import Tailnet

PEOPLE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def seen(url: str) -> Page:
    """What a browser shows there."""
    async with open_browser() as browser:
        browser.session.headers.update(PEOPLE)
        return await browser.get(url)


def is_strict(page: Page) -> None:
    """Nothing runs on it, nothing comes from elsewhere, nobody frames it or sends it a form."""
    policy = page.headers["Content-Security-Policy"]
    for words in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'none'"):
        assert words in policy
    assert not re.search(r"<script|javascript:| on\w+=|<img|<link", page.text)


@pytest.mark.parametrize("path", ["/apple", "/windows"])
async def test_pages_tell_where_to_log_in(tailnet: Tailnet, path: str) -> None:
    page = await seen(tailnet.server.url + path)
    assert page.status == 200
    assert f"tailscale login --login-server {tailnet.server.url}" in page.text
    is_strict(page)


async def test_the_page_for_macs_has_the_lines_and_the_profiles(tailnet: Tailnet) -> None:
    """Every profile that it links is there."""
    page = await seen(f"{tailnet.server.url}/apple")
    for domain in ("io.tailscale.ipn.macos", "io.tailscale.ipn.macsys"):
        assert f"defaults write {domain} ControlURL {tailnet.server.url}" in page.text
    links = re.findall(r'href="(/apple/[^"]+)"', page.text)
    assert sorted(links) == sorted(f"/apple/{build}" for build in PAYLOAD_TYPES)
    for link in links:
        assert (await seen(tailnet.server.url + link)).status == 200


async def test_a_profile_is_a_file_and_new_each_time(tailnet: Tailnet) -> None:
    ids: set[str] = set()
    for build in [*PAYLOAD_TYPES, *PAYLOAD_TYPES]:
        async with aiohttp.ClientSession() as http, http.get(f"{tailnet.server.url}/apple/{build}") as answer:
            assert (answer.status, answer.content_type) == (200, CONTENT_TYPE)
            assert f'filename="headscale-{build}.mobileconfig"' in answer.headers["Content-Disposition"]
            profile = plistlib.loads(await answer.read())
        (payload,) = profile["PayloadContent"]
        assert (payload["PayloadType"], payload["ControlURL"]) == (PAYLOAD_TYPES[build], tailnet.server.url)
        ids |= {profile["PayloadUUID"], payload["PayloadUUID"]}
    assert len(ids) == 4 * len(PAYLOAD_TYPES)


async def test_a_profile_that_is_not_there_is_named_beside_those_that_are(tailnet: Tailnet) -> None:
    page = await seen(f"{tailnet.server.url}/apple/<b>watch")
    assert page.status == 404
    assert all(build in page.text for build in PAYLOAD_TYPES)
    assert "watch" not in page.text
    is_strict(page)


async def test_the_address_alone_shows_nothing(tailnet: Tailnet) -> None:
    page = await seen(f"{tailnet.server.url}/")
    assert (page.status, "<body></body>" in page.text) == (200, True)
    is_strict(page)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/nothing", 404, "There is no such page"),
        ("/register", 404, "There is no such page"),
        ("/verify", 405, "This page takes no such request"),
    ],
)
async def test_people_who_went_astray_are_told(tailnet: Tailnet, path: str, status: int, words: str) -> None:
    page = await seen(tailnet.server.url + path)
    assert page.status == status
    assert f"<h1>{words}</h1>" in page.text
    assert path not in page.text
    is_strict(page)
    if status == 405:
        assert page.headers["Allow"] == "POST"


async def test_programs_that_went_astray_get_what_they_know(tailnet: Tailnet) -> None:
    """Clients, scripts and relays ask without a wish for HTML."""
    async with aiohttp.ClientSession() as http, http.get(f"{tailnet.server.url}/nothing") as answer:
        assert (answer.status, answer.content_type, await answer.text()) == (
            404,
            "text/plain",
            "404: Not Found",
        )
    async with aiohttp.ClientSession(headers=PEOPLE) as http:
        async with http.get(f"{tailnet.server.url}/api/v1/nothing") as answer:
            assert answer.content_type != "text/html"


@pytest.mark.parametrize(
    ("problem", "status", "words", "is_told"),
    [
        (Unavailable("the disk is <full>"), 503, "This did not work", True),
        (RuntimeError("the disk is <full>"), 500, "Something went wrong here", False),
    ],
    ids=["ours", "a bug"],
)
async def test_what_fails_is_a_page_too(
    tailnet: Tailnet,
    monkeypatch: pytest.MonkeyPatch,
    problem: Exception,
    status: int,
    words: str,
    is_told: bool,
) -> None:
    """What of it is for people, they read; a bug's words stay in the log."""

    def broken(url: str) -> str:
        raise problem

    monkeypatch.setattr(devices, "_login", broken)
    page = await seen(f"{tailnet.server.url}/windows")
    assert page.status == status
    assert f"<h1>{words}</h1>" in page.text
    assert ("the disk is &lt;full&gt;" in page.text) is is_told
    assert "<full>" not in page.text
    is_strict(page)
