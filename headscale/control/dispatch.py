"""Which handler a request inside a session goes to, and how its refusals become status codes."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from headscale.control.exchange import TEXT_TYPE, Exchange
from headscale.errors import HeadscaleError

log = logging.getLogger(__name__)

Handler = Callable[[Exchange], Awaitable[None]]

# What current clients may ask and this server does not do yet; they log the answer and go on.
NOT_DONE: Final = frozenset(
    {
        "/machine/set-dns",
        "/machine/id-token",
        "/machine/feature/query",
        "/machine/update-health",
        "/machine/audit-log",
        "/machine/set-device-attr",
        "/machine/whoami",
    }
)


class Dispatcher:
    """Routes by method and path; the host is not looked at, because clients put anything there."""

    def __init__(self, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._handlers = handlers

    async def __call__(self, exchange: Exchange) -> None:
        handler = self._handlers.get((exchange.method, exchange.path))
        if handler is None:
            known = any(path == exchange.path for _, path in self._handlers)
            status = 405 if known else 501 if exchange.path in NOT_DONE else 404
            await exchange.respond(
                status, f"no {exchange.method} {exchange.path} here\n".encode(), content_type=TEXT_TYPE
            )
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
