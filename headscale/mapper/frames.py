"""How a message travels in a map stream: its length, then its text, compressed or not.

Layout: length of the rest (4 bytes, little-endian), then one zstd frame or the JSON itself. Every message is
compressed on its own, because the client's decoder keeps nothing between two.
Source: tailscale.com v1.102.4, control/controlclient/direct.go.
"""

import struct
import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# The fastest level: maps are many and short-lived, and the text is repetitive anyway.
LEVEL = 1


def frame(text: bytes, *, compress: bool) -> bytes:
    """One message of a map stream."""
    body = zstd.compress(text, level=LEVEL) if compress else text
    return struct.pack("<I", len(body)) + body
