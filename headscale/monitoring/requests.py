"""Counts the requests of the main listener as they end, and logs them: at debug, those that we failed as warnings."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import hdrs, web

from headscale import logs
from headscale.clock import Clock
from headscale.counts import HttpCounts

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: Final = "X-Request-Id"
# From this status on it is our fault.
FAILED: Final = 500
# Their connections live for days and are counted as such elsewhere.
UPGRADES: Final = frozenset({"/ts2021", "/derp"})


def counting(counts: HttpCounts, clock: Clock) -> Any:
    """A middleware. The endpoint is the route, not the path: there are few of those, whatever people ask for.

    Each request has an id, which its answer names and all lines that are logged for it.
    """

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        endpoint = _endpoint(request)
        is_upgrade = endpoint in UPGRADES and hdrs.UPGRADE in request.headers
        began = clock.monotonic()
        counts.in_flight += not is_upgrade
        status, aborted = 500, "false"
        with logs.about(request=secrets.token_hex(6)) as known:
            try:
                answer = await handler(request)
                status = answer.status
                if not answer.prepared:
                    answer.headers[REQUEST_ID] = known["request"]
                return answer
            except web.HTTPException as problem:
                status = problem.status
                problem.headers[REQUEST_ID] = known["request"]
                raise
            except (asyncio.CancelledError, ConnectionError):
                # An upgrade that was made ends so; anything else is a client that did not wait.
                status, aborted = (101, "false") if is_upgrade else (499, "true")
                raise
            finally:
                counts.in_flight -= not is_upgrade
                took = clock.monotonic() - began
                protocol = f"HTTP/{request.version.major}.{request.version.minor}"
                counts.requests[str(status), endpoint, protocol, aborted] += 1
                if not is_upgrade:
                    counts.done(endpoint, took)
                log.log(
                    logging.DEBUG if status < FAILED else logging.WARNING,
                    "request method=%s path=%s status=%d seconds=%.4f remote=%s",
                    *(request.method, endpoint, status, took, request.remote),
                )

    return count


def _endpoint(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
