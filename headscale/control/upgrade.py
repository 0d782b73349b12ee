"""`/ts2021` on the outer listener: turns an HTTP request into a ts2021 session.

POST with `Upgrade: tailscale-control-protocol` is the native form, GET with a WebSocket the browser's. The client's
handshake message comes with the request, so a session exists, or is refused, before anything is switched.
Source: tailscale.com v1.102.4, control/controlhttp.
"""

import asyncio
import base64
import binascii
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Final

from aiohttp import web

from headscale.clock import Clock
from headscale.control.tunnel import ControlTunnel, Handler
from headscale.control.turnstile import Turnstile
from headscale.control.websocket import (
    HANDSHAKE_PARAMETER,
    open_websocket,
    refuse_websocket,
    run_websocket,
)
from headscale.errors import HeadscaleError, Malformed, TooMany, Unavailable
from headscale.keys import KEY_BYTES, ChallengeKey, MachineKey, PrivateKey, challenge_key
from headscale.takeover import TakenOver, take_over
from headscale.ts2021.connection import ServerConnection
from headscale.ts2021.handshake import generate_key, load_key

PATH: Final = "/ts2021"
UPGRADE: Final = "tailscale-control-protocol"
HANDSHAKE_HEADER: Final = "X-Tailscale-Handshake"

# Connections at once of a machine that has not registered. A client has one, and for a moment the one before it.
MAX_OF_A_STRANGER: Final = 8
# In one turn of the event loop: some tens of milliseconds, with what follows them.
HANDSHAKES_AT_ONCE: Final = 16
# How often every connection is looked at for what takes too long: one timer for all of them.
SWEEP_SECONDS: Final = 5.0
# How long a shutdown waits for the last bytes to leave.
SHUTDOWN_SECONDS: Final = 2.0

_SWITCHING: Final = (
    f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {UPGRADE}\r\nConnection: upgrade\r\n\r\n".encode()
)


def _everybody(_: MachineKey) -> bool:
    """Takes every machine for one that has registered."""
    return True


class ControlUpgrade:
    """All ts2021 connections of a server; each request in one becomes a task of `handler`.

    `is_known` says whether a machine has registered: others have a few connections each, since anybody can make a key.
    """

    def __init__(
        self,
        static: PrivateKey,
        clock: Clock,
        handler: Handler,
        *,
        is_known: Callable[[MachineKey], bool] = _everybody,
    ) -> None:
        self._is_known = is_known
        self._by_machine: Counter[MachineKey] = Counter()
        self._static = load_key(static)
        self._clock = clock
        self._handler = handler
        self._tunnels: set[ControlTunnel] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closing = False
        self._stile = Turnstile(HANDSHAKES_AT_ONCE)

    @property
    def connections(self) -> int:
        """How many sessions are open."""
        return len(self._tunnels)

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the outer application."""
        return [web.post(PATH, self._native), web.get(PATH, self._browser, allow_head=False)]

    async def close(self) -> None:
        """Send GOAWAY to all, let it leave, and end every connection."""
        self._closing = True
        for tunnel in list(self._tunnels):
            tunnel.go_away()
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await self._empty.wait()
        except TimeoutError:
            self.abort()
            await self._empty.wait()

    def abort(self) -> None:
        """End every connection now; new ones are taken."""
        for tunnel in list(self._tunnels):
            tunnel.abort()

    async def _native(self, request: web.Request) -> web.StreamResponse:
        try:
            if request.headers.get("Upgrade", "").lower() != UPGRADE:
                raise Malformed(f"missing or unknown upgrade: expected {UPGRADE}")
            initiation = _initiation(request.headers.get(HANDSHAKE_HEADER))
            await self._stile.enter()
            tunnel = self._accept(request, initiation, challenge=_challenge())
        except HeadscaleError as error:
            return _refusal(error)
        protocol = TakenOver(tunnel.on_data, on_pause=tunnel.on_pause, on_resume=tunnel.on_resume)
        tunnel.attach(protocol)
        self._add(tunnel)
        try:
            return await take_over(request, _SWITCHING + tunnel.first_bytes(), protocol)
        finally:
            tunnel.on_lost()
            self._remove(tunnel)

    async def _browser(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return _refusal(Malformed("missing or unknown upgrade: expected websocket"))
        socket = await open_websocket(request)
        try:
            if socket.ws_protocol is None:
                raise Malformed(f"expected the subprotocol {UPGRADE}")
            initiation = _initiation(request.query.get(HANDSHAKE_PARAMETER))
            await self._stile.enter()
            tunnel = self._accept(request, initiation, challenge=None)
        except HeadscaleError as error:
            return await refuse_websocket(socket, str(error))
        self._add(tunnel)
        try:
            await run_websocket(request, socket, tunnel)
        finally:
            self._remove(tunnel)
        return socket

    def _accept(
        self, request: web.Request, initiation: bytes, *, challenge: ChallengeKey | None
    ) -> ControlTunnel:
        if self._closing:
            raise Unavailable("the server is shutting down")
        connection = ServerConnection.accept(
            initiation,
            static=self._static,
            ephemeral=generate_key(),
            now=self._clock.monotonic(),
            challenge=challenge,
        )
        machine = connection.machine_key
        if self._by_machine[machine] >= MAX_OF_A_STRANGER and not self._is_known(machine):
            raise TooMany(f"a machine that has not registered has at most {MAX_OF_A_STRANGER} connections")
        return ControlTunnel(connection, self._handler, clock=self._clock, remote=request.remote or "")

    def _add(self, tunnel: ControlTunnel) -> None:
        self._tunnels.add(tunnel)
        self._by_machine[tunnel.machine_key] += 1
        self._empty.clear()
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _remove(self, tunnel: ControlTunnel) -> None:
        self._tunnels.discard(tunnel)
        self._by_machine[tunnel.machine_key] -= 1
        if self._by_machine[tunnel.machine_key] <= 0:
            del self._by_machine[tunnel.machine_key]
        if not self._tunnels:
            self._empty.set()
            if self._sweeping is not None:
                self._sweeping.cancel()
                self._sweeping = None

    def _sweep(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        for tunnel in list(self._tunnels):
            tunnel.sweep()


def _initiation(text: str | None) -> bytes:
    if not text:
        raise Malformed(f"missing {HANDSHAKE_HEADER}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{HANDSHAKE_HEADER} is not standard base64") from error


def _challenge() -> ChallengeKey:
    """A key that nobody knows the private half of: clients only look whether there is one."""
    return challenge_key(secrets.token_bytes(KEY_BYTES))


def _refusal(error: HeadscaleError) -> web.Response:
    """Say why as plain text, and close the connection."""
    response = web.Response(status=error.status, text=f"{error}\n")
    response.force_close()
    return response
