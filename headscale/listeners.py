"""Where a server listens: its HTTP listeners, and STUN on UDP."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from aiohttp import web

from headscale.config import Listen
from headscale.derp.stun import StunProtocol
from headscale.errors import Unavailable
from headscale.proxies import HEADERS, Network, client_of

log = logging.getLogger(__name__)

# What may be sent to the main listener at most; the API has caps of its own.
REQUEST_MAX_BYTES: Final = 64 * 1024
SHUTDOWN_S: Final = 3.0
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
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if opened is not None:
        await web.SockSite(runner, opened, ssl_context=certificate).start()
        return
    try:
        await web.TCPSite(runner, listen.host or None, listen.port, ssl_context=certificate).start()
    except OSError as problem:
        raise _cannot_listen(listen, "tcp", problem) from problem


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
