"""REST v1 on the main listener: who may come in, and how much they may send."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from harness.servers.inprocess import InProcessServer
from headscale.api import bodies
from headscale.sources.policyfile import TEXT_MAX_BYTES
from tests.integration.doors import ROUTES, Door, doors_of

MIB = 1024 * 1024
UNAUTHORIZED = (401, {"title": "Unauthorized", "status": 401, "detail": "Unauthorized"})
PAST = "2020-01-01T00:00:00Z"


@pytest.fixture
async def doors(server: InProcessServer) -> AsyncIterator[tuple[Door, Door]]:
    async with doors_of(server) as both:
        yield both


@pytest.fixture
def socket(doors: tuple[Door, Door]) -> Door:
    """The socket's."""
    return doors[0]


@pytest.fixture
def main(doors: tuple[Door, Door]) -> Door:
    """The main listener's, for somebody without a key."""
    return doors[1]


@pytest.fixture
async def key(socket: Door) -> str:
    """A good API key."""
    return await made(socket)


async def made(socket: Door, expiration: str | None = None) -> str:
    """A new key's text."""
    status, document = await socket("POST", "apikey", {"expiration": expiration} if expiration else {})
    assert status == 200
    return str(document["apiKey"])


async def listed(socket: Door) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = (await socket("GET", "apikey"))[1]["apiKeys"]
    return keys


def prefix_of(key: str) -> str:
    return key[: len("hskey-api-") + 12]


async def refused_keys(socket: Door, good: str) -> dict[str, str]:
    """Credentials that are none (any more), by what is wrong with them."""
    deleted = await made(socket)
    assert (await socket("DELETE", f"apikey/{prefix_of(deleted)}-***"))[0] == 200
    return {
        "malformed": "secret",
        "unknown": "hskey-api-" + "0" * 12 + "-" + "0" * 64,
        "wrong secret": f"{prefix_of(good)}-{'0' * 64}",
        "masked": f"{prefix_of(good)}-***",
        "cut": good[:-1],
        "long": good + "0" * 4000,
        "other kind": good.replace("-api-", "-auth-"),
        "expired": await made(socket, PAST),
        "deleted": deleted,
    }


@pytest.mark.bar("A11")
@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: str(part).replace("/api/v1/", ""))
async def test_every_route_asks_for_a_key(socket: Door, main: Door, key: str, method: str, path: str) -> None:
    """Nobody gets in without a good one; with it everything is as on the socket, which asks for none."""
    path = re.sub(r"\{[a-z]+\}", "77", path)
    assert await main(method, path, {}) == UNAUTHORIZED
    assert await main.with_headers(Authorization=f"Basic {key}")(method, path, {}) == UNAUTHORIZED
    for what, text in (await refused_keys(socket, key)).items():
        assert await main.with_key(text)(method, path, {}) == UNAUTHORIZED, what
    by_socket, by_key = await socket(method, path, {}), await main.with_key(key)(method, path, {})
    assert by_socket[0] == by_key[0] != 401
    assert set(by_socket[1]) == set(by_key[1])


async def test_what_is_not_there_is_not_told_to_strangers(main: Door, key: str) -> None:
    for method, path in (("GET", "nothing"), ("PUT", "user"), ("GET", "")):
        assert await main(method, path) == UNAUTHORIZED
    assert (await main.with_key(key)("GET", "nothing"))[0] == 404
    assert (await main.with_key(key)("PUT", "user"))[0] == 405


@pytest.mark.parametrize("path", ["openapi.json", "openapi.yaml"])
async def test_the_description_is_for_everybody(server: InProcessServer, path: str) -> None:
    """With and without a key; the rest is not (above)."""
    async with aiohttp.ClientSession(server.url) as http:
        for headers in ({}, {"Authorization": "Bearer x"}):
            async with http.get(f"/api/v1/{path}", headers=headers) as answer:
                assert (answer.status, b"/api/v1/apikey/{prefix}" in await answer.read()) == (200, True)


async def test_the_word_bearer_is_not_case_sensitive(main: Door, key: str) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (await main.with_headers(Authorization=f"{scheme} {key}")("GET", "health"))[0] == 200


async def test_two_credentials_are_none(server: InProcessServer, key: str) -> None:
    async with aiohttp.ClientSession(server.url) as http:
        twice = [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")]
        async with http.get("/api/v1/health", headers=twice) as answer:
            assert answer.status == 401


async def test_answers_have_the_listeners_headers(server: InProcessServer, key: str) -> None:
    async with aiohttp.ClientSession(server.url) as http:
        for given, status in (({}, 401), ({"Authorization": f"Bearer {key}"}, 200)):
            async with http.get("/api/v1/health", headers=given) as answer:
                assert answer.status == status
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.bar("A1")
async def test_guesses_find_nothing(main: Door, key: str) -> None:
    """Of every length, in parallel; and the key's owner is served meanwhile."""
    guesses = [key[:length] for length in range(len(key))] + [key + "x" * 50 * n for n in range(1, 100)]

    async def guess(texts: list[str]) -> None:
        for text in texts:
            assert await main.with_key(text)("GET", "user") == UNAUTHORIZED

    async with asyncio.TaskGroup() as group:
        for start in range(8):
            group.create_task(guess(guesses[start::8]))
        assert (await main.with_key(key)("GET", "user"))[0] == 200


async def test_a_key_has_a_prefix_and_times(socket: Door, main: Door) -> None:
    """The secret is shown once; without an end it lives 90 days. (The peer's is born expired.)"""
    text = await made(socket)
    assert re.fullmatch(r"hskey-api-[0-9a-f]{12}-[0-9a-f]{64}", text)
    [shown] = await listed(socket)
    assert (shown["id"], shown["prefix"], shown["lastSeen"]) == ("1", f"{prefix_of(text)}-***", None)
    assert set(shown) == {"id", "prefix", "expiration", "createdAt", "lastSeen"}
    left = datetime.fromisoformat(shown["expiration"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)


async def test_a_use_is_noted(socket: Door, main: Door, key: str) -> None:
    """Once a minute at most, and a refused one not at all."""
    await main.with_key(key + "x")("GET", "health")
    await asyncio.sleep(0)
    assert (await listed(socket))[0]["lastSeen"] is None
    await main.with_key(key)("GET", "health")
    async with asyncio.timeout(10):
        while (seen := (await listed(socket))[0]["lastSeen"]) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await main.with_key(key)("GET", "health")
    assert (await main.with_key(key)("GET", "apikey"))[1]["apiKeys"][0]["lastSeen"] == seen
    assert datetime.now(UTC) - datetime.fromisoformat(seen) < timedelta(seconds=30)


@pytest.mark.usefixtures("in_a_file")
async def test_a_key_outlives_a_restart_and_is_kept_as_a_hash(server: InProcessServer) -> None:
    """With its number; neither the database nor the log ever has the secret."""
    async with doors_of(server) as (socket, main):
        key = await made(socket)
        await main.with_key(key)("GET", "health")
        await main.with_key(key + "x")("GET", "health")
    await server.stop()
    secret = key.rpartition("-")[2]
    kept = [path.read_bytes() for path in server.folder.glob("db.sqlite*")]
    log = [part async for name, part in server.evidence() if name == "server.log"]
    assert any(prefix_of(key)[-12:].encode() in part for part in kept)
    for part in [*kept, *log]:
        assert isinstance(part, bytes)
        assert secret.encode() not in part
    await server.start()
    async with doors_of(server) as (socket, main):
        assert (await main.with_key(key)("GET", "health"))[0] == 200
        assert (await listed(socket))[0]["lastSeen"] is not None
        await made(socket)
        assert [shown["id"] for shown in await listed(socket)] == ["1", "2"]


async def test_a_key_is_named_by_id_or_prefix(socket: Door, main: Door) -> None:
    """Bare or masked; by both or neither is a mistake, and a whole key is not repeated in the answer."""
    for name in ("id", "prefix", "masked"):
        text = await made(socket)
        newest = (await listed(socket))[-1]
        prefix = prefix_of(text)[-12:]
        body = {
            "id": {"id": newest["id"]},
            "prefix": {"prefix": prefix},
            "masked": {"prefix": newest["prefix"]},
        }
        assert await main.with_key(text)("POST", "apikey/expire", body[name]) == (200, {})
        assert await main.with_key(text)("GET", "health") == UNAUTHORIZED
    key = await made(socket)
    for body, status in (
        ({}, 400),
        ({"id": "0", "prefix": ""}, 400),
        ({"id": "1", "prefix": prefix_of(key)}, 400),
        ({"id": "77"}, 404),
        ({"id": "x"}, 400),
        ({"prefix": "0" * 12}, 404),
        ({"prefix": key}, 404),
    ):
        code, document = await socket("POST", "apikey/expire", body)
        assert code == status
        assert key not in json.dumps(document)
    assert (await socket("DELETE", f"apikey/{prefix_of(key)}?id=4"))[0] == 400
    assert (await socket("DELETE", f"apikey/{'0' * 12}"))[0] == 404
    assert (await socket("DELETE", f"apikey/{prefix_of(key)[-12:]}")) == (200, {})
    assert len(await listed(socket)) == 3


@pytest.mark.parametrize(("size", "status"), [(MIB, 200), (MIB + 1, 413)])
async def test_a_body_is_at_most_a_mebibyte(
    server: InProcessServer, key: str, size: int, status: int
) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as http:
        async with http.post("/api/v1/user", data=b'{"name":"carol"}'.ljust(size)) as answer:
            assert answer.status == status


@pytest.mark.parametrize(("size", "status"), [(TEXT_MAX_BYTES, 200), (TEXT_MAX_BYTES + 1, 413)])
async def test_a_policy_may_be_as_large_as_on_the_socket(
    main: Door, key: str, size: int, status: int
) -> None:
    body = {"policy": "{}".ljust(size)}
    assert (await main.with_key(key)("POST", "policy/check", body))[0] == status


@pytest.mark.bar("H9")
async def test_a_compressed_body_is_refused_unopened(server: InProcessServer, key: str) -> None:
    bomb = gzip.compress(b'{"name":"carol"}'.ljust(8 * MIB))
    headers = {"Authorization": f"Bearer {key}", "Content-Encoding": "gzip"}
    async with aiohttp.ClientSession(server.url, headers=headers) as http:
        async with http.post("/api/v1/user", data=bomb) as answer:
            assert answer.status == 415


@pytest.mark.bar("H9")
async def test_a_body_has_to_arrive(
    server: InProcessServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a time, whoever sends it."""
    monkeypatch.setattr(bodies, "BODY_READ_S", 0.2)
    reader, writer = await asyncio.open_connection(server.settings.host, server.settings.port)
    head = (
        f"POST /api/v1/user HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 100\r\n\r\n"
    )
    writer.write(head.encode() + b"{")
    async with asyncio.timeout(10):
        assert b" 408 " in await reader.readline()
    writer.close()
