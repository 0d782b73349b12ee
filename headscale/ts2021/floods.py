"""Decides when a client sends more frames than a client would: h2 bounds sizes, but no rate at all.

Frames are counted by their nine-byte headers, before h2 sees them, so that a frame that makes no event counts too.
Counts start anew each period; a flood that goes on is therefore cut at the limit, and the most that passes is
two limits around a boundary.
Figures: one core handles 23,500 stream resets or 185,000 pings a second (h2 4.4.1, Python 3.11), at 25 bytes each.
"""

from typing import Final

from headscale.errors import Malformed

PERIOD_SECONDS: Final = 10.0
# A client cancels a poll when its state changes: a few a minute. Rapid reset (CVE-2023-44487) needs thousands.
MAX_RESETS: Final = 200
# PING, SETTINGS, PRIORITY, CONTINUATION, unknown types, near-empty DATA and records, and window updates
# beyond what our own data explains. A busy client sends tens.
MAX_CONTROL_FRAMES: Final = 1_000
# Requests on one connection; a real client makes tens in its busiest ten seconds.
MAX_REQUESTS: Final = 2_000
# DATA this short that does not end its stream is a control frame in disguise.
TINY_DATA_BYTES: Final = 16
# Clients answer every 4 KiB of our data with an update of the stream's and of the connection's window
# (Go's http2, inflowMinRefresh); twice as many are free.
BYTES_A_WINDOW_UPDATE: Final = 1_024
# What earlier data explains is forgotten beyond two of Go's stream windows.
MAX_SENT_BYTES: Final = 8 * 1024 * 1024

PREFACE_BYTES: Final = 24
FRAME_HEADER_BYTES: Final = 9

_DATA: Final = 0
_HEADERS: Final = 1
_RST_STREAM: Final = 3
_WINDOW_UPDATE: Final = 8
_END_STREAM: Final = 1


class Flooded(Malformed):
    """The client sends too many frames of one sort."""


class FloodGuard:
    """Counts the frames of one connection, client to server."""

    __slots__ = ("_control", "_header", "_period_start", "_requests", "_resets", "_sent_bytes", "_skip")

    def __init__(self, *, now: float) -> None:
        self._skip = PREFACE_BYTES
        self._header = b""
        self._sent_bytes = 0
        self._period_start = now
        self._control = self._requests = self._resets = 0

    def sent(self, size_bytes: int) -> None:
        """We sent so many bytes, for which the client owes us window updates."""
        self._sent_bytes = min(self._sent_bytes + size_bytes, MAX_SENT_BYTES)

    def receive(self, data: bytes, *, now: float) -> None:
        """Count the frames that begin in the plaintext of one record; raises Flooded.

        A record without a plaintext counts as a control frame.
        """
        if now - self._period_start >= PERIOD_SECONDS:
            self._period_start = now
            self._control = self._requests = self._resets = 0
        if not data:
            self._count_control()
        position = 0
        while position < len(data):
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            missing = FRAME_HEADER_BYTES - len(self._header)
            self._header += data[position : position + missing]
            position += missing
            if len(self._header) == FRAME_HEADER_BYTES:
                self._count(self._header)
                self._header = b""

    def count_reset(self) -> None:
        """We had to reset a stream because of what the client sent; raises Flooded."""
        self._resets += 1
        if self._resets > MAX_RESETS:
            raise Flooded(f"more than {MAX_RESETS} streams were reset in {PERIOD_SECONDS:.0f} s")

    def _count(self, header: bytes) -> None:
        length = int.from_bytes(header[:3], "big")
        self._skip = length
        kind = header[3]
        if kind == _DATA:
            if length < TINY_DATA_BYTES and not header[4] & _END_STREAM:
                self._count_control()
        elif kind == _HEADERS:
            self._requests += 1
            if self._requests > MAX_REQUESTS:
                raise Flooded(f"more than {MAX_REQUESTS} requests in {PERIOD_SECONDS:.0f} s")
        elif kind == _RST_STREAM:
            self.count_reset()
        elif kind == _WINDOW_UPDATE and self._sent_bytes >= BYTES_A_WINDOW_UPDATE:
            self._sent_bytes -= BYTES_A_WINDOW_UPDATE
        else:
            self._count_control()

    def _count_control(self) -> None:
        self._control += 1
        if self._control > MAX_CONTROL_FRAMES:
            raise Flooded(f"more than {MAX_CONTROL_FRAMES} control frames in {PERIOD_SECONDS:.0f} s")
