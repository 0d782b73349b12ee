"""What carries a DERP client's bytes: a connection taken over from aiohttp, or a WebSocket."""

import asyncio
from typing import Final, Protocol

from aiohttp import web

from headscale.clock import Clock
from headscale.derp.relay import STALL_LIMIT, Relay
from headscale.derp.routing import ConnectionId
from headscale.takeover import TakenOver

WRITE_BYTES: Final = 32 * 1024  # taken from the relay at once
# A Go client ends a WebSocket that brings a longer message (seen with 1.102.4: "read limited at 32769 bytes").
MESSAGE_BYTES: Final = 32 * 1024
# Kept for a WebSocket beside what its transport buffers: two full reads (256 KiB in asyncio) of other clients
# can be meant for it before its task runs, and would push themselves out of the relay's queue.
PENDING_BYTES: Final = 512 * 1024


class Link(Protocol):
    """One client's connection, whatever carries it."""

    @property
    def source(self) -> str:
        """The client's address."""

    def flush(self) -> None:
        """Send what waits in the relay, as far as the client reads."""

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""

    def resume_reading(self) -> None:
        """Take bytes from the client again."""

    def abort(self) -> None:
        """End the connection now."""


class RawLink:
    """DERP on a connection taken over from aiohttp."""

    protocol: TakenOver

    def __init__(self, relay: Relay, connection: ConnectionId, clock: Clock, *, source: str) -> None:
        self.source = source
        self._relay = relay
        self._connection = connection
        self._clock = clock

    def flush(self) -> None:
        while self.protocol.writable and (data := self._relay.take(self._connection, WRITE_BYTES)):
            self.protocol.write(data)

    def on_pause(self) -> None:
        self._relay.stall(self._connection, now=self._clock.monotonic())

    def on_resume(self) -> None:
        self._relay.unstall(self._connection)
        self.flush()

    def pause_reading(self) -> None:
        self.protocol.pause_reading()

    def resume_reading(self) -> None:
        self.protocol.resume_reading()

    def abort(self) -> None:
        self.protocol.abort()


class WebSocketLink:
    """DERP in the binary messages of a WebSocket."""

    def __init__(
        self, relay: Relay, connection: ConnectionId, request: web.Request, socket: web.WebSocketResponse
    ) -> None:
        self.source = request.remote or ""
        self._relay = relay
        self._connection = connection
        self._transport = request.transport
        self._socket = socket
        self._pending = bytearray()
        self._output = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()

    async def may_read(self) -> bool:
        """Wait while reading is paused; always true."""
        return await self._readable.wait()

    async def write(self) -> None:
        """Send what the relay has, for as long as the client reads."""
        try:
            while await self._output.wait():
                self._output.clear()
                while self._pending:
                    message = bytes(self._pending[:MESSAGE_BYTES])
                    del self._pending[:MESSAGE_BYTES]
                    async with asyncio.timeout(STALL_LIMIT):
                        await self._socket.send_bytes(message)
                    self.flush()
        except (TimeoutError, ConnectionError):
            self.abort()

    def flush(self) -> None:
        while len(self._pending) < PENDING_BYTES and (
            data := self._relay.take(self._connection, WRITE_BYTES)
        ):
            self._pending += data
        self._output.set()

    def pause_reading(self) -> None:
        self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def abort(self) -> None:
        self._readable.set()
        if self._transport is not None:
            self._transport.abort()
