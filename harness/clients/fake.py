"""A client in process: it registers, reports and polls like tailscaled, but moves no packets.

For tests of the server and for load. It keeps to protocol unless told otherwise; `session` gives the ways to
misbehave. A message is plain JSON as it came, so that a test sees what a client sees.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from harness.clients.mapframes import ZSTD, MapFrameReader
from harness.clients.netmap import Json, NetMap
from harness.clients.session import AnswerStream, Session, SessionClosed, open_session, target_of
from headscale.keys import (
    ZERO_NODE_KEY,
    DiscoKey,
    MachineKey,
    NodeKey,
    PrivateKey,
    disco_key,
    generate_private_key,
    machine_key,
    node_key,
    parse_machine_key,
)

# A client gives a poll up that is silent for so long.
WATCHDOG_SECONDS: Final = 120.0
ANSWER_SECONDS: Final = 30.0
DEFAULT_VERSION: Final = 142
ZERO_TIME: Final = "0001-01-01T00:00:00Z"


class AnswerRefused(Exception):
    """An answer other than 200; the client shows the first 200 bytes of its text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"answered {status}: {text[:200]}")
        self.status = status
        self.text = text


class PollEnded(Exception):
    """The map poll is over; a real client would begin another."""


class FakeClient:
    """One node of a tailnet. Keys are made when not given; `version` is the capability version."""

    def __init__(
        self,
        url: str,
        *,
        machine_private: PrivateKey | None = None,
        node_private: PrivateKey | None = None,
        version: int = DEFAULT_VERSION,
        hostname: str = "fake",
        ca: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.version = version
        self.machine_private = machine_private or generate_private_key()
        self.node_private = node_private or generate_private_key()
        self.disco_private = generate_private_key()
        self.hostinfo: Json = {"Hostname": hostname, "OS": "linux", "BackendLogID": "0" * 64}
        self.endpoints: list[str] = []
        self.server_key: MachineKey | None = None
        self._ca = ca
        self._session: Session | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def machine_key(self) -> MachineKey:
        return machine_key(self.machine_private.public)

    @property
    def node_key(self) -> NodeKey:
        return node_key(self.node_private.public)

    @property
    def disco_key(self) -> DiscoKey:
        return disco_key(self.disco_private.public)

    @property
    def session(self) -> Session:
        """The open session; raises SessionClosed when there is none."""
        if self._session is None or self._session.closed.done():
            raise SessionClosed("not connected")
        return self._session

    async def fetch_server_key(self) -> MachineKey:
        """`GET /key?v=…`, as before each login; remembers and returns the server's Noise key."""
        tls = self._ca if self._ca is not None else True
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{self.url}/key", params={"v": str(self.version)}, ssl=tls) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise AnswerRefused(answer.status, text)
        self.server_key = parse_machine_key(msgspec.json.decode(text)["publicKey"])
        return self.server_key

    async def connect(self) -> Session:
        """Open a session, after fetching the server's key if it is not known; keeps one that is open."""
        if self._session is None or self._session.closed.done():
            self._session = await open_session(
                target_of(self.url, ca=self._ca),
                server_key=self.server_key or await self.fetch_server_key(),
                machine_key=self.machine_private,
                version=self.version,
            )
        return self._session

    async def register(
        self,
        *,
        auth_key: str = "",
        expiry: datetime | None = None,
        followup: str = "",
        old_node_key: NodeKey = ZERO_NODE_KEY,
        hostinfo: Mapping[str, Any] | None = None,
        ephemeral: bool = False,
        within: float = ANSWER_SECONDS,
    ) -> Json:
        """The RegisterResponse as it came; raises AnswerRefused when the status is not 200."""
        request = {
            "Version": self.version,
            "NodeKey": self.node_key,
            "OldNodeKey": old_node_key,
            "Auth": {"AuthKey": auth_key} if auth_key else None,
            "Expiry": expiry.isoformat() if expiry else ZERO_TIME,
            "Followup": followup,
            "Hostinfo": dict(hostinfo) if hostinfo is not None else self.hostinfo,
            "Ephemeral": ephemeral,
        }
        body = await self._post("/machine/register", _present(request), within=within)
        return msgspec.json.decode(body, type=dict[str, Any])

    async def logout(self) -> Json:
        """Register with an expiry in the past, as `tailscale logout` does."""
        return await self.register(expiry=datetime.fromtimestamp(123, UTC))

    async def lite_update(
        self,
        *,
        endpoints: Sequence[str] | None = None,
        hostinfo: Mapping[str, Any] | None = None,
        disco_key: DiscoKey | None = None,
    ) -> None:
        """Report the state; what is given is also remembered for later reports. The reply must be empty."""
        if endpoints is not None:
            self.endpoints = list(endpoints)
        if hostinfo is not None:
            self.hostinfo = dict(hostinfo)
        request = self.map_request(OmitPeers=True, DiscoKey=disco_key or self.disco_key)
        body = await self._post("/machine/map", request)
        if body:
            raise AssertionError(f"the reply to a lite update has {len(body)} bytes")

    async def map_once(self, *, compress: str = ZSTD, **fields: Any) -> Json:
        """One full map response without a poll."""
        request = self.map_request(Compress=compress, ReadOnly=True, **fields)
        messages = MapFrameReader(compress=compress).receive(await self._post("/machine/map", request))
        if len(messages) != 1:
            raise AssertionError(f"a one-shot map has one message, got {len(messages)}")
        return messages[0]

    async def stream_map(self, *, compress: str = ZSTD, **fields: Any) -> "MapStream":
        """Begin a poll; raises AnswerRefused when the status is not 200."""
        session = await self.connect()
        body = msgspec.json.encode(self.map_request(Stream=True, Compress=compress, **fields))
        stream = session.ask("POST", "/machine/map", body=body, headers=self._headers())
        async with asyncio.timeout(ANSWER_SECONDS):
            response = await stream.response()
            if response.status != 200:
                answer = await stream.answer()
                raise AnswerRefused(answer.status, answer.body.decode("utf-8", "replace"))
        return MapStream(stream, version=self.version, compress=compress)

    def map_request(self, **fields: Any) -> Json:
        """A MapRequest of the present state; fields that are None or empty are left out."""
        request = {
            "Version": self.version,
            "KeepAlive": True,
            "NodeKey": self.node_key,
            "DiscoKey": self.disco_key,
            "Hostinfo": self.hostinfo,
            "Endpoints": self.endpoints,
            "EndpointTypes": [1] * len(self.endpoints),
        }
        return _present({**request, **fields})

    def rotate_node_key(self) -> NodeKey:
        """Take a new node key and return the old one, to register with."""
        old = self.node_key
        self.node_private = generate_private_key()
        return old

    def restart(self) -> DiscoKey:
        """Take a new disco key, as each start of a client does."""
        self.disco_private = generate_private_key()
        return self.disco_key

    async def close(self) -> None:
        """End the session, if there is one."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, path: str, request: Json, *, within: float = ANSWER_SECONDS) -> bytes:
        session = await self.connect()
        async with asyncio.timeout(within):
            body = msgspec.json.encode(request)
            answer = await session.request("POST", path, body=body, headers=self._headers())
        if answer.status != 200:
            raise AnswerRefused(answer.status, answer.body.decode("utf-8", "replace"))
        return answer.body

    def _headers(self) -> dict[str, str]:
        return {"ts-lb": self.node_key, "accept-encoding": "gzip"}


class MapStream:
    """One poll: its messages in order, and the netmap that they add up to."""

    def __init__(self, stream: AnswerStream, *, version: int, compress: str) -> None:
        self.netmap = NetMap(version=version)
        self._stream = stream
        self._reader = MapFrameReader(compress=compress)
        self._waiting: list[Json] = []

    @property
    def wire_bytes(self) -> int:
        """Bytes received so far, lengths included."""
        return self._reader.wire_bytes

    async def next_message(self, *, within: float = WATCHDOG_SECONDS) -> Json:
        """The next message, applied to `netmap`; raises PollEnded, StreamCut, SessionClosed or TimeoutError."""
        async with asyncio.timeout(within):
            while not self._waiting:
                data = await self._stream.read()
                if not data:
                    cut = " inside a message" if self._reader.partial else ""
                    raise PollEnded(f"the server ended the poll{cut}")
                self._waiting += self._reader.receive(data)
        message = self._waiting.pop(0)
        self.netmap.apply(message, now=datetime.now(UTC).isoformat())
        return message

    async def until(self, predicate: Callable[[NetMap], bool], *, within: float) -> NetMap:
        """Read messages until the netmap satisfies; at once if it does. Raises TimeoutError, saying what it is."""
        try:
            async with asyncio.timeout(within):
                while self.netmap.updates == 0 or not predicate(self.netmap):
                    await self.next_message()
        except TimeoutError:
            peers = sorted(peer.get("Name", "?") for peer in self.netmap.peers.values())
            updates = self.netmap.updates
            raise TimeoutError(f"not within {within} s; {updates} updates, peers {peers}") from None
        return self.netmap

    async def quiet(self, seconds: float) -> None:
        """Show that nothing but keep-alives arrives for so long; raises AssertionError with what did."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self.next_message()
                    if not message.get("KeepAlive"):
                        raise AssertionError(f"expected silence, got {sorted(message)}")
        except TimeoutError:
            return

    def close(self) -> None:
        """Cancel the poll; the session stays."""
        self._stream.cancel()


def _present(fields: Mapping[str, Any]) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, "", [], {}, False)}
