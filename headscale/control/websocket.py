"""ts2021 over WebSocket, for clients that live in a browser: a byte stream in binary messages.

Message boundaries carry no meaning. What is not ours ends with close code 1008.
Source: tailscale.com v1.102.4, control/controlhttp/controlhttpserver.
"""

import asyncio
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from headscale.control.tunnel import ControlTunnel
from headscale.takeover import HIGH_WATER_BYTES, notice_silence

SUBPROTOCOL: Final = "tailscale-control-protocol"
HANDSHAKE_PARAMETER: Final = "X-Tailscale-Handshake"

# Clients write records of at most 4 KiB, a few to a message.
MAX_MESSAGE_BYTES: Final = 256 * 1024
# Browsers never ping by themselves; a peer may to keep a proxy awake.
MAX_PINGS: Final = 100
# How long a peer may take to answer a close frame (the whole bar is 10 s).
CLOSE_SECONDS: Final = 5.0


async def open_websocket(request: web.Request) -> web.WebSocketResponse:
    """Accept with our subprotocol if it was offered, from any origin, without compression."""
    socket = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,),
        compress=False,
        autoping=False,
        max_msg_size=MAX_MESSAGE_BYTES,
        timeout=CLOSE_SECONDS,
    )
    await socket.prepare(request)
    if request.transport is not None:
        notice_silence(request.transport)
    return socket


async def refuse_websocket(socket: web.WebSocketResponse, reason: str) -> web.WebSocketResponse:
    """Close with 1008 and a reason of at most 123 bytes."""
    await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=reason.encode()[:123])
    return socket


async def run_websocket(request: web.Request, socket: web.WebSocketResponse, tunnel: ControlTunnel) -> None:
    """Pump both ways until the socket or the session ends."""
    wire = _WebSocketWire(request, socket, tunnel)
    tunnel.attach(wire)
    wire.write(tunnel.first_bytes())
    sending = asyncio.get_running_loop().create_task(wire.run())
    try:
        await _receive(socket, tunnel)
    finally:
        tunnel.on_lost()
        sending.cancel()


async def _receive(socket: web.WebSocketResponse, tunnel: ControlTunnel) -> None:
    pings = 0
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            tunnel.on_data(message.data)
        elif message.type is WSMsgType.PING and pings < MAX_PINGS:
            pings += 1
            await socket.pong(message.data)
        elif message.type is not WSMsgType.PONG:
            await refuse_websocket(socket, "only binary messages, and few pings")


class _WebSocketWire:
    """A Wire over `send_bytes`, which waits; so bytes are handed to a task, and counted until they are gone."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, tunnel: ControlTunnel) -> None:
        self._transport = request.transport
        self._socket = socket
        self._tunnel = tunnel
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_bytes = 0

    @property
    def writable(self) -> bool:
        """Whether fewer than HIGH_WATER_BYTES wait."""
        return self._waiting_bytes < HIGH_WATER_BYTES

    def write(self, data: bytes) -> None:
        """Send one binary message."""
        if data:
            was_writable = self.writable
            self._waiting_bytes += len(data)
            self._queue.put_nowait(data)
            if was_writable and not self.writable:
                self._tunnel.on_pause()

    def close(self) -> None:
        """End after what was written."""
        self._queue.put_nowait(None)

    def abort(self) -> None:
        """End now."""
        if self._transport is not None:
            self._transport.abort()

    async def run(self) -> None:
        """Send what is written, in order, until `close`."""
        try:
            while (data := await self._queue.get()) is not None:
                await self._socket.send_bytes(data)
                was_writable = self.writable
                self._waiting_bytes -= len(data)
                if self.writable and not was_writable:
                    self._tunnel.on_resume()
            await self._socket.close(code=WSCloseCode.GOING_AWAY)
        except ConnectionError:
            self.abort()
