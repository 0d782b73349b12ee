"""ControlUpgrade on a real loopback socket, driven by the fake client's session and by aiohttp's WebSocket."""

import asyncio
import base64
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import unused_port
from hyperframe.frame import PingFrame

from harness.clients.fake import FakeClient
from harness.clients.session import (
    AnswerStream,
    Session,
    SessionClosed,
    StreamCut,
    Target,
    UpgradeRefused,
    open_session,
    upgrade_request,
)
from headscale.clock import SystemClock
from headscale.control.exchange import LOW_WATER_BYTES, TEXT_TYPE, Exchange
from headscale.control.upgrade import HANDSHAKES_AT_ONCE, ControlUpgrade
from headscale.errors import Malformed
from headscale.keys import PrivateKey, generate_private_key, machine_key
from headscale.ts2021.client import ClientConnection, Data
from headscale.ts2021.connection import MAX_BODY_BYTES
from headscale.ts2021.floods import MAX_CONTROL_FRAMES, MAX_RESETS
from headscale.ts2021.handshake import generate_key, load_key

SERVER = PrivateKey(b"\x01" * 32)
MACHINE = PrivateKey(b"\x02" * 32)
PATIENCE = 10.0


@dataclass
class Site:
    """A listening server and what its handler saw."""

    upgrade: ControlUpgrade
    port: int
    tls: ssl.SSLContext | None = None
    seen: list[Exchange] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def dial(self, **fields: object) -> Session:
        settings = {
            "server_key": machine_key(SERVER.public),
            "machine_key": MACHINE,
            "version": 113,
            **fields,
        }
        return await open_session(Target("127.0.0.1", self.port, self.tls), **settings)

    async def handle(self, exchange: Exchange) -> None:
        """`/big` answers n bytes, `/hold` until cancelled, `/feed` as fast as it may; else an echo."""
        self.seen.append(exchange)
        match exchange.path:
            case "/big":
                await exchange.respond(200, bytes(int(exchange.query["n"])), content_type=TEXT_TYPE)
            case "/hold":
                exchange.start(200)
                exchange.send(b"holding")
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.append(exchange.path)
            case "/feed":
                exchange.start(200)
                exchange.on_writable = lambda: exchange.send(bytes(LOW_WATER_BYTES + 1))
                exchange.on_writable()
                await asyncio.Event().wait()
            case "/break":
                raise ValueError("a bug")
            case "/forget":
                return
            case "/half":
                exchange.start(200)
                exchange.send(b"half")
                raise ValueError("a bug")
            case _:
                await exchange.respond(200, exchange.body, headers={"x-method": exchange.method})


@contextlib.asynccontextmanager
async def listening(
    tls: ssl.SSLContext | None = None, trust: ssl.SSLContext | None = None
) -> AsyncIterator[Site]:
    port = unused_port()
    site = Site(upgrade=None, port=port, tls=trust)  # type: ignore[arg-type]
    site.upgrade = ControlUpgrade(SERVER, SystemClock(), site.handle)
    app = web.Application()
    app.add_routes(site.upgrade.routes())
    app.router.add_get("/key", answer_key)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    try:
        yield site
    finally:
        await site.upgrade.close()
        await runner.cleanup()


async def answer_key(request: web.Request) -> web.Response:
    return web.json_response({"publicKey": machine_key(SERVER.public), "legacyPublicKey": "mkey:" + "0" * 64})


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with listening() as made:
        yield made


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, within the budget."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def read_all(stream: AnswerStream) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return (await stream.answer()).body


async def test_a_handler_sees_who_asks_and_what(site: Site) -> None:
    """Machine key and version from the handshake, address from the socket, path and query apart."""
    async with await site.dial() as session:
        answer = await session.request("POST", "/echo?a=1&b=", body=b"hello", headers={"ts-lb": "x"})
    assert (answer.status, answer.body, answer.headers["x-method"]) == (200, b"hello", "POST")
    [exchange] = site.seen
    assert (exchange.machine_key, exchange.version) == (machine_key(MACHINE.public), 113)
    assert (exchange.remote, exchange.path, exchange.query) == ("127.0.0.1", "/echo", {"a": "1", "b": ""})
    assert exchange.headers["ts-lb"] == "x"


async def test_tls_is_the_same() -> None:
    """The tunnel works over TLS, with a large answer."""
    authority = trustme.CA()
    server, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trust)
    async with listening(server, trust) as site:
        client = FakeClient(site.url, machine_private=MACHINE, ca=trust)
        assert await client.fetch_server_key() == machine_key(SERVER.public)
        session = await client.connect()
        assert len((await session.request("GET", "/big?n=3000000")).body) == 3_000_000
        await client.close()
        await until(lambda: site.upgrade.connections == 0)


async def test_the_early_payload_is_sent(site: Site) -> None:
    """The native form begins with a challenge key, a new one each time."""
    challenges = set()
    for _ in range(2):
        async with await site.dial() as session:
            await session.request("GET", "/")
            assert session.early is not None
            challenges.add(session.early.payload.node_key_challenge)
    assert len(challenges) == 2


async def test_requests_run_side_by_side(site: Site) -> None:
    """A poll that hangs does not delay the others."""
    async with await site.dial() as session:
        poll = session.ask("GET", "/hold")
        assert await poll.read() == b"holding"
        answers = await asyncio.gather(*(session.request("POST", "/", body=b"%d" % n) for n in range(20)))
        assert [answer.body for answer in answers] == [b"%d" % n for n in range(20)]


async def test_a_crowd_is_taken_a_few_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart: in no turn of the loop are there more handshakes than are good for everybody else."""
    taken: list[int] = []
    turn, is_counting, accept = 0, True, site.upgrade._accept

    def count() -> None:
        nonlocal turn
        turn += 1
        if is_counting:
            asyncio.get_running_loop().call_soon(count)

    def noted(*words: object, **fields: object) -> object:
        taken.append(turn)
        return accept(*words, **fields)

    monkeypatch.setattr(site.upgrade, "_accept", noted)
    asyncio.get_running_loop().call_soon(count)
    sessions = await asyncio.gather(*(site.dial(machine_key=generate_private_key()) for _ in range(60)))
    is_counting = False
    assert len(taken) == 60
    assert max(Counter(taken).values()) <= HANDSHAKES_AT_ONCE
    for session in sessions:
        await session.close()


async def test_a_cancelled_request_cancels_its_handler(site: Site) -> None:
    """RST_STREAM reaches the task and the `closed` event; the session goes on."""
    async with await site.dial() as session:
        poll = session.ask("GET", "/hold")
        await poll.read()
        poll.cancel()
        await until(lambda: site.cancelled == ["/hold"])
        assert site.seen[0].closed.is_set()
        assert (await session.request("POST", "/", body=b"on")).body == b"on"


@pytest.mark.parametrize("how", ["close", "cut"])
async def test_a_lost_connection_cancels_its_handlers(site: Site, how: str) -> None:
    """However the client goes, its handlers end and nothing of it stays."""
    session = await site.dial()
    await session.ask("GET", "/hold").read()
    await session.close() if how == "close" else session.cut()
    await until(lambda: site.cancelled == ["/hold"])
    await until(lambda: site.upgrade.connections == 0)


async def test_five_megabytes_pass_small_windows(site: Site) -> None:
    """A client whose stream window is 64 KiB gets a large answer whole."""
    async with await site.dial(stream_window_bytes=65_535) as session:
        assert len(await read_all(session.ask("GET", f"/big?n={5 * 1024 * 1024}"))) == 5 * 1024 * 1024


async def test_a_reader_that_stops_is_waited_for(site: Site) -> None:
    """What a stopped client does not take stays in its stream's queue, and goes on when it reads again."""
    async with await site.dial() as session:
        poll = session.ask("GET", "/feed")
        await poll.response()
        session.pause_reading()
        await until(lambda: site.seen[0]._tunnel.paused)
        stuck = site.seen[0].buffered
        await asyncio.sleep(0.05)
        assert site.seen[0].buffered == stuck <= 4 * LOW_WATER_BYTES
        session.resume_reading()
        async with asyncio.timeout(PATIENCE):
            received = 0
            while received < 20_000_000:
                received += len(await poll.read())


async def test_a_body_at_the_limit_passes_and_one_past_it_is_413(site: Site) -> None:
    """The refusal comes before the handler, and the session goes on."""
    async with await site.dial() as session:
        assert len((await session.request("POST", "/", body=bytes(MAX_BODY_BYTES))).body) == MAX_BODY_BYTES
        assert (await session.request("POST", "/", body=bytes(MAX_BODY_BYTES + 1))).status == 413
        assert (await session.request("POST", "/", body=b"on")).body == b"on"
    assert len(site.seen) == 2


@pytest.mark.parametrize("path", ["/break", "/forget"])
async def test_a_bug_in_a_handler_is_a_500(site: Site, path: str) -> None:
    """Nothing from inside reaches the client, and the session goes on."""
    async with await site.dial() as session:
        answer = await session.request("GET", path)
        assert (answer.status, answer.body) == (500, b"internal error\n")
        assert (await session.request("GET", "/")).status == 200


async def test_a_bug_after_the_start_resets_the_stream(site: Site) -> None:
    """Half an answer is never taken for a whole one."""
    async with await site.dial() as session:
        with pytest.raises(StreamCut):
            await session.request("GET", "/half")
        assert (await session.request("GET", "/")).status == 200


async def test_a_flood_of_pings_is_cut(site: Site) -> None:
    """The client hears a GOAWAY with ENHANCE_YOUR_CALM; others go on."""
    async with await site.dial(machine_key=generate_private_key()) as honest:
        session = await site.dial()
        session.frames(PingFrame(0, opaque_data=b"12345678").serialize() * (MAX_CONTROL_FRAMES + 1))
        assert await session.closed == "the server went away (code 11)"
        assert (await honest.request("GET", "/")).status == 200


async def test_rapid_reset_is_cut(site: Site) -> None:
    """Streams that are opened and reset end the session, and their handlers."""
    session = await site.dial()
    for _ in range(MAX_RESETS + 1):
        session.core.cancel(session.core.request("GET", "/hold"))
    session.flush()
    assert await session.closed == "the server went away (code 11)"
    await until(lambda: site.upgrade.connections == 0)


async def test_bytes_that_are_no_record_close_the_connection(site: Site) -> None:
    """Anything below the records ends it."""
    session = await site.dial()
    session.raw(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        await session.closed
    await until(lambda: site.upgrade.connections == 0)


async def test_a_shutdown_says_goaway(site: Site) -> None:
    """Open polls end, the client hears why, and nothing is left."""
    session = await site.dial()
    poll = session.ask("GET", "/hold")
    await poll.read()
    await site.upgrade.close()
    assert await session.closed == "the server went away (code 0)"
    with pytest.raises(SessionClosed):
        await poll.read()
    with pytest.raises(UpgradeRefused, match="503"):
        await site.dial()


async def test_a_shutdown_does_not_wait_for_a_client_that_does_not_read(site: Site) -> None:
    """A stuck connection is cut after the grace time."""
    session = await site.dial()
    poll = session.ask("GET", "/big?n=50000000")
    await poll.response()
    session.abandon()
    async with asyncio.timeout(PATIENCE):
        await site.upgrade.close()
    assert site.upgrade.connections == 0
    session.cut()


def request_with(**changes: str | None) -> bytes:
    """An upgrade request with headers changed, or left out."""
    initiation = ClientConnection(
        machine_key(SERVER.public), version=113, static=load_key(MACHINE), ephemeral=generate_key()
    ).initiation
    lines = upgrade_request("127.0.0.1", initiation).decode().split("\r\n")
    for name, value in changes.items():
        header = name.replace("_", "-")
        lines = [line for line in lines if not line.startswith(f"{header}:")]
        if value is not None:
            lines.insert(1, f"{header}: {value}")
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"X_Tailscale_Handshake": None},
        {"X_Tailscale_Handshake": ""},
        {"X_Tailscale_Handshake": "@@@@"},
        {"X_Tailscale_Handshake": "AAAA"},
        {"X_Tailscale_Handshake": base64.b64encode(bytes(101)).decode()},
        {"X_Tailscale_Handshake": "A" * 100_000},
    ],
    ids=["no upgrade", "other upgrade", "no handshake", "empty", "no base64", "short", "zeros", "huge"],
)
async def test_what_is_no_upgrade_is_a_400_and_a_close(site: Site, changes: dict[str, str | None]) -> None:
    """The answer is plain text, the connection ends, and no session was made."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request_with(**changes))
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    assert answer.split()[1] == b"400"
    assert site.upgrade.connections == 0


async def test_the_upgrade_header_may_be_in_any_case(site: Site) -> None:
    """Compared case-insensitively, as tailscale-rs needs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(request_with(Upgrade="Tailscale-Control-Protocol"))
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
    writer.close()


async def test_a_client_of_another_server_is_refused(site: Site) -> None:
    """A handshake made for another key is a 400 that says so."""
    with pytest.raises(UpgradeRefused, match="400"):
        await site.dial(server_key=machine_key(generate_private_key().public))


def browser_handshake() -> tuple[ClientConnection, dict[str, str]]:
    core = ClientConnection(
        machine_key(SERVER.public), version=113, static=load_key(MACHINE), ephemeral=generate_key()
    )
    return core, {"X-Tailscale-Handshake": base64.b64encode(core.initiation).decode()}


async def test_a_browser_may_come_by_websocket(site: Site) -> None:
    """Any origin, our subprotocol, no compression, no early payload; a request and its large answer."""
    core, query = browser_handshake()
    async with aiohttp.ClientSession(headers={"Origin": "https://elsewhere"}) as http:
        async with http.ws_connect(
            f"{site.url}/ts2021", params=query, protocols=["tailscale-control-protocol"], compress=15
        ) as socket:
            assert (socket.protocol, socket.compress) == ("tailscale-control-protocol", 0)
            events = core.receive(await socket.receive_bytes())
            stream_id = core.request("GET", "/big?n=300000")
            assert len(events) == 1
            received = 0
            async with asyncio.timeout(PATIENCE):
                while received < 300_000:
                    if data := core.data_to_send():
                        await socket.send_bytes(data)
                    for event in core.receive(await socket.receive_bytes()):
                        received += len(event.data) if isinstance(event, Data) else 0
            assert stream_id == 1
        await until(lambda: site.upgrade.connections == 0)


@pytest.mark.parametrize("broken", ["subprotocol", "handshake", "text"])
async def test_a_wrong_websocket_is_closed_with_1008(site: Site, broken: str) -> None:
    """No subprotocol, no handshake, or messages that are not binary."""
    _, query = browser_handshake()
    protocols = () if broken == "subprotocol" else ("tailscale-control-protocol",)
    params = {} if broken == "handshake" else query
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{site.url}/ts2021", params=params, protocols=protocols) as socket:
            if broken == "text":
                await socket.send_str("hello")
            async with asyncio.timeout(PATIENCE):
                while (await socket.receive()).type is aiohttp.WSMsgType.BINARY:
                    pass
            assert socket.close_code == 1008
    await until(lambda: site.upgrade.connections == 0)


async def test_a_websocket_with_many_pings_is_closed(site: Site) -> None:
    """A few are answered, a flood is not."""
    _, query = browser_handshake()
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(
            f"{site.url}/ts2021", params=query, protocols=["tailscale-control-protocol"]
        ) as socket:
            with contextlib.suppress(ConnectionError):
                for _ in range(150):
                    await socket.ping()
            async with asyncio.timeout(PATIENCE):
                while (await socket.receive()).type is aiohttp.WSMsgType.BINARY:
                    pass
            assert socket.close_code == 1008


async def test_a_plain_get_is_a_400(site: Site) -> None:
    """A person who opens the address learns that it is not for people."""
    async with aiohttp.ClientSession() as http, http.get(f"{site.url}/ts2021") as answer:
        assert answer.status == 400
        assert "upgrade" in await answer.text()


async def test_errors_of_ours_are_for_the_dispatcher() -> None:
    """An exception of our tree that a handler lets out is a bug like any other: a 500."""

    async def refuse(exchange: Exchange) -> None:
        raise Malformed("no")

    async with listening() as site:
        site.upgrade._handler = refuse
        async with await site.dial() as session:
            assert (await session.request("GET", "/")).status == 500
