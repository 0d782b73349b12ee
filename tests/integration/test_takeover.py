"""Taking a connection over from aiohttp: plain and TLS, early bytes, back-pressure, ends."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from headscale import tls
from headscale.takeover import TakenOver, take_over

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
UPGRADE = b"POST /up HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: upgrade\r\n"
BUDGET = 5.0


@dataclass(slots=True)
class Place:
    """A server on loopback that gives connections to `make`, and what became of them."""

    port: int
    context: ssl.SSLContext | None
    taken: list[TakenOver] = field(default_factory=list)
    make: Callable[[], TakenOver] | None = None
    runner: web.AppRunner | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # the handler waits for it, when it is not set

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)

    async def upgraded(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.connect()
        writer.write(UPGRADE + b"\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == HEAD
        return reader, writer

    @property
    def connections(self) -> int:
        """How many connections aiohttp remembers."""
        assert self.runner is not None
        assert self.runner.server is not None
        return len(self.runner.server.connections)


def echo() -> TakenOver:
    protocol: TakenOver
    protocol = TakenOver(lambda data: protocol.write(data))
    return protocol


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BUDGET):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.fixture(params=["plain", "tls"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """The keep-alive time is far below what the tests take, so that it would show."""
    found = Place(port=0, context=None, make=echo)
    found.gate.set()

    async def handler(web_request: web.Request) -> web.StreamResponse:
        await found.gate.wait()
        assert found.make is not None
        protocol = found.make()
        found.taken.append(protocol)
        return await take_over(web_request, HEAD, protocol)

    app = web.Application()
    app.router.add_route("*", "/up", handler)
    found.runner = web.AppRunner(app, keepalive_timeout=0.05, shutdown_timeout=0.2)
    await found.runner.setup()
    server_side = None
    if request.param == "tls":
        files = {"certificate_path": tmp_path / "c", "key_path": tmp_path / "k"}
        tls.load_or_create(["127.0.0.1"], now=datetime.now(UTC), **files)
        server_side = tls.server_context(**files)
        found.context = ssl.create_default_context(cafile=str(files["certificate_path"]))
    await web.TCPSite(found.runner, "127.0.0.1", 0, ssl_context=server_side).start()
    found.port = found.runner.addresses[0][1]
    try:
        yield found
    finally:
        await found.runner.cleanup()


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"])
async def test_bytes_pass_both_ways(place: Place, length: bytes) -> None:
    """Whatever they look like, with and without a length in the request."""
    reader, writer = await place.connect()
    writer.write(UPGRADE + length + b"\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == HEAD
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 1000):
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
    writer.close()


async def test_nothing_is_written_at_the_end(place: Place) -> None:
    """Our close is the last the client sees: no HTTP response follows."""
    reader, writer = await place.upgraded()
    place.taken[0].write(b"bye")
    place.taken[0].close()
    assert await reader.read() == b"bye"
    writer.close()


async def test_aiohttp_forgets_the_connection(place: Place) -> None:
    """However it ends; otherwise every connection would leak."""
    for end in ("client", "close", "abort"):
        _, writer = await place.upgraded()
        assert place.connections == 1
        match end:
            case "client":
                writer.close()
            case "close":
                place.taken[-1].close()
            case _:
                place.taken[-1].abort()
        await until(lambda: place.connections == 0)
        await asyncio.wait_for(asyncio.shield(place.taken[-1].closed), BUDGET)
        writer.close()


async def test_the_keep_alive_time_does_not_count(place: Place) -> None:
    """An idle connection outlives it."""
    reader, writer = await place.upgraded()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(place.taken[0].closed), 0.2)
    writer.write(b"still here")
    assert await reader.readexactly(10) == b"still here"
    writer.close()


async def test_bytes_behind_a_websocket_upgrade_are_carried_over(place: Place) -> None:
    """aiohttp keeps those; an ancient DERP client upgrades like this."""
    reader, writer = await place.connect()
    writer.write(UPGRADE.replace(b"echo", b"websocket").replace(b"POST", b"GET") + b"\r\nearly")
    assert await reader.readexactly(len(HEAD) + 5) == HEAD + b"early"
    writer.write(b"late")
    assert await reader.readexactly(4) == b"late"
    writer.close()


async def test_a_request_with_a_body_is_refused(place: Place) -> None:
    """An upgrade has none."""
    reader, writer = await place.connect()
    writer.write(UPGRADE + b"Content-Length: 3\r\n\r\nabc")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_a_second_request_before_our_answer_is_refused(place: Place) -> None:
    """aiohttp has parsed it, so its bytes cannot be given to the new protocol."""
    place.gate.clear()
    reader, writer = await place.connect()
    writer.write(UPGRADE + b"\r\n")
    await until(lambda: request_count(place) == 1)
    writer.write(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: request_count(place) == 2)
    place.gate.set()
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()


def request_count(place: Place) -> int:
    """How many requests aiohttp has parsed on its one connection."""
    assert place.runner is not None
    assert place.runner.server is not None
    return sum(connection._request_count for connection in place.runner.server.connections)


async def test_bytes_in_the_segment_of_another_upgrade_are_lost(place: Place) -> None:
    """A fact of aiohttp's parser that no client of ours meets; what follows our answer is whole."""
    reader, writer = await place.connect()
    writer.write(UPGRADE + b"\r\nearly")
    assert await reader.readuntil(b"\r\n\r\n") == HEAD
    writer.write(b"late")
    assert await reader.readexactly(4) == b"late"
    writer.close()


async def test_a_client_that_does_not_read_is_felt(place: Place) -> None:
    """Paused once, drained once it reads; nothing is lost."""
    told: list[str] = []
    place.make = lambda: TakenOver(
        lambda data: None, on_pause=lambda: told.append("pause"), on_resume=lambda: told.append("resume")
    )
    reader, writer = await place.upgraded()
    protocol = place.taken[0]
    sent = 0
    while protocol.writable:
        protocol.write(bytes(65536))
        sent += 65536
        await asyncio.sleep(0)
    assert told == ["pause"]
    reading = asyncio.create_task(reader.readexactly(sent))
    await asyncio.wait_for(protocol.drain(), BUDGET)
    assert told == ["pause", "resume"]
    await asyncio.wait_for(reading, BUDGET)
    writer.close()


async def test_pausing_reading_holds_the_client_back(place: Place) -> None:
    """Nothing is received until it is resumed, then everything."""
    got = bytearray()
    place.make = lambda: TakenOver(got.extend)
    _, writer = await place.upgraded()
    place.taken[0].pause_reading()
    place.taken[0].pause_reading()
    writer.write(b"x" * 1000)
    await asyncio.sleep(0.05)
    assert not got
    place.taken[0].resume_reading()
    place.taken[0].resume_reading()
    await until(lambda: len(got) == 1000)
    writer.close()


async def test_after_the_end_every_call_is_a_no_op(place: Place) -> None:
    """Owners need not look first; on TLS a closing transport is fragile."""
    _, writer = await place.upgraded()
    protocol = place.taken[0]
    for _ in range(2):
        protocol.close()
        protocol.write(b"x")
        protocol.pause_reading()
        protocol.resume_reading()
    protocol.abort()
    await asyncio.wait_for(asyncio.shield(protocol.closed), BUDGET)
    protocol.write(b"x")
    await protocol.drain()
    protocol.abort()
    writer.close()


async def test_the_server_shutting_down_ends_it(place: Place) -> None:
    """An owner that forgot to close does not hold the server up for ever."""
    reader, writer = await place.upgraded()
    assert place.runner is not None
    async with asyncio.timeout(BUDGET):
        await place.runner.cleanup()
        await asyncio.shield(place.taken[0].closed)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert await reader.read() == b""
    writer.close()
