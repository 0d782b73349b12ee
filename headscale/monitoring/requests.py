"""Counts the requests of the main listener as they end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import hdrs, web

from headscale.clock import Clock
from headscale.counts import HttpCounts

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Their connections live for days and are counted as such elsewhere.
UPGRADES: Final = frozenset({"/ts2021", "/derp"})


def counting(counts: HttpCounts, clock: Clock) -> Any:
    """A middleware. The endpoint is the route, not the path: there are few of those, whatever people ask for."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        endpoint = _endpoint(request)
        is_upgrade = endpoint in UPGRADES and hdrs.UPGRADE in request.headers
        began = clock.monotonic()
        counts.in_flight += not is_upgrade
        status, aborted = 500, "false"
        try:
            answer = await handler(request)
            status = answer.status
            return answer
        except web.HTTPException as problem:
            status = problem.status
            raise
        except (asyncio.CancelledError, ConnectionError):
            # An upgrade that was made ends so; anything else is a client that did not wait.
            status, aborted = (101, "false") if is_upgrade else (499, "true")
            raise
        finally:
            counts.in_flight -= not is_upgrade
            protocol = f"HTTP/{request.version.major}.{request.version.minor}"
            counts.requests[str(status), endpoint, protocol, aborted] += 1
            if not is_upgrade:
                counts.done(endpoint, clock.monotonic() - began)

    return count


def _endpoint(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
