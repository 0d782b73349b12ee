"""Request bodies, ids and answers of REST v1, read and written one way everywhere.

Input is lenient as in headscale up to 0.29: any content type, unknown fields ignored. An id is a decimal
string, because JavaScript cannot hold it as a number.
"""

from typing import TypeVar

import msgspec
from aiohttp import web

from headscale.api.bodies import answer as answer
from headscale.api.bodies import id_of, receive
from headscale.api.bodies import in_utc as in_utc
from headscale.errors import Malformed
from headscale.tailcfg.names import decode_request

T = TypeVar("T", bound=msgspec.Struct)


async def read_body(request: web.Request, wanted: type[T]) -> T:
    """The body as `wanted`; an empty one is an empty object. Raises Malformed, or HTTP errors for size and time."""
    return decode_request(await receive(request) or b"{}", wanted)


def parse_id(text: str, what: str) -> int:
    """A decimal id of 1 or more; raises Malformed."""
    found = id_of(text)
    if found is None:
        raise Malformed(f"{text[:40]!r} is not a {what} id: expected a number of 1 or more")
    return found
