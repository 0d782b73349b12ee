"""The icon of our pages, for which browsers ask at /favicon.ico: a picture of points, as PNG."""

import struct
import zlib
from functools import cache
from typing import Final

from aiohttp import web

# Two devices, and the server that tells them of each other. Visible on light and on dark.
_PICTURE: Final = (
    "................",
    "......oooo......",
    ".....oooooo.....",
    ".....oooooo.....",
    ".....oooooo.....",
    "......oooo......",
    ".....--..--.....",
    ".....--..--.....",
    "....--....--....",
    "....--....--....",
    ".oooo......oooo.",
    "oooooo....oooooo",
    "oooooo....oooooo",
    "oooooo....oooooo",
    ".oooo......oooo.",
    "................",
)
_COLOURS: Final = {".": bytes(4), "o": bytes((31, 120, 150, 255)), "-": bytes((128, 140, 150, 255))}
# A point of the picture is so many pixels wide and high.
_SCALE: Final = 2
# https://www.w3.org/TR/png/: 8 bits for each of red, green, blue and opacity; no filter, not interlaced.
_RGBA: Final = (8, 6, 0, 0, 0)


async def icon(request: web.Request) -> web.Response:
    """The same for everybody, for a day."""
    headers = {"Cache-Control": "public, max-age=86400"}
    return web.Response(body=_png(), content_type="image/png", headers=headers)


@cache
def _png() -> bytes:
    lines = [b"".join(_COLOURS[point] * _SCALE for point in row) for row in _PICTURE]
    pixels = b"".join((b"\0" + line) * _SCALE for line in lines)
    side = len(_PICTURE) * _SCALE
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">II5B", side, side, *_RGBA)),
            _chunk(b"IDAT", zlib.compress(pixels, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
