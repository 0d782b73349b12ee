"""Where a server listens: its HTTP listeners, and STUN on UDP."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from aiohttp import web

from headscale.config.settings import Listen
from headscale.derp.stun import StunProtocol
from headscale.errors import Unavailable
from headscale.proxies import HEADERS, Network, client_of

log = logging.getLogger(__name__)

# What may be sent to the main listener at most; the API has caps of its own.
REQUEST_MAX_BYTES: Final = 64 * 1024
SHUTDOWN_S: Final = 3.0
# From the first packet to the end of the first request's headers, a TLS handshake included.
HEAD_S: Final = 25.0
# A connection on which nothing is asked any more, or the next request does not become one. Proxies keep theirs for
# their own time, which should be the shorter one: nginx 60 s, Caddy 120 s.
KEEP_ALIVE_S: Final = 150.0
BACKLOG: Final = 128
SECURITY_HEADERS: Final = {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def web_app(routes: list[web.RouteDef], *middlewares: Any) -> web.Application:
    """These routes, with answers that browsers treat with care."""
    app = web.Application(client_max_size=REQUEST_MAX_BYTES, middlewares=middlewares)
    app.add_routes(routes)
    return secured(app)


def secured(app: web.Application) -> web.Application:
    """The same application; its answers tell browsers what not to do with them."""
    app.on_response_prepare.append(_secure)
    return app


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)  # a page may say more


def behind(trusted: Sequence[Network]) -> Any:
    """A middleware: requests are from whom trusted proxies say, and handlers see nothing of the headers that say so."""

    @web.middleware
    async def resolved(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> Any:
        said = {name: request.headers.getall(name) for name in HEADERS if name in request.headers}
        if not said and "%" not in (request.remote or ""):
            return await handler(request)
        headers = request.headers.copy()
        for name in said:
            del headers[name]
        remote = client_of(request.remote or "", said, trusted)
        return await handler(request.clone(remote=remote, headers=headers))

    return resolved


async def listen_http(
    stack: AsyncExitStack,
    app: web.Application,
    listen: Listen,
    certificate: ssl.SSLContext | None,
    *,
    opened: socket.socket | None = None,
) -> None:
    """Serve this there, or at a socket that listens already, until the stack unwinds.

    Raises Unavailable when something else listens there.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        handler_cancellation=True,
        auto_decompress=False,  # no client of ours compresses a body, and so nobody can send a bomb
        keepalive_timeout=KEEP_ALIVE_S,
    )
    newcomers = _Newcomers(runner)
    app.middlewares.insert(0, newcomers.arrived)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    where: dict[str, Any] = (
        {"sock": opened} if opened is not None else {"host": listen.host or None, "port": listen.port}
    )
    if certificate is not None:
        where |= {"ssl": certificate, "ssl_handshake_timeout": HEAD_S}
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(newcomers, backlog=BACKLOG, **where)
    except OSError as problem:
        raise _cannot_listen(listen, "tcp", problem) from problem
    stack.callback(server.close)


class _Newcomers:
    """Makes the protocols of a listener's connections, and ends those whose first request does not arrive in time.

    aiohttp (3.14.5) waits for it as long as somebody likes: its only limit is for what follows an answer.
    """

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._waiting: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def __call__(self) -> asyncio.Protocol:
        if self._runner.server is None:
            raise RuntimeError("the runner has not been set up")
        protocol = self._runner.server()
        loop = asyncio.get_running_loop()
        self._waiting[protocol] = loop.call_later(HEAD_S, self._give_up, protocol)
        return protocol

    @web.middleware
    async def arrived(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """The middleware that comes before all others: the request's connection has one."""
        if (timer := self._waiting.pop(request.protocol, None)) is not None:
            timer.cancel()
        return await handler(request)

    def _give_up(self, protocol: web.RequestHandler) -> None:
        self._waiting.pop(protocol, None)
        if (
            protocol.transport is not None
        ):  # before the end of a TLS handshake there is none, and asyncio has its limit
            protocol.transport.abort()


async def listen_stun(stack: AsyncExitStack, listen: Listen) -> None:
    """One socket for each family, so that nobody's IPv4 address is reported in its IPv6 form."""
    everywhere = ["0.0.0.0", "::"] if socket.has_ipv6 else ["0.0.0.0"]  # noqa: S104
    loop = asyncio.get_running_loop()
    for host in [listen.host] if listen.host else everywhere:
        try:
            transport, _ = await loop.create_datagram_endpoint(
                StunProtocol, sock=_udp_socket(host, listen.port)
            )
        except OSError as problem:
            if host == "::" and not listen.host:
                log.info("no STUN over IPv6: %s", problem.strerror)
                continue
            raise _cannot_listen(listen, "udp", problem) from problem
        stack.callback(transport.close)


def _udp_socket(host: str, port: int) -> socket.socket:
    """A bound socket of the host's family alone; the host is an address or a name."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    udp = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.setblocking(False)
        udp.bind(address)
    except OSError:
        udp.close()
        raise
    return udp


def _cannot_listen(listen: Listen, protocol: str, problem: OSError) -> Unavailable:
    where = f"{listen.host or '*'}:{listen.port}/{protocol}"
    return Unavailable(
        f"cannot listen on {where}: {problem.strerror or problem}. Stop what uses it, or choose another address"
    )
