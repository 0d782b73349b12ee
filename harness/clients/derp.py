"""A DERP client for tests: a core without I/O, and a thin TCP or TLS shell around it.

It shares frame layout and boxes with the server; that those are right was shown with Go's own client
(docs/derp.md). It can send any bytes, so it can misbehave as well.
"""

import asyncio
import secrets
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from headscale.derp import boxes
from headscale.derp.frames import (
    SERVER_RULES,
    Frame,
    FrameDecoder,
    FrameType,
    encode,
    packet_frame,
    parse_packet,
    parse_peer_gone,
    parse_server_key,
)
from headscale.keys import NodeKey, PrivateKey, node_key

UPGRADE_REQUEST: Final = b"GET /derp HTTP/1.1\r\nHost: derp\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"
READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server sent its ServerInfo: it proved its key and admitted us."""

    version: int


@dataclass(frozen=True, slots=True)
class Received:
    """A packet of a peer."""

    source: NodeKey
    packet: bytes


@dataclass(frozen=True, slots=True)
class PeerGone:
    """A peer that cannot be reached through this relay; the reason as its number on the wire."""

    peer: NodeKey
    reason: int


@dataclass(frozen=True, slots=True)
class Other:
    """Any other frame, such as a keep-alive or a pong."""

    frame: Frame


Event = LoggedIn | Received | PeerGone | Other


class DerpSession:
    """The client's side of DERP, no I/O: feed it what came after the upgrade, send what `to_send` gives."""

    def __init__(self, private: PrivateKey) -> None:
        self.key: Final = node_key(private.public)
        self._private = private
        self._server: bytes | None = None
        self._decoder = FrameDecoder(SERVER_RULES)
        self._outgoing = bytearray()

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes mean; raises Malformed for what is not DERP."""
        self._decoder.feed(data)
        events: list[Event] = []
        while (frame := self._decoder.next_frame()) is not None:
            if (event := self._handle(frame)) is not None:
                events.append(event)
        return events

    def send(self, peer: NodeKey, packet: bytes) -> None:
        """Queue a packet for a peer."""
        self._outgoing += packet_frame(FrameType.SEND_PACKET, peer, packet)

    def send_frame(self, kind: FrameType, payload: bytes) -> None:
        """Queue any frame."""
        self._outgoing += encode(kind, payload)

    def to_send(self) -> bytes:
        """What was queued since the last call."""
        data, self._outgoing = bytes(self._outgoing), bytearray()
        return data

    def _handle(self, frame: Frame) -> Event | None:
        match frame.type:
            case FrameType.SERVER_KEY:
                self._server = parse_server_key(frame.payload)
                nonce = secrets.token_bytes(boxes.NONCE_BYTES)
                info = boxes.seal_client_info(self._private, self._server, nonce=nonce)
                self.send_frame(FrameType.CLIENT_INFO, info)
                return None
            case FrameType.SERVER_INFO if self._server is not None:
                return LoggedIn(boxes.open_server_info(frame.payload, self._private, self._server).version)
            case FrameType.RECV_PACKET:
                return Received(*parse_packet(frame.payload))
            case FrameType.PEER_GONE:
                return PeerGone(*parse_peer_gone(frame.payload))
            case _:
                return Other(frame)


class DerpClient:
    """A session over TCP or TLS. `receive` gives events in order; None says that the server closed."""

    def __init__(
        self, session: DerpSession, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.session: Final = session
        self._reader = reader
        self._writer = writer
        self._events: list[Event] = []

    @classmethod
    async def open(
        cls,
        private: PrivateKey,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        request: bytes = UPGRADE_REQUEST,
    ) -> Self:
        """Connect and upgrade, but do not log in yet; raises ConnectionError for any answer but 101."""
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            writer.close()
            raise ConnectionError(f"the server did not switch to DERP: {head[:200]!r}")
        return cls(DerpSession(private), reader, writer)

    @classmethod
    async def login(
        cls, private: PrivateKey, host: str, port: int, *, tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect and log in; raises ConnectionError when the server closes instead."""
        client = await cls.open(private, host, port, tls=tls)
        if not isinstance(await client.receive(), LoggedIn):
            await client.close()
            raise ConnectionError("the relay refused the login")
        return client

    @property
    def key(self) -> NodeKey:
        """The node key that this client proves."""
        return self.session.key

    async def receive(self) -> Event | None:
        """The next event; None when the server has closed the connection."""
        while not self._events:
            try:
                data = await self._reader.read(READ_BYTES)
            except (ConnectionError, ssl.SSLError):
                return None
            if not data:
                return None
            self._events = self.session.receive(data)
            with suppress(ConnectionError):
                await self._flush()
        return self._events.pop(0)

    async def send(self, peer: NodeKey, packet: bytes) -> None:
        """Send a packet to a peer."""
        self.session.send(peer, packet)
        await self._flush()

    async def send_frame(self, kind: FrameType, payload: bytes) -> None:
        """Send any frame."""
        self.session.send_frame(kind, payload)
        await self._flush()

    async def send_raw(self, data: bytes) -> None:
        """Send any bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Disconnect."""
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self._writer.wait_closed()

    async def _flush(self) -> None:
        if data := self.session.to_send():
            await self.send_raw(data)
