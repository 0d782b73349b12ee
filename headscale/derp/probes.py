"""The small answers that stand beside a relay: latency probes and the captive portal check.

Source: tailscale v1.102.4, derp/derpserver/handler.go.
"""

import re
from typing import Final

from aiohttp import web

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_NO_CACHE: Final = "no-cache, no-store, must-revalidate, no-transform, max-age=0"


async def probe(request: web.Request) -> web.Response:
    """`/derp/probe`: measured by clients that have no UDP; from any origin, for those in browsers."""
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, text="bogus probe method\n")
    return web.Response(headers={"Access-Control-Allow-Origin": "*"})


async def generate_204(request: web.Request) -> web.Response:
    """`/generate_204`: tells a client that no captive portal is in its way, by repeating its challenge."""
    headers = {"Cache-Control": _NO_CACHE}
    challenge = request.headers.get("X-Tailscale-Challenge", "")
    if _CHALLENGE.fullmatch(challenge):
        headers["X-Tailscale-Response"] = f"response {challenge}"
    return web.Response(status=204, headers=headers)
