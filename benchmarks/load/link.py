"""A client's connection, as lean as it can be: what a load generator spends is lost to the server beside it.

The handshake and the records are the harness's own. HTTP/2 is the least that a client needs: requests with one header
block, answers of any length, and flow control as Go's client keeps it (a window of 4 MiB a stream and 1 GiB a
connection, given back when 4 KiB have been read). What it cannot read ends the connection with a reason.
"""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hpack import Encoder

from harness.clients.session import upgrade_request
from headscale.keys import MachineKey
from headscale.ts2021.early import decode_early
from headscale.ts2021.handshake import LoadedKey, Pending, finish, generate_key, initiate
from headscale.ts2021.messages import RESPONSE_BYTES
from headscale.ts2021.records import RecordOpener, RecordSealer

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAM_WINDOW: Final = 4 * 1024 * 1024
CONNECTION_WINDOW: Final = 1024 * 1024 * 1024
GIVE_BACK_BYTES: Final = 4 * 1024
STATUS_200: Final = 0x88  # the first byte of a header block: entry 8 of HPACK's static table

_HEADER: Final = struct.Struct(">HBBBL")
_SETTING: Final = struct.Struct(">HL")
_UPDATE: Final = struct.Struct(">L")
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS: Final = 4
_PADDED: Final = 8


class LinkBroken(Exception):
    """The connection is over; the text says why."""


@dataclass(slots=True)
class Answer:
    """What becomes of a request: `on_data` gets the body's pieces, `on_end` whether it ended well."""

    on_data: Callable[[bytes], None]
    on_end: Callable[[str], None]
    unread: int = 0


class Link(asyncio.Protocol):
    """One ts2021 connection. `ready` is done when requests may be made; use `dial`."""

    __slots__ = (
        *("_answers", "_buffer", "_early", "_encoder", "_frames", "_next", "_opener", "_out", "_pending"),
        *("_sealer", "_switched", "_transport", "_unread", "closed", "on_closed", "ready"),
    )

    def __init__(self, pending: Pending) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.on_closed: Callable[[], None] | None = None
        self._pending: Pending | None = pending
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._switched = False
        self._early: bytes | None = b""
        self._frames = bytearray()
        self._encoder = Encoder()
        self._answers: dict[int, Answer] = {}
        self._next = 1
        self._unread = 0
        self._out = bytearray()

    def ask(self, path: str, body: bytes, *, node_key: str, answer: Answer) -> None:
        """POST; the answer's callbacks come later."""
        stream, self._next = self._next, self._next + 2
        self._answers[stream] = answer
        block = self._encoder.encode(
            [
                *((":authority", "control"), (":method", "POST"), (":path", path), (":scheme", "https")),
                *(("ts-lb", node_key), ("content-length", str(len(body)))),
                *(("accept-encoding", "gzip"), ("user-agent", "Go-http-client/2.0")),
            ]
        )
        self._put(_HEADERS, _END_HEADERS, stream, block)
        self._put(_DATA, _END_STREAM, stream, body)
        self._flush()

    def cut(self) -> None:
        """Close the socket; nothing is called back any more."""
        self.on_closed = None
        self._answers.clear()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the socket is closed."""
        self._end(f"connection lost: {exc}" if exc else "closed by the server")

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        try:
            if self._pending is not None:
                data = self._shake_hands(data)
            if data:
                for plaintext in self._opener.receive(data):
                    self._read(plaintext)
            self._give_back()
            self._flush()
        except Exception as problem:  # whatever a server does wrong ends this one connection
            self._end(f"{type(problem).__name__}: {problem}")

    def _shake_hands(self, data: bytes) -> bytes:
        """Wait for the 101 and the 51 bytes behind it; returns what follows."""
        self._buffer += data
        if not self._switched:
            head, blank, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not blank:
                return b""
            if not head.startswith(b"HTTP/1.1 101"):
                raise LinkBroken(f"upgrade refused: {head[:80]!r} {rest[:200]!r}")
            self._switched = True
            self._buffer = bytearray(rest)
        if len(self._buffer) < RESPONSE_BYTES:
            return b""
        assert self._pending is not None
        session = finish(self._pending, bytes(self._buffer[:RESPONSE_BYTES]))
        self._pending = None
        self._sealer, self._opener = RecordSealer(session.sending), RecordOpener(session.receiving)
        self._out += PREFACE
        self._put(_SETTINGS, 0, 0, b"".join(_SETTING.pack(*one) for one in ((2, 0), (4, STREAM_WINDOW))))
        self._put(_WINDOW, 0, 0, _UPDATE.pack(CONNECTION_WINDOW))
        if not self.ready.done():
            self.ready.set_result(None)
        return bytes(self._buffer[RESPONSE_BYTES:])

    def _read(self, plaintext: bytes) -> None:
        if self._early is not None:
            self._early += plaintext
            if (result := decode_early(self._early)) is None:
                return
            self._early, plaintext = None, result.rest
        self._frames += plaintext
        frames, at = self._frames, 0
        while len(frames) - at >= 9:
            high, low, kind, flags, stream = _HEADER.unpack_from(frames, at)
            end = at + 9 + (high << 8 | low)
            if len(frames) < end:
                break
            self._frame(kind, flags, stream & 0x7FFFFFFF, bytes(frames[at + 9 : end]))
            at = end
        del frames[:at]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        answer = self._answers.get(stream)
        if kind == _DATA and answer is not None:
            self._unread += len(payload)
            answer.unread += len(payload)
            answer.on_data(payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload)
        elif kind == _HEADERS and answer is not None and payload[:1] != bytes([STATUS_200]):
            self._answers.pop(stream)  # the text behind it is for people
            answer.on_end(f"refused: header block {payload[:12].hex()}")
        elif kind == _SETTINGS and not flags & _ACK:
            self._put(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            self._put(_PING, _ACK, 0, payload)
        elif kind == _RESET and answer is not None:
            self._answers.pop(stream)
            answer.on_end(f"reset: {payload.hex()}")
        elif kind == _GOAWAY:
            raise LinkBroken(f"the server went away: {payload[8:]!r}")
        if (
            kind in (_DATA, _HEADERS)
            and flags & _END_STREAM
            and answer is not None
            and stream in self._answers
        ):
            self._answers.pop(stream)
            answer.on_end("")

    def _give_back(self) -> None:
        if self._unread < GIVE_BACK_BYTES:
            return
        self._put(_WINDOW, 0, 0, _UPDATE.pack(self._unread))
        self._unread = 0
        for stream, answer in self._answers.items():
            if answer.unread >= GIVE_BACK_BYTES:
                self._put(_WINDOW, 0, stream, _UPDATE.pack(answer.unread))
                answer.unread = 0

    def _put(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        length = len(payload)
        self._out += _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(self._sealer.seal(bytes(self._out)))
            self._out.clear()

    def _end(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        if not self.ready.done():
            self.ready.set_exception(LinkBroken(reason))
            self.ready.exception()  # it may well be that nobody asks
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.on_end(reason)
        if self.on_closed is not None:
            self.on_closed()


async def dial(host: str, port: int, *, server: MachineKey, machine: LoadedKey, version: int) -> Link:
    """A connection that is ready for requests. Raises LinkBroken, OSError."""
    initiation, pending = initiate(server, version=version, static=machine, ephemeral=generate_key())
    loop = asyncio.get_running_loop()
    transport, link = await loop.create_connection(lambda: Link(pending), host, port)
    transport.write(upgrade_request(host, initiation))
    await link.ready
    return link
