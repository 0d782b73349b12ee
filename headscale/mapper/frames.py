"""How a message travels in a map stream: its length, then its text, compressed or not.

Layout: length of the rest (4 bytes, little-endian), then zstd frames or the JSON itself. Nearly every message is one
frame (`blocks` has the other kind). None refers to what was sent before: the client's decoder keeps nothing.
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
    body = compressed(text) if compress else text
    return struct.pack("<I", len(body)) + body


def compressed(text: bytes) -> bytes:
    """One zstd frame, which says how long its text is."""
    return zstd.compress(text, level=LEVEL)
