"""What anybody may ask the main listener."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from harness.servers.base import AdminRefused
from harness.servers.inprocess import InProcessServer
from headscale import __version__
from headscale.control.public import VERIFY_MAX_BYTES
from headscale.db import database as databases
from headscale.keys import ZERO_MACHINE_KEY, parse_machine_key
from headscale.monitoring import health
from tests.integration.fakes import Join, Tailnet

HEADERS = {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@pytest.fixture
async def http(server: InProcessServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def test_a_client_fetches_our_key(http: aiohttp.ClientSession) -> None:
    """tailscale-rs needs the legacy field to exist."""
    async with http.get("/key", params={"v": "142"}) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        document = await answer.json()
    assert document["legacyPublicKey"] == ZERO_MACHINE_KEY
    assert parse_machine_key(document["publicKey"]) != ZERO_MACHINE_KEY


@pytest.mark.parametrize("query", ["", "?v=", "?v=x", "?v=-1", "?v=0", "?v=1e3", "?v=9999999999", "?v=٣"])
async def test_a_key_is_for_clients_that_say_their_version(http: aiohttp.ClientSession, query: str) -> None:
    async with http.get(f"/key{query}") as answer:
        assert answer.status == 400


@pytest.mark.usefixtures("in_a_file")
async def test_health_is_that_of_the_database(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with http.get("/health") as answer:
        assert (answer.status, answer.content_type) == (200, "application/health+json")
        assert await answer.json() == {"status": "pass"}

    def broken(engine: AsyncEngine) -> None:
        raise OSError("secret path of the disk")

    monkeypatch.setattr(AsyncEngine, "connect", broken)
    async with http.get("/health") as answer:
        words = "the database does not answer"
        assert answer.status == 500
        assert await answer.json() == {"status": "fail", "output": words, "checks": {"database": words}}


@pytest.mark.usefixtures("in_a_file")
async def test_health_warns_of_what_will_be_wrong_and_stays_200(
    server: InProcessServer, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that was not written, a disk that is nearly full, a loop that was late; none is cause for a restart."""
    assert server.app is not None
    vitals = server.app.vitals

    def broken(connection: object, writes: object) -> None:
        raise OSError("secret path of the disk")

    with monkeypatch.context() as full:
        full.setattr(databases, "_execute", broken)
        full.setattr(health.shutil, "disk_usage", lambda path: SimpleNamespace(free=99 * 1024 * 1024))
        with pytest.raises(AdminRefused, match="the database did not take the change"):
            await server.create_user("carol")
        vitals.lag.note(1.5)
        async with http.get("/health") as answer:
            assert answer.status == 200
            document = await answer.json()
    assert document.pop("output").startswith("the last change could not be written; the disk")
    assert document == {
        "status": "warn",
        "checks": {
            "writes": "the last change could not be written",
            "disk": "the disk with the data is nearly full",
            "lag": "the server was too busy to answer at once during the last minute",
        },
    }
    await server.create_user("carol")
    async with http.get("/health") as answer:
        assert list((await answer.json())["checks"]) == ["lag"]


async def test_the_version_is_ours(http: aiohttp.ClientSession) -> None:
    async with http.get("/version") as answer:
        document = await answer.json()
    assert document["version"] == __version__
    assert set(document) == {"version", "commit", "buildTime", "go", "dirty", "python", "os"}
    assert (set(document["go"]), document["go"]["version"]) == ({"version", "os", "arch"}, "")
    assert re.fullmatch("[0-9a-f]{40}|unknown", document["commit"])


async def test_the_icon_is_a_picture_that_browsers_may_keep(http: aiohttp.ClientSession) -> None:
    async with http.get("/favicon.ico") as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
        assert answer.headers["Cache-Control"] == "public, max-age=86400"
        picture = await answer.read()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) < 1024


async def test_search_engines_are_told_to_stay_out(http: aiohttp.ClientSession) -> None:
    async with http.get("/robots.txt") as answer:
        assert "Disallow: /" in await answer.text()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/key", 400),
        ("GET", "/nothing/here", 404),
        ("GET", "/api/v1/user", 401),
        ("POST", "/machine/register", 404),
        ("DELETE", "/health", 405),
        ("GET", "/verify", 405),
    ],
)
async def test_every_answer_has_the_security_headers(
    http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """Refusals too; the admin API and the clients' paths are not to be had here."""
    async with http.request(method, path) as answer:
        assert answer.status == status
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


async def verify(http: aiohttp.ClientSession, body: object) -> tuple[int, object]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with http.post("/verify", data=data) as answer:
        return answer.status, json.loads(await answer.text()) if answer.status == 200 else await answer.text()


async def test_a_relay_may_serve_our_nodes(http: aiohttp.ClientSession, join: Join) -> None:
    """However the relay writes the question."""
    node = await join("node")
    key = node.client.node_key
    for asked in (
        {"NodePublic": key, "Source": "192.0.2.1"},
        {"nodepublic": key},
        {"NodePublic": key.upper().replace("NODEKEY", "nodekey")},
    ):
        assert await verify(http, asked) == (200, {"Allow": True})


async def test_a_relay_may_not_serve_strangers(http: aiohttp.ClientSession) -> None:
    for key in ("a" * 64, "0" * 64):
        assert await verify(http, {"NodePublic": f"nodekey:{key}"}) == (200, {"Allow": False})


async def test_a_node_that_ended_or_went_is_a_stranger(
    http: aiohttp.ClientSession, join: Join, server: InProcessServer
) -> None:
    ended, gone = await join("ended"), await join("gone")
    await server.expire_node(str(ended.id))
    await server.delete_node(str(gone.id))
    for one in (ended, gone):
        assert await verify(http, {"NodePublic": one.client.node_key}) == (200, {"Allow": False})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 3000,
        {"NodePublic": 5},
        {"NodePublic": "mkey:" + "a" * 64},
        {"NodePublic": ""},
    ],
)
async def test_a_question_that_is_none_is_refused(http: aiohttp.ClientSession, body: object) -> None:
    assert (await verify(http, body))[0] == 400


async def test_a_question_is_small(http: aiohttp.ClientSession, join: Join) -> None:
    """Up to its limit and not one byte more, whether the length is told or not."""
    node = await join("node")
    start = json.dumps({"NodePublic": node.client.node_key}).encode()
    full = start + b" " * (VERIFY_MAX_BYTES - len(start))
    assert await verify(http, full) == (200, {"Allow": True})
    assert (await verify(http, full + b" "))[0] == 413

    async def pieces() -> AsyncIterator[bytes]:
        yield full
        yield b" "

    async with http.post("/verify", data=pieces()) as answer:
        assert answer.status == 413


async def test_a_question_may_arrive_in_pieces(server: InProcessServer, join: Join) -> None:
    """As a network cuts it."""
    node = await join("node")
    body = json.dumps({"NodePublic": node.client.node_key}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.settings.port)
    writer.write(f"POST /verify HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    for piece in (body[:20], body[20:]):
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(piece)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


async def test_a_device_that_waits_for_approval_has_no_relay(
    http: aiohttp.ClientSession, tailnet: Tailnet, join: Join
) -> None:
    """It is nobody's peer; let in, it may."""
    one = await join()
    for allowed in (False, True):
        await tailnet.server.call("POST", f"node/{one.id}/authorize", {"authorized": allowed})
        assert await verify(http, {"NodePublic": one.client.node_key}) == (200, {"Allow": allowed})
