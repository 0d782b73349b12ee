"""Request bodies, ids and answers, read and written one way everywhere.

Input is lenient as in headscale up to 0.29: any content type, unknown fields ignored. An id is a decimal
string, because JavaScript cannot hold it as a number.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from headscale.errors import Malformed
from headscale.tailcfg.names import decode_request

T = TypeVar("T", bound=msgspec.Struct)

# The database's widest integer.
ID_MAX: Final = 2**63 - 1
# For the whole of a body; nobody may hold a request open by sending it a byte at a time.
BODY_READ_S: Final = 30.0


async def read_body(request: web.Request, wanted: type[T]) -> T:
    """The body as `wanted`; an empty one is an empty object. Raises Malformed, or HTTP errors for size and time."""
    try:
        async with asyncio.timeout(BODY_READ_S):
            body = await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not arrive within {BODY_READ_S:g} seconds") from None
    return decode_request(body or b"{}", wanted)


def parse_id(text: str, what: str) -> int:
    """A decimal id of 1 or more; raises Malformed."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or not 0 < int(text) <= ID_MAX:
        raise Malformed(f"{text[:40]!r} is not a {what} id: expected a number of 1 or more")
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
