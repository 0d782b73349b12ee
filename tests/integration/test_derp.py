"""The embedded relay over real sockets: TLS, WebSocket, helpers, abuse; and STUN over UDP."""

import asyncio
import contextlib
import os
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from harness.clients.derp import DerpClient, DerpSession, LoggedIn, PeerGone, Received
from headscale import tls
from headscale.clock import SystemClock
from headscale.derp import stun
from headscale.derp.frames import DISCO_MAGIC, HEADER, FrameType, encode
from headscale.derp.links import MESSAGE_BYTES
from headscale.derp.server import DerpServer
from headscale.keys import NodeKey, PrivateKey, generate_private_key, node_key

BUDGET = 10.0
STRANGER = node_key(b"\x77" * 32)


@dataclass(slots=True)
class Place:
    """A relay on loopback, and who may not use it."""

    server: DerpServer
    private: PrivateKey
    context: ssl.SSLContext
    port: int = 0
    refused: set[NodeKey] = field(default_factory=set)
    sources: list[str] = field(default_factory=list)
    clients: list[DerpClient] = field(default_factory=list)

    async def open(self) -> DerpClient:
        """A client that has not logged in."""
        key = generate_private_key()
        return self.kept(await DerpClient.open(key, "127.0.0.1", self.port, tls=self.context))

    async def join(self, private: PrivateKey | None = None) -> DerpClient:
        """A client that has."""
        key = private or generate_private_key()
        return self.kept(await DerpClient.login(key, "127.0.0.1", self.port, tls=self.context))

    def kept(self, client: DerpClient) -> DerpClient:
        """Close it at the end of the test."""
        self.clients.append(client)
        return client

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """The relay with a certificate of its own, as clients reach it."""
    files = {"certificate_path": tmp_path / "c", "key_path": tmp_path / "k"}
    tls.load_or_create(["127.0.0.1"], now=datetime.now(UTC), **files)

    async def admit(key: NodeKey, source: str) -> bool:
        found.sources.append(source)
        return key not in found.refused

    private = generate_private_key()
    server = DerpServer(private, SystemClock(), admit, bootstrap_hosts=lambda: ["127.0.0.1"])
    context = ssl.create_default_context(cafile=str(files["certificate_path"]))
    found = Place(server, private, context)
    app = web.Application()
    app.add_routes(found.server.routes())
    app.on_shutdown.append(lambda _: found.server.close())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.server_context(**files)).start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        async with asyncio.timeout(BUDGET):
            await runner.cleanup()
            await asyncio.gather(*(client.close() for client in found.clients))


async def receive(client: DerpClient) -> object:
    return await asyncio.wait_for(client.receive(), BUDGET)


async def assert_relays(place: Place) -> None:
    """Two honest clients exchange packets in both directions."""
    a, b = await place.join(), await place.join()
    await a.send(b.key, b"ping")
    assert await receive(b) == Received(a.key, b"ping")
    await b.send(a.key, b"pong")
    assert await receive(a) == Received(b.key, b"pong")
    await a.close()
    await b.close()


async def test_packets_of_every_size_pass_over_tls(place: Place) -> None:
    """From empty to 64 KiB; admission was asked with the client's address."""
    a, b = await place.join(), await place.join()
    for size in (0, 1, 1400, 65536):
        await a.send(b.key, bytes(size))
        assert await receive(b) == Received(a.key, bytes(size))
    assert place.sources == ["127.0.0.1"] * 2


async def test_a_burst_loses_nothing_to_a_client_that_reads(place: Place) -> None:
    """Two thousand packets in one go."""
    a, b = await place.join(), await place.join()
    for number in range(2000):
        a.session.send(b.key, number.to_bytes(2, "big") * 600)
    reading = asyncio.create_task(read_packets(b, 2000))
    await a.send(b.key, b"")
    packets = await asyncio.wait_for(reading, BUDGET)
    assert packets == [number.to_bytes(2, "big") * 600 for number in range(2000)]


async def read_packets(client: DerpClient, count: int) -> list[bytes]:
    packets: list[bytes] = []
    while len(packets) < count and isinstance(event := await client.receive(), Received):
        packets.append(event.packet)
    return packets


async def test_a_peer_that_leaves_is_reported(place: Place) -> None:
    """To the one that has received from it; an unknown one only for disco."""
    a, b = await place.join(), await place.join()
    await a.send(b.key, b"x")
    await receive(b)
    await a.close()
    assert await receive(b) == PeerGone(a.key, 0)
    await b.send(STRANGER, DISCO_MAGIC + bytes(60))
    assert await receive(b) == PeerGone(STRANGER, 1)


async def test_a_refused_key_sees_the_connection_close(place: Place) -> None:
    """While others get in."""
    outsider = generate_private_key()
    place.refused.add(node_key(outsider.public))
    with pytest.raises(ConnectionError):
        await place.join(outsider)
    await assert_relays(place)


async def test_an_admission_that_fails_is_a_no(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Our bug is logged, not told, and nobody gets in by it."""

    class Odd(set[NodeKey]):
        def __contains__(self, key: object) -> bool:
            raise RuntimeError("database")

    place.refused = Odd()
    with pytest.raises(ConnectionError):
        await place.join()
    assert "derp admission failed" in caplog.text
    place.refused = set()
    await assert_relays(place)


async def test_an_evicted_node_is_disconnected(place: Place) -> None:
    """As when it is deleted."""
    a = await place.join()
    place.server.evict(a.key)
    assert await receive(a) is None


async def test_the_answer_names_protocol_and_key(place: Place) -> None:
    """Exactly these headers, whatever the method (tailscale-rs posts)."""
    for method in (b"GET", b"POST"):
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port, ssl=place.context)
        writer.write(method + b" /derp HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\nConnection: upgrade\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), BUDGET)
        assert head.decode() == (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\n"
            f"Derp-Public-Key: {place.private.public.hex()}\r\n\r\n"
        )
        writer.close()


async def test_a_websocket_without_our_subprotocol_is_plain_derp(place: Place) -> None:
    """As ancient clients upgrade."""
    request = b"GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n"
    client = await DerpClient.open(
        generate_private_key(), "127.0.0.1", place.port, tls=place.context, request=request
    )
    assert await receive(place.kept(client)) == LoggedIn(2)


async def test_derp_inside_a_websocket(place: Place) -> None:
    """Messages are a byte stream; none is longer than a Go client reads; it reaches plain clients."""
    plain = await place.join()
    session = DerpSession(generate_private_key())
    async with aiohttp.ClientSession() as http, asyncio.timeout(BUDGET):
        async with http.ws_connect(
            place.url + "/derp", protocols=("derp",), ssl=place.context, origin="https://elsewhere"
        ) as socket:
            assert socket.protocol == "derp"
            assert await socket_events(session, socket) == [LoggedIn(2)]
            session.send(plain.key, b"w" * 65536)
            sending = session.to_send()
            for piece in (sending[:3], sending[3:30], sending[30:]):
                await socket.send_bytes(piece)
            assert await plain.receive() == Received(session.key, b"w" * 65536)
            await plain.send(session.key, b"p" * 65536)
            received = b""
            while len(received) < 65536 + 37:
                message = await socket.receive_bytes()
                assert len(message) <= MESSAGE_BYTES
                received += message
            assert session.receive(received) == [Received(plain.key, b"p" * 65536)]


async def test_a_burst_reaches_a_websocket_whole(place: Place) -> None:
    """More than the relay queues can come in one read; nothing of it is lost."""
    plain = await place.join()
    session = DerpSession(generate_private_key())
    async with aiohttp.ClientSession() as http, asyncio.timeout(BUDGET):
        async with http.ws_connect(place.url + "/derp", protocols=("derp",), ssl=place.context) as socket:
            await socket_events(session, socket)
            for number in range(1000):
                plain.session.send(session.key, number.to_bytes(2, "big") * 600)
            await plain.send(session.key, b"last")
            seen = 0
            while seen < 1001:
                seen += len(session.receive(await socket.receive_bytes()))


async def socket_events(session: DerpSession, socket: aiohttp.ClientWebSocketResponse) -> list[object]:
    """Answer what comes until there are events."""
    while not (events := session.receive(await socket.receive_bytes())):
        await socket.send_bytes(session.to_send())
    return list(events)


async def test_a_text_message_ends_a_websocket(place: Place) -> None:
    """DERP is binary."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(BUDGET):
        async with http.ws_connect(place.url + "/derp", protocols=("derp",), ssl=place.context) as socket:
            await socket.receive_bytes()
            await socket.send_str("hello")
            assert (await socket.receive()).type in (
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.ERROR,
            )
    await assert_relays(place)


async def test_without_an_upgrade_it_is_426(place: Place) -> None:
    """And for one that we do not know."""
    async with aiohttp.ClientSession() as http:
        for headers in ({}, {"Upgrade": "h2c", "Connection": "Upgrade"}):
            async with http.get(place.url + "/derp", ssl=place.context, headers=headers) as answer:
                assert answer.status == 426


@pytest.mark.parametrize("path", ["/derp/probe", "/derp/latency-check"])
async def test_probes_answer_get_and_head(place: Place, path: str) -> None:
    """Empty, for any origin; other methods are 405."""
    async with aiohttp.ClientSession() as http:
        for method, status in (("GET", 200), ("HEAD", 200), ("POST", 405)):
            async with http.request(method, place.url + path, ssl=place.context) as answer:
                assert answer.status == status
                if status == 200:
                    assert await answer.read() == b""
                    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("challenge", "response"),
    [
        ("ts_a.b-c:9", "response ts_a.b-c:9"),
        ("x" * 64, "response " + "x" * 64),
        ("x" * 65, None),
        ("a b", None),
    ],
)
async def test_generate_204_repeats_the_challenge(place: Place, challenge: str, response: str | None) -> None:
    """Of up to 64 harmless characters."""
    async with aiohttp.ClientSession() as http:
        headers = {"X-Tailscale-Challenge": challenge}
        async with http.get(place.url + "/generate_204", ssl=place.context, headers=headers) as answer:
            assert answer.status == 204
            assert answer.headers.get("X-Tailscale-Response") == response
            assert "no-cache" in answer.headers["Cache-Control"]


async def test_bootstrap_dns_gives_addresses(place: Place) -> None:
    """As lists of addresses by host."""
    async with aiohttp.ClientSession() as http:
        async with http.get(place.url + "/bootstrap-dns?q=any", ssl=place.context) as answer:
            assert await answer.json() == {"127.0.0.1": ["127.0.0.1"]}


@pytest.mark.parametrize(
    "attack",
    [
        HEADER.pack(FrameType.SEND_PACKET, 0xFFFFFFFF),
        HEADER.pack(FrameType.SEND_PACKET, 32 + 65536 + 1),
        encode(FrameType.WATCH_CONNS),
        encode(FrameType.FORWARD_PACKET, bytes(100)),
        encode(FrameType.CLOSE_PEER, bytes(32)),
    ],
)
async def test_an_attack_after_login_closes_that_connection_only(place: Place, attack: bytes) -> None:
    """B26: lengths and mesh frames."""
    a = await place.join()
    await a.send_raw(attack)
    assert await receive(a) is None
    await assert_relays(place)


@pytest.mark.parametrize(
    "attack",
    [
        HEADER.pack(FrameType.CLIENT_INFO, 300 * 1024),
        HEADER.pack(FrameType.CLIENT_INFO, 0xFFFFFFFF),
        encode(FrameType.CLIENT_INFO, bytes(100)),
        encode(FrameType.PING, bytes(8)),
    ],
)
async def test_an_attack_at_login_closes_that_connection_only(place: Place, attack: bytes) -> None:
    """H12: an info of 300 KiB, one that does not open, another frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port, ssl=place.context)
    writer.write(b"GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.write(attack)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await asyncio.wait_for(reader.read(), BUDGET)
    writer.close()
    await assert_relays(place)


async def test_random_frames_disturb_nobody(place: Place) -> None:
    """A hundred clients that send noise, seeded; two honest ones keep talking."""
    source = random.Random(7)
    for _ in range(100):
        noise = await place.join()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await noise.send_raw(source.randbytes(200))
        await noise.close()
    await assert_relays(place)


async def test_a_stuck_client_costs_the_others_nothing(place: Place) -> None:
    """It does not read; 32 packets wait for it, the rest is dropped, and its sender goes on."""
    a, b, stuck = await place.join(), await place.join(), await place.join()
    for _ in range(300):
        await a.send(stuck.key, bytes(60_000))
    await a.send(b.key, b"next")
    assert await receive(b) == Received(a.key, b"next")


async def test_closing_the_server_disconnects_everyone(place: Place) -> None:
    """In the middle of a login as well."""
    inside, outside = await place.join(), await place.open()
    await place.server.close()
    assert await receive(inside) is None
    assert await receive(outside) is None


async def test_stun_answers_real_requests_only() -> None:
    """B26: over UDP, noise gets silence and the next request an answer with the sender's port."""
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(stun.StunProtocol, local_addr=("127.0.0.1", 0))
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            answers.put_nowait(data)

    client, _ = await loop.create_datagram_endpoint(Client, remote_addr=server.get_extra_info("sockname"))
    source = random.Random(7)
    for _ in range(200):
        client.sendto(source.randbytes(source.randrange(1, 100)))
    transaction = os.urandom(12)
    client.sendto(stun.request(transaction))
    answer = await asyncio.wait_for(answers.get(), BUDGET)
    port = client.get_extra_info("sockname")[1]
    assert answer == stun.response(transaction, IPv4Address("127.0.0.1"), port)
    assert answers.empty()
    client.close()
    server.close()
