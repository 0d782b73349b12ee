"""Which handler a request inside a session goes to, and how its refusals become status codes."""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from headscale import logs
from headscale.control.exchange import TEXT_TYPE, Exchange
from headscale.errors import HeadscaleError

log = logging.getLogger(__name__)

Handler = Callable[[Exchange], Awaitable[None]]

# What current clients may ask and this server does not offer, unless it has a handler for it. They show the text, or
# log it and go on; where one ends in a slash everything below it is meant.
NOT_OFFERED: Final[Mapping[str, str]] = {
    "/machine/id-token": "this server issues no ID tokens: it is no OpenID Connect issuer",
    "/machine/set-dns": "this server publishes no DNS records, so that there are no certificates for nodes "
    "(dns.certificates is not set up)",
    "/machine/tka/": "this server has no tailnet lock",
    "/machine/webclient/": "this server opens no web client sessions: use `tailscale web` on the device itself",
}


class Dispatcher:
    """Routes by method and path; the host is not looked at, because clients put anything there.

    A path that ends in a slash stands for everything below it.
    """

    def __init__(self, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._handlers = handlers
        self._below = tuple(path for _, path in handlers if path.endswith("/"))

    async def __call__(self, exchange: Exchange) -> None:
        """Answer; logs each request when it is over, at debug, with its node where that became known."""
        path, began = self._route(exchange.path), time.monotonic()
        with logs.about(request=secrets.token_hex(6)):
            try:
                await self._answer(exchange, path)
            finally:
                log.debug(
                    "request method=%s path=%s status=%s seconds=%.4f remote=%s",
                    exchange.method,
                    path if self._is_known(path) else "unknown",
                    *(exchange.status, time.monotonic() - began, exchange.remote),
                )

    async def _answer(self, exchange: Exchange, path: str) -> None:
        handler = self._handlers.get((exchange.method, path))
        if handler is None:
            await self._refuse(exchange, path)
            return
        try:
            await handler(exchange)
        except HeadscaleError as problem:
            if not exchange.started:
                await exchange.respond(problem.status, f"{problem}\n".encode(), content_type=TEXT_TYPE)
        except Exception:
            log.exception("request failed path=%s", exchange.path)
            if not exchange.started:
                await exchange.respond(500, b"internal error\n", content_type=TEXT_TYPE)

    def _route(self, path: str) -> str:
        return next((prefix for prefix in self._below if path.startswith(prefix)), path)

    def _is_known(self, path: str) -> bool:
        return any(path == known for _, known in self._handlers)

    async def _refuse(self, exchange: Exchange, path: str) -> None:
        is_known = self._is_known(path)
        for not_offered, why in NOT_OFFERED.items():
            if is_known:
                break
            if path == not_offered or (not_offered.endswith("/") and path.startswith(not_offered)):
                await exchange.respond(501, f"{why}\n".encode(), content_type=TEXT_TYPE)
                return
        status = 405 if is_known else 404
        text = f"no {exchange.method} {exchange.path} here\n"
        await exchange.respond(status, text.encode(), content_type=TEXT_TYPE)
