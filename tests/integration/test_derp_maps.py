"""DERP maps over real sockets: what a URL may answer, and what open streams hear of a change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from harness.clients.fake import FakeClient
from harness.servers.inprocess import config_of
from harness.servers.local import LocalSettings
from harness.servers.rest import RestAdmin
from headscale.app import running
from headscale.config.settings import DerpSources
from headscale.derp.fetch import REDIRECTS_MAX, fetch
from headscale.derp.regions import MAX_SOURCE_BYTES
from headscale.errors import HeadscaleError
from tests.integration.fakes import PATIENCE_S, registered

NODE = b'{"Name":"7a","HostName":"h.example"}'
MAP = b'{"Regions":{"7":{"RegionID":7,"RegionCode":"r","RegionName":"R","Nodes":[%s]}}}' % NODE


@dataclass(slots=True)
class Site:
    """A web site with a map, which a test can change."""

    url: str = ""
    body: bytes = MAP
    status: int = 200
    location: str = ""
    hang: bool = False
    asked: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.hang:
            await asyncio.sleep(PATIENCE_S)
        headers = {"Location": self.location} if self.location else None
        return web.Response(status=self.status, body=self.body, headers=headers)

    async def hop(self, request: web.Request) -> web.StreamResponse:
        left = int(request.match_info["left"])
        raise web.HTTPFound(f"/hop/{left - 1}" if left else "/map")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made, app = Site(), web.Application()
    app.add_routes([web.get("/map", made.answer), web.get("/hop/{left}", made.hop)])
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/map"
    yield made
    await runner.cleanup()


async def test_a_map_is_fetched_whole(site: Site) -> None:
    site.body = MAP + b" " * (MAX_SOURCE_BYTES - len(MAP))
    assert await fetch(site.url) == site.body


async def test_a_larger_answer_is_not_read(site: Site) -> None:
    site.body = b" " * (MAX_SOURCE_BYTES + 1)
    with pytest.raises(HeadscaleError, match="more than"):
        await fetch(site.url)


async def test_redirects_are_followed_to_a_limit(site: Site) -> None:
    root = site.url.removesuffix("/map")
    assert await fetch(f"{root}/hop/{REDIRECTS_MAX - 1}") == MAP
    with pytest.raises(HeadscaleError, match="redirects"):
        await fetch(f"{root}/hop/{REDIRECTS_MAX}")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://a.example/", ""])
async def test_a_redirect_leads_to_the_web_only(site: Site, location: str) -> None:
    site.status, site.location = 302, location
    with pytest.raises(HeadscaleError, match="redirects to what is no http"):
        await fetch(site.url)


async def test_a_server_that_does_not_answer_is_given_up(site: Site) -> None:
    site.hang = True
    with pytest.raises(HeadscaleError, match=r"no complete answer within 0.2 s"):
        await fetch(site.url, seconds=0.2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/map", "https://[::1]:1/map", "http://no.invalid/map"])
async def test_what_cannot_be_reached_is_unavailable(url: str) -> None:
    with pytest.raises(HeadscaleError):
        await fetch(url)


async def test_an_error_names_the_status_and_no_password(site: Site) -> None:
    site.status = 404
    with pytest.raises(HeadscaleError, match="/map answers 404") as caught:
        await fetch(site.url.replace("://", "://me:secret@"))
    assert "secret" not in str(caught.value)


@asynccontextmanager
async def serving(settings: LocalSettings, sources: DerpSources) -> AsyncIterator[FakeClient]:
    """A server with its own relay and these sources, and a client of it that is in."""
    async with running(replace(config_of(settings), derp_sources=sources)):
        admin = RestAdmin(settings.socket)
        user = await admin.create_user("alice")
        key = await admin.create_key(
            user, reusable=False, ephemeral=False, lifetime=timedelta(hours=1), tags=()
        )
        async with FakeClient(settings.url, hostname="fake") as client:
            await registered(client, key.text)
            yield client


async def test_open_streams_hear_of_another_map_and_of_nothing_else(
    site: Site, settings: LocalSettings, tmp_path: Path
) -> None:
    """From a URL or a file; what is the same sends nothing."""
    path = tmp_path / "map.yaml"
    path.write_text("regions: {}\n")
    sources = DerpSources(urls=(site.url,), paths=(path,), frequency=timedelta(milliseconds=50))
    async with serving(settings, sources) as client:
        stream = await client.stream_map()
        full = await stream.next_message(within=PATIENCE_S)
        if list(full["DERPMap"]["Regions"]) == ["999"]:
            full = await stream.next_message(within=PATIENCE_S)
        assert list(full["DERPMap"]["Regions"]) == ["7", "999"]
        asked = site.asked
        async with asyncio.timeout(PATIENCE_S):
            while site.asked < asked + 3:  # noqa: ASYNC110 - of what has no event
                await asyncio.sleep(0.02)
        path.write_text("regions: {7: null}\n")  # the next message is of this
        change = await stream.next_message(within=PATIENCE_S)
        assert change.keys() == {"ControlTime", "DERPMap"}
        assert list(change["DERPMap"]["Regions"]) == ["999"]
        site.body = MAP.replace(b"7", b"8")
        change = await stream.next_message(within=PATIENCE_S)
        assert list(change["DERPMap"]["Regions"]) == ["8", "999"]
        stream.close()
