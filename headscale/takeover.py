"""Takes a connection away from aiohttp, for the two upgrades that are not WebSocket: ts2021 and DERP.

aiohttp's parser knows one upgrade, WebSocket; a request with any other `Upgrade` reaches its handler as an
ordinary request. The handler then calls `take_over`, which puts its own protocol on the transport, writes
the answer that switches protocols, and returns when the connection has ended. Works on plain TCP and TLS.

What aiohttp (3.14.5, web_protocol.py) does to such a connection, and why none of it bites:
- its keep-alive timer only closes a connection whose handler is not running; we cancel the timer as well;
- its lingering close happens after a response was written; ours never is, because by then there is no
  transport, which aiohttp treats as a client that went away;
- it forgets a connection in `connection_lost`, so we pass that on to the protocol we replaced;
- its shutdown closes the transport and cancels the handler; both end the connection here.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final

from aiohttp import web

# Above this many unsent bytes the owner is told to stop; asyncio's default, written down because the owners'
# own limits (a queue per DERP client, a window per map stream) add up with it.
HIGH_WATER_BYTES: Final = 64 * 1024

# How long a peer may leave what we sent unacknowledged: longer than a phone takes between two networks.
UNACKED_MS: Final = 75_000
KEEP_ALIVE_S: Final = 60
KEEP_ALIVE_PROBES: Final = 4
# What the kernel takes beyond what is on its way: by default it is megabytes, in which a client that reads nothing
# would go unnoticed (docs/testing/faults.md, F12). What is on its way is bounded by the client's window.
UNSENT_BYTES: Final = 64 * 1024
# Linux's number; Python has a name for it from 3.12 on.
_TCP_NOTSENT_LOWAT: Final = 25


def _ignore() -> None:
    """Stands for a callback that the owner does not need."""


class TakenOver(asyncio.Protocol):
    """The raw connection, as its new owner sees it.

    `on_data(data)` gets every byte that follows the request, in order, never empty. An exception from it is a
    bug: asyncio logs it and closes the connection.
    `on_pause()` and `on_resume()` say that more than HIGH_WATER_BYTES wait to be sent, and that they no
    longer do; `writable` says the same as a value and `drain()` waits for it.
    `closed` is done when the connection has ended, for whatever reason; it never holds an exception. Await it
    shielded. Nothing is called back after it, and writing is then a no-op.
    """

    def __init__(
        self,
        on_data: Callable[[bytes], None],
        *,
        on_pause: Callable[[], None] = _ignore,
        on_resume: Callable[[], None] = _ignore,
    ) -> None:
        self.closed: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._on_data = on_data
        self._on_pause = on_pause
        self._on_resume = on_resume
        self._transport: asyncio.Transport | None = None
        self._replaced: asyncio.BaseProtocol | None = None
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def writable(self) -> bool:
        """Whether the peer keeps up: fewer than HIGH_WATER_BYTES wait to be sent."""
        return self._drained.is_set()

    def write(self, data: bytes) -> None:
        """Send these bytes after all earlier ones; a no-op once the connection is closing."""
        if (transport := self._open()) is not None:
            transport.write(data)

    async def drain(self) -> None:
        """Wait until `writable`; returns at once when the connection has ended."""
        await self._drained.wait()

    def pause_reading(self) -> None:
        """Take no more bytes from the peer for now, so that it feels the back-pressure."""
        if (transport := self._open()) is not None and transport.is_reading():
            transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes from the peer again."""
        if (transport := self._open()) is not None and not transport.is_reading():
            transport.resume_reading()

    def close(self) -> None:
        """End the connection after what was written has been sent; a peer that does not read can delay it."""
        if (transport := self._open()) is not None:
            transport.close()

    def abort(self) -> None:
        """End the connection now and drop what was not sent."""
        if self._transport is not None:
            self._transport.abort()

    def _open(self) -> asyncio.Transport | None:
        """The transport unless it is closing: a closing TLS transport (CPython 3.11) must not be touched."""
        return None if self._transport is None or self._transport.is_closing() else self._transport

    def attach(self, transport: asyncio.Transport, *, head: bytes, early: bytes) -> None:
        """Become the transport's protocol, send the head, and hand over the bytes that came too early."""
        self._replaced = transport.get_protocol()
        self._transport = transport
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        notice_silence(transport)
        keep_little_unsent(transport)
        self.resume_reading()
        transport.write(head)
        if early:
            self._on_data(early)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._on_data(data)

    def pause_writing(self) -> None:
        """asyncio: too much waits to be sent."""
        self._drained.clear()
        self._on_pause()

    def resume_writing(self) -> None:
        """asyncio: little enough waits to be sent."""
        self._drained.set()
        self._on_resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection ended; aiohttp hears it too, or it would remember it for ever."""
        self._transport = None
        self._drained.set()
        if isinstance(self._replaced, asyncio.Protocol):
            self._replaced.connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)


def notice_silence(transport: asyncio.BaseTransport) -> None:
    """Have the kernel end the connection when the peer is gone without a word (a cable, a battery, a NAT).

    What we send is to be acknowledged within UNACKED_MS; map streams and relayed clients are sent something once a
    minute, so that they are missed at the latest a minute and UNACKED_MS after they went. TCP keep-alives do the same
    for a connection on which nobody says anything.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_USER_TIMEOUT", UNACKED_MS),
        ("TCP_KEEPIDLE", KEEP_ALIVE_S),
        ("TCP_KEEPINTVL", KEEP_ALIVE_S // KEEP_ALIVE_PROBES),
        ("TCP_KEEPCNT", KEEP_ALIVE_PROBES),
    ):
        if hasattr(socket, option):  # Linux has them all
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def keep_little_unsent(transport: asyncio.BaseTransport) -> None:
    """Have the kernel take no more than UNSENT_BYTES that it cannot send yet, so that back-pressure is felt soon."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    if sys.platform == "linux":
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)


async def take_over(request: web.Request, head: bytes, protocol: TakenOver) -> web.StreamResponse:
    """Run `protocol` on the request's connection until it ends; for a handler to return the result of.

    `head` is the whole answer, status line to blank line (and may hold the first bytes after it).

    No client of ours sends anything behind its request before it has our answer (tailscale v1.102.4
    control/controlhttp, derp/derphttp). Should one: behind `Upgrade: websocket` aiohttp keeps the bytes and they
    are carried over; behind any other upgrade its parser drops those of the same segment and parses later ones
    as the next request. Where the latter shows, and for a request with a body, the answer is 400.
    A cancelled handler aborts the connection.
    """
    aiohttp_protocol = request.protocol
    transport = request.transport
    if request.can_read_body or aiohttp_protocol._messages:
        raise web.HTTPBadRequest(text="nothing may follow an upgrade request before its answer\n")
    if transport is not None and not transport.is_closing():
        early, aiohttp_protocol._message_tail = aiohttp_protocol._message_tail, b""
        aiohttp_protocol.keep_alive(False)
        if aiohttp_protocol.writing_paused:  # by the answer to an earlier request; only aiohttp was told
            protocol.pause_writing()
        protocol.attach(transport, head=head, early=early)
        try:
            await asyncio.shield(protocol.closed)
        except asyncio.CancelledError:
            protocol.abort()
            raise
    return web.Response(status=101)
