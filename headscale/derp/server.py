"""The shell of the embedded relay: DERP over an upgraded HTTP connection or a WebSocket, and its helpers.

Moves bytes between aiohttp and `Relay`, asks whether a key may use the relay, keeps the time. The routes may
stand on the main listener (when it has TLS) or on one of their own; Go clients reach a relay by TLS only.
Source: tailscale v1.102.4, derp/derpserver/handler.go, derp/derpserver/websocket.go.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import WSMsgType, web

from headscale.clock import Clock
from headscale.counts import RelayCounts
from headscale.derp.bootstrap import BootstrapDns, resolve_host
from headscale.derp.frames import PROTOCOL_VERSION
from headscale.derp.links import WRITE_BYTES, Link, RawLink, WebSocketLink
from headscale.derp.probes import generate_204, probe
from headscale.derp.relay import (
    FINISHED,
    AdmissionAsked,
    Event,
    Finished,
    Output,
    Relay,
)
from headscale.derp.routing import ConnectionId
from headscale.keys import NodeKey, PrivateKey
from headscale.takeover import TakenOver, take_over

log = logging.getLogger(__name__)

# Whether this key, connecting from this address, may use the relay.
Admit = Callable[[NodeKey, str], Awaitable[bool]]

WEBSOCKET_PROTOCOL: Final = "derp"
TICK: Final = 1.0  # seconds; the relay's time limits are this precise
MAX_MESSAGE_BYTES: Final = 512 * 1024  # of a WebSocket; the largest frame that a client may send has half


class DerpServer:
    """The relay and everyone connected to it.

    `admit` decides about each login and has `headscale.derp.relay.LOGIN_LIMIT` seconds for it; an exception
    from it counts as no. `bootstrap_hosts` are the names that `/bootstrap-dns` resolves.
    """

    def __init__(
        self,
        private: PrivateKey,
        clock: Clock,
        admit: Admit,
        *,
        bootstrap_hosts: Callable[[], Iterable[str]] = tuple,
        counts: RelayCounts | None = None,
    ) -> None:
        self._clock = clock
        self._admit = admit
        self._counts = counts or RelayCounts()
        self._relay = Relay(
            private, random_bytes=secrets.token_bytes, jitter=random.random, counts=self._counts
        )
        self._bootstrap = BootstrapDns(bootstrap_hosts, clock, resolve_host)
        self._links: dict[ConnectionId, Link] = {}
        self._asking: dict[ConnectionId, asyncio.Task[None]] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._head = (
            "HTTP/1.1 101 Switching Protocols\r\n"
            "Upgrade: DERP\r\n"
            "Connection: Upgrade\r\n"
            f"Derp-Version: {PROTOCOL_VERSION}\r\n"
            f"Derp-Public-Key: {private.public.hex()}\r\n\r\n"
        ).encode()

    def routes(self) -> list[web.RouteDef]:
        """What to mount, at the root of a host."""
        return [
            web.route("*", "/derp", self._derp),
            web.route("*", "/derp/probe", probe),
            web.route("*", "/derp/latency-check", probe),
            web.route("*", "/generate_204", generate_204),
            web.get("/bootstrap-dns", self._bootstrap_dns),
        ]

    @property
    def connections(self) -> int:
        """How many clients are connected, those that log in included."""
        return len(self._relay)

    @property
    def clients(self) -> int:
        """How many of them are served."""
        return self._relay.clients

    @property
    def waiting(self) -> int:
        """How many packets wait to be sent to clients."""
        return self._relay.waiting

    def evict(self, key: NodeKey) -> None:
        """Disconnect a node that may no longer use the relay."""
        self._apply(self._relay.evict(key))

    async def close(self) -> None:
        """Disconnect everyone and end our tasks; before the listener's own shutdown, which would wait."""
        for connection in list(self._links):
            self._drop(connection)
        if self._ticker is not None:
            self._ticker.cancel()
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _derp(self, request: web.Request) -> web.StreamResponse:
        """`Upgrade: websocket` without our subprotocol is an ancient client that speaks plain DERP."""
        upgrade = request.headers.get("Upgrade", "").lower()
        if upgrade == "websocket" and WEBSOCKET_PROTOCOL in _subprotocols(request):
            return await self._serve_websocket(request)
        if upgrade in ("derp", "websocket"):
            return await self._serve_raw(request)
        return web.Response(
            status=426, text="DERP requires connection upgrade\n", headers={"Upgrade": "DERP"}
        )

    async def _serve_raw(self, request: web.Request) -> web.StreamResponse:
        connection = self._relay.open(now=self._now())
        link = RawLink(self._relay, connection, self._clock, source=request.remote or "")
        protocol = TakenOver(
            lambda data: self._received(connection, data), on_pause=link.on_pause, on_resume=link.on_resume
        )
        link.protocol = protocol
        self._register(connection, link)
        try:
            return await take_over(request, self._head + self._relay.take(connection, WRITE_BYTES), protocol)
        finally:
            self._drop(connection)

    async def _serve_websocket(self, request: web.Request) -> web.StreamResponse:
        """Message boundaries carry no meaning; anything but a binary message ends the connection."""
        socket = web.WebSocketResponse(
            protocols=(WEBSOCKET_PROTOCOL,), compress=False, max_msg_size=MAX_MESSAGE_BYTES
        )
        await socket.prepare(request)
        connection = self._relay.open(now=self._now())
        link = WebSocketLink(self._relay, connection, request, socket)
        self._register(connection, link)
        link.flush()
        writer = asyncio.create_task(link.write())
        try:
            while await link.may_read() and (message := await socket.receive()).type is WSMsgType.BINARY:
                self._received(connection, message.data)
        finally:
            self._drop(connection)
            writer.cancel()
        return socket

    def _register(self, connection: ConnectionId, link: Link) -> None:
        self._links[connection] = link
        if self._ticker is None:
            self._ticker = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _received(self, connection: ConnectionId, data: bytes) -> None:
        self._apply(self._relay.receive(connection, data, now=self._now()))

    def _apply(self, events: Iterable[Event]) -> None:
        """Do what the relay says, each event before the next is asked for."""
        for event in events:
            link = self._links.get(event.connection)
            match event:
                case Output() if link is not None:
                    link.flush()
                case AdmissionAsked(connection, key) if link is not None:
                    link.pause_reading()
                    self._asking[connection] = asyncio.create_task(self._ask(connection, key, link))
                case Finished(connection, reason):
                    self._counts.finished[_kind_of(reason)] += 1
                    log.debug("derp connection finished", extra={"connection": connection, "reason": reason})
                    self._drop(connection)

    async def _ask(self, connection: ConnectionId, key: NodeKey, link: Link) -> None:
        """Ask for admission and act on the answer; the relay's login limit drops whoever waits too long."""
        try:
            admitted = await self._admit(key, link.source)
        except Exception:
            log.exception("derp admission failed", extra={"connection": connection})
            admitted = False
        finally:
            self._asking.pop(connection, None)
        if admitted:
            self._apply(self._relay.admit(connection, now=self._now()))
            link.resume_reading()
        else:
            self._counts.finished["refused"] += 1
            log.info("derp client refused", extra={"connection": connection, "source": link.source})
            self._drop(connection)

    def _drop(self, connection: ConnectionId) -> None:
        """Forget a connection that has ended or must; a no-op the second time."""
        link = self._links.pop(connection, None)
        if (task := self._asking.pop(connection, None)) is not None:
            task.cancel()
        if link is not None:
            link.abort()
        self._apply(self._relay.close(connection))

    def _tick(self) -> None:
        self._ticker = None
        self._apply(self._relay.tick(now=self._now()))
        if self._links:
            self._ticker = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _now(self) -> float:
        return self._clock.monotonic()

    async def _bootstrap_dns(self, _request: web.Request) -> web.Response:
        return web.json_response(await self._bootstrap.answer())


def _kind_of(reason: str) -> str:
    """The relay's reason as one of few: what a client did wrong may be told in any words."""
    return reason if reason in FINISHED else "bad frame"


def _subprotocols(request: web.Request) -> list[str]:
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    return [name.strip() for name in offered.split(",")]
