"""The fake client against a control server of a few lines: what it sends, what it makes of the answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from harness.clients.fake import AnswerRefused, FakeClient, PollEnded
from harness.clients.mapframes import zstd
from headscale.clock import SystemClock
from headscale.control.exchange import TEXT_TYPE, Exchange
from headscale.control.upgrade import ControlUpgrade
from headscale.keys import PrivateKey, machine_key

SERVER = PrivateKey(b"\x01" * 32)
FIRST = {"Node": {"ID": 1, "Name": "me.net."}, "Peers": [{"ID": 2, "Name": "two.net.", "Online": True}]}
PATIENCE = 10.0


@dataclass
class Control:
    """Answers what the test sets, and remembers what was asked."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    polls: list[Exchange] = field(default_factory=list)
    refusal: tuple[int, bytes] | None = None

    async def handle(self, exchange: Exchange) -> None:
        request = msgspec.json.decode(exchange.body)
        self.requests.append(request)
        if self.refusal is not None:
            await exchange.respond(self.refusal[0], self.refusal[1], content_type=TEXT_TYPE)
        elif exchange.path == "/machine/register":
            await exchange.respond(200, b'{"MachineAuthorized":true,"AuthURL":""}')
        elif request.get("Stream"):
            exchange.start(200)
            self.polls.append(exchange)
            await exchange.closed.wait()
        else:
            await exchange.respond(
                200, b"" if request.get("OmitPeers") else framed(FIRST, request["Compress"])
            )

    def say(self, *messages: dict[str, Any]) -> None:
        """Send messages on the newest poll."""
        for message in messages:
            self.polls[-1].send(framed(message, self.requests[-1].get("Compress", "")))


def framed(message: dict[str, Any], compress: str) -> bytes:
    """A message, if compressed in two zstd frames that follow one another."""
    text = msgspec.json.encode(message)
    payload = zstd.compress(text[:7]) + zstd.compress(text[7:]) if compress else text
    return len(payload).to_bytes(4, "little") + payload


@pytest.fixture
async def control() -> AsyncIterator[Control]:
    made = Control()
    upgrade = ControlUpgrade(SERVER, SystemClock(), made.handle)
    app = web.Application()
    app.add_routes(upgrade.routes())

    async def key(request: web.Request) -> web.Response:
        return web.json_response({"publicKey": machine_key(SERVER.public), "v": request.query["v"]})

    app.router.add_get("/key", key)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = unused_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.url = f"http://127.0.0.1:{port}"
    yield made
    await upgrade.close()
    await runner.cleanup()


@pytest.fixture
async def client(control: Control) -> AsyncIterator[FakeClient]:
    async with FakeClient(control.url) as made:
        yield made


@contextlib.asynccontextmanager
async def quickly() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE):
        yield


async def test_a_registration_names_key_version_and_host(control: Control, client: FakeClient) -> None:
    """As tailscaled's; the answer comes back as it is."""
    answer = await client.register(auth_key="k")
    assert answer == {"MachineAuthorized": True, "AuthURL": ""}
    [request] = control.requests
    assert request["Auth"] == {"AuthKey": "k"}
    assert (request["NodeKey"], request["Version"]) == (client.node_key, 142)
    assert request["Hostinfo"]["Hostname"] == "fake"


async def test_a_logout_expires_in_the_past(control: Control, client: FakeClient) -> None:
    """Unix second 123, as Go sends it."""
    await client.logout()
    assert control.requests[0]["Expiry"] == "1970-01-01T00:02:03+00:00"


async def test_a_rotation_names_the_old_key(control: Control, client: FakeClient) -> None:
    """The new key registers with the old one beside it."""
    old = client.rotate_node_key()
    await client.register(old_node_key=old)
    assert control.requests[0]["OldNodeKey"] == old != client.node_key


async def test_a_lite_update_reports_and_remembers(control: Control, client: FakeClient) -> None:
    """OmitPeers without Stream; what was given goes into later reports, too."""
    await client.lite_update(endpoints=["1.2.3.4:5"], hostinfo={"Hostname": "other"})
    await client.lite_update()
    for request in control.requests:
        assert (request["OmitPeers"], "Stream" in request) == (True, False)
        assert (request["Endpoints"], request["Hostinfo"]) == (["1.2.3.4:5"], {"Hostname": "other"})


@pytest.mark.parametrize("compress", ["zstd", ""])
async def test_a_poll_adds_up_to_a_netmap(control: Control, client: FakeClient, compress: str) -> None:
    """Messages of several zstd frames, or of plain JSON, in order."""
    stream = await client.stream_map(compress=compress)
    control.say(FIRST, {"OnlineChange": {"2": False}})
    async with quickly():
        netmap = await stream.until(lambda netmap: netmap.peers[2]["Online"] is False, within=PATIENCE)
    assert netmap.peer_named("two") == {"ID": 2, "Name": "two.net.", "Online": False, "AllowedIPs": []}


async def test_a_one_shot_map_is_one_message(client: FakeClient) -> None:
    """Without a stream, and whole."""
    assert await client.map_once() == FIRST


async def test_waiting_ends_with_what_is_there(control: Control, client: FakeClient) -> None:
    """The error of a condition that does not come says how the netmap stands."""
    stream = await client.stream_map()
    control.say(FIRST)
    with pytest.raises(TimeoutError, match=r"two\.net"):
        await stream.until(lambda netmap: 3 in netmap.peers, within=0.05)


async def test_quiet_hears_what_is_not_a_keep_alive(control: Control, client: FakeClient) -> None:
    """Keep-alives are silence, anything else is not."""
    stream = await client.stream_map()
    control.say(FIRST)
    await stream.next_message(within=PATIENCE)
    control.say({"KeepAlive": True})
    await stream.quiet(0.05)
    control.say({"Domain": "d"})
    with pytest.raises(AssertionError, match="Domain"):
        await stream.quiet(PATIENCE)


async def test_a_refusal_has_status_and_text(control: Control, client: FakeClient) -> None:
    """For registration and both kinds of map."""
    control.refusal = (404, b"node not found")
    calls: list[Callable[[], Any]] = [client.register, client.lite_update, client.stream_map]
    for call in calls:
        with pytest.raises(AnswerRefused, match="404: node not found"):
            await call()


async def test_the_end_of_a_poll_is_told(control: Control, client: FakeClient) -> None:
    """A server that ends the stream ends the poll, not the session."""
    stream = await client.stream_map()
    control.polls[0].end()
    with pytest.raises(PollEnded):
        await stream.next_message(within=PATIENCE)
    await client.register()


async def test_closing_a_poll_cancels_it(control: Control, client: FakeClient) -> None:
    """The server sees the cancellation, and the session stays."""
    stream = await client.stream_map()
    stream.close()
    async with quickly():
        await control.polls[0].closed.wait()
    await client.register()


async def test_a_client_that_abandons_is_still_there_for_the_server(
    control: Control, client: FakeClient
) -> None:
    """Half open: nothing is read, nothing is closed."""
    await client.stream_map()
    client.session.abandon()
    control.say(FIRST)
    await asyncio.sleep(0.05)
    assert not control.polls[0].closed.is_set()
