"""Bodies as they come, and answers, for every version of the API."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from headscale.errors import Malformed

# The database's widest integer.
ID_MAX: Final = 2**63 - 1
# For the whole of a body; nobody may hold a request open by sending it a byte at a time.
BODY_READ_S: Final = 30.0


async def receive(request: web.Request) -> bytes:
    """The whole body. Raises HTTP errors for size and time."""
    try:
        async with asyncio.timeout(BODY_READ_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not arrive within {BODY_READ_S:g} seconds") from None


def id_of(text: str) -> int | None:
    """A decimal id of 1 or more; None for what is none."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or not 0 < int(text) <= ID_MAX:
        return None
    return int(text)


def in_utc(moment: datetime) -> datetime:
    """The moment as we keep and show all of them; one without a zone is UTC. Raises Malformed."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise Malformed(f"{moment.isoformat()} lies outside the years that there are") from None


def answer(document: object) -> web.Response:
    """A 200 with this document; creation answers 200 too, as the peer does."""
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")
