"""A ts2021 session over a real socket, from the upgrade request to single answers: the fake client's transport.

It can also do what a client should not: write raw bytes inside or below the records, stop reading, or leave the
connection half open.
"""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from headscale.keys import MachineKey, PrivateKey
from headscale.ts2021 import client as core
from headscale.ts2021.client import ClientConnection
from headscale.ts2021.handshake import generate_key, load_key
from headscale.ts2021.http2 import CANCEL

UPGRADE: Final = "tailscale-control-protocol"
DIAL_SECONDS: Final = 10.0
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class UpgradeRefused(Exception):
    """The server answered the upgrade with something else than 101."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"upgrade refused with {status}: {text}")
        self.status = status
        self.text = text


class SessionClosed(Exception):
    """The session is over; the text says why."""


class StreamCut(Exception):
    """The server reset a stream; `code` is HTTP/2's."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stream reset with code {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """Where a control server listens."""

    host: str
    port: int
    tls: ssl.SSLContext | None


def target_of(url: str, *, ca: ssl.SSLContext | None = None) -> Target:
    """Host, port and TLS of a login server's URL; `ca` replaces the system's roots."""
    parts = urlsplit(url)
    tls = (ca or ssl.create_default_context()) if parts.scheme == "https" else None
    return Target(parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme], tls)


class AnswerStream:
    """An answer as it arrives."""

    def __init__(self, session: "Session", stream_id: int) -> None:
        self._session = session
        self.stream_id = stream_id
        self._headers: asyncio.Future[core.Response] = asyncio.get_running_loop().create_future()
        self._pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    async def response(self) -> core.Response:
        """Status and headers, once they are there; raises StreamCut or SessionClosed."""
        return await asyncio.shield(self._headers)

    async def read(self) -> bytes:
        """The next piece of the body, empty at its end; raises StreamCut or SessionClosed."""
        piece = await self._pieces.get()
        if isinstance(piece, bytes):
            return piece
        self._pieces.put_nowait(piece)  # the end stays the end
        if isinstance(piece, Exception):
            raise piece
        return b""

    async def answer(self) -> Answer:
        """The whole answer."""
        response = await self.response()
        body = bytearray()
        while piece := await self.read():
            body += piece
        return Answer(response.status, response.headers, bytes(body))

    def send(self, data: bytes) -> None:
        """A piece of the request's body, if it was left open."""
        self._session.core.send(self.stream_id, data)
        self._session.flush()

    def end(self) -> None:
        """The request is complete."""
        self._session.core.end(self.stream_id)
        self._session.flush()

    def cancel(self) -> None:
        """Reset the stream, as a client does that ends a poll."""
        self._session.core.cancel(self.stream_id)
        self._session.flush()
        if self._session._streams.pop(self.stream_id, None) is not None:
            self._finish(StreamCut(CANCEL))

    def _respond(self, response: core.Response) -> None:
        if not self._headers.done():
            self._headers.set_result(response)

    def _finish(self, reason: Exception | None) -> None:
        if not self._headers.done():
            self._headers.set_exception(reason or SessionClosed("an answer without headers"))
            self._headers.exception()  # it may well be that nobody asks
        self._pieces.put_nowait(reason)


class Session(asyncio.Protocol):
    """One session; use `open_session`."""

    def __init__(self, connection: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        self.core = connection
        self.established: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()
        self.early: core.Early | None = None
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._switched = False
        self._streams: dict[int, AnswerStream] = {}
        self._writable = True
        self._abandoned = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def transport(self) -> asyncio.Transport:
        """The socket's transport; raises SessionClosed when it is gone."""
        if self._transport is None:
            raise SessionClosed(self.closed.result() if self.closed.done() else "not connected")
        return self._transport

    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask and wait for the whole answer."""
        return await self.ask(method, path, body=body, headers=headers).answer()

    def ask(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> AnswerStream:
        """Send a whole request; its answer is read as it arrives."""
        self._still_open()
        return self._opened(self.core.request(method, path, body=body, headers=headers))

    def open(self, method: str, path: str, *, headers: Mapping[str, str] | None = None) -> AnswerStream:
        """Send a request's headers; its body may follow with the stream's `send` and `end`."""
        self._still_open()
        return self._opened(self.core.open(method, path, headers=headers))

    def raw(self, data: bytes) -> None:
        """Bytes on the socket, below everything."""
        self.transport.write(data)

    def frames(self, data: bytes) -> None:
        """Bytes inside records, below HTTP/2."""
        self.transport.write(self.core.seal(data))

    def pause_reading(self) -> None:
        """Take nothing more from the socket, so that the server's sending stalls."""
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what waits, and go on."""
        self.transport.resume_reading()

    def abandon(self) -> None:
        """Neither read nor close any more: to the server, a client that lost its network."""
        self.transport.pause_reading()
        self._abandoned = True

    async def close(self) -> None:
        """GOAWAY, then close; returns when the socket is closed."""
        if self._transport is not None:
            if self.core.established and self._writable and not self._abandoned:
                self.core.goaway()
                self.flush()
                self._transport.close()
            else:
                self._transport.abort()
        await asyncio.shield(self.closed)

    def cut(self) -> None:
        """Close the socket at once, without a word."""
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Write what waits."""
        if self._abandoned:
            return
        while self._writable and self._transport is not None and (data := self.core.data_to_send()):
            self._transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        if not self._switched:
            data = self._switch(data)
        if data:
            for event in self.core.receive(data):
                self._apply(event)
            self.flush()

    def pause_writing(self) -> None:
        """asyncio: too much waits to be sent."""
        self._writable = False

    def resume_writing(self) -> None:
        """asyncio: little enough waits to be sent."""
        self._writable = True
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the socket is closed."""
        self._transport = None
        self._end(SessionClosed(f"connection lost: {exc}" if exc else "connection closed by the server"))

    def _switch(self, data: bytes) -> bytes:
        """Wait for the 101; what follows it belongs to the session."""
        self._head += data
        head, blank, rest = bytes(self._head).partition(b"\r\n\r\n")
        if not blank:
            return b""
        status = int(head.split(b" ", 2)[1])
        if status != 101:
            self._fail(UpgradeRefused(status, rest.decode("utf-8", "replace")))
            self.cut()
            return b""
        self._switched = True
        return rest

    def _apply(self, event: core.Event) -> None:
        match event:
            case core.Established():
                self.established.set_result(None)
            case core.Early():
                self.early = event
            case core.Response(stream_id):
                if (stream := self._streams.get(stream_id)) is not None:
                    stream._respond(event)
            case core.Data(stream_id, data):
                if (stream := self._streams.get(stream_id)) is not None:
                    stream._pieces.put_nowait(data)
            case core.Ended(stream_id):
                if (stream := self._streams.pop(stream_id, None)) is not None:
                    stream._finish(None)
            case core.Reset(stream_id, code):
                if (stream := self._streams.pop(stream_id, None)) is not None:
                    stream._finish(StreamCut(code))
            case core.Closed(reason):
                self._end(SessionClosed(reason))
                self.cut()

    def _fail(self, error: Exception) -> None:
        if not self.established.done():
            self.established.set_exception(error)
            self.established.exception()  # it may well be that nobody asks

    def _end(self, reason: SessionClosed) -> None:
        self._fail(reason)
        if not self.closed.done():
            self.closed.set_result(str(reason))
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream._finish(reason)

    def _opened(self, stream_id: int) -> AnswerStream:
        stream = self._streams[stream_id] = AnswerStream(self, stream_id)
        self.flush()
        return stream

    def _still_open(self) -> None:
        if self.closed.done():
            raise SessionClosed(self.closed.result())


async def open_session(
    target: Target,
    *,
    server_key: MachineKey,
    machine_key: PrivateKey,
    version: int,
    stream_window_bytes: int = core.GO_STREAM_WINDOW_BYTES,
) -> Session:
    """Dial, upgrade and shake hands; raises UpgradeRefused, SessionClosed or OSError."""
    connection = ClientConnection(
        server_key,
        version=version,
        static=load_key(machine_key),
        ephemeral=generate_key(),
        stream_window_bytes=stream_window_bytes,
    )
    async with asyncio.timeout(DIAL_SECONDS):
        _, session = await asyncio.get_running_loop().create_connection(
            lambda: Session(connection), target.host, target.port, ssl=target.tls
        )
        session.raw(upgrade_request(target.host, connection.initiation))
        try:
            await asyncio.shield(session.established)
        except BaseException:
            session.cut()
            raise
    session.flush()
    return session


def upgrade_request(host: str, initiation: bytes) -> bytes:
    """The HTTP/1.1 request in which a handshake travels."""
    lines = (
        "POST /ts2021 HTTP/1.1",
        f"Host: {host}",
        f"Upgrade: {UPGRADE}",
        "Connection: upgrade",
        f"X-Tailscale-Handshake: {base64.b64encode(initiation).decode()}",
        "Content-Length: 0",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
