"""The client's end of a ts2021 session, in the style of the server's; for the harness's fake client.

Built with the server's key it gives the `initiation` for the upgrade request's header; everything that follows
the server's 101 goes into `receive`. HTTP/2 starts when the handshake is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headscale.errors import Malformed
from headscale.keys import MachineKey
from headscale.ts2021 import http2
from headscale.ts2021.early import EarlyPayload, decode_early
from headscale.ts2021.handshake import HandshakeFailed, LoadedKey, finish, initiate
from headscale.ts2021.http2 import Http2, Role
from headscale.ts2021.messages import HEADER_BYTES, RESPONSE_BYTES, TYPE_ERROR, decode_header
from headscale.ts2021.records import RecordOpener, RecordSealer

# What Go's http2 announces, and with it every tailscaled.
GO_STREAM_WINDOW_BYTES: Final = 4 * 1024 * 1024
GO_CONNECTION_WINDOW_BYTES: Final = 1024 * 1024 * 1024
SEND_BUDGET_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Established:
    """The server proved its key."""


@dataclass(frozen=True, slots=True)
class Early:
    """The server spoke before HTTP/2."""

    payload: EarlyPayload


@dataclass(frozen=True, slots=True)
class Response:
    """Status and headers of an answer."""

    stream_id: int
    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of an answer."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer is complete."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The server cut a stream."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over."""

    reason: str


Event = Established | Early | Response | Data | Ended | Reset | Closed


class ClientConnection:
    """One session. Requests may be made once it is established."""

    def __init__(
        self,
        server: MachineKey,
        *,
        version: int,
        static: LoadedKey,
        ephemeral: LoadedKey,
        stream_window_bytes: int = GO_STREAM_WINDOW_BYTES,
        connection_window_bytes: int = GO_CONNECTION_WINDOW_BYTES,
    ) -> None:
        self.initiation, self._pending = initiate(server, version=version, static=static, ephemeral=ephemeral)
        self._http2 = Http2(
            Role.CLIENT,
            stream_window_bytes=stream_window_bytes,
            connection_window_bytes=connection_window_bytes,
        )
        self._sealer: RecordSealer | None = None
        self._opener: RecordOpener | None = None
        self._raw = bytearray()
        self._before_http2: bytes | None = b""
        self._closed = False

    @property
    def established(self) -> bool:
        """Whether the handshake is done."""
        return self._sealer is not None

    def receive(self, data: bytes) -> list[Event]:
        """What the server said; at most one Closed, as the last event."""
        events: list[Event] = []
        if self._closed:
            return events
        try:
            self._receive(data, events)
        except Malformed as broken:
            self._closed = True
            events.append(Closed(str(broken)))
        return events

    def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> int:
        """Send a request and name its stream."""
        stream_id = self.open(method, path, headers=headers)
        self._http2.send(stream_id, body)
        self._http2.end(stream_id)
        return stream_id

    def open(self, method: str, path: str, *, headers: Mapping[str, str] | None = None) -> int:
        """Send a request's headers and name its stream; the body may follow with `send` and `end`."""
        stream_id = self._http2.next_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", "unused"), (":path", path)]
        self._http2.send_headers(stream_id, [*pseudo, *(headers or {}).items()])
        return stream_id

    def send(self, stream_id: int, data: bytes) -> None:
        """Queue a piece of a request's body."""
        self._http2.send(stream_id, data)

    def end(self, stream_id: int) -> None:
        """A request is complete."""
        self._http2.end(stream_id)

    def buffered(self, stream_id: int) -> int:
        """Bytes of a body that wait for the server's windows."""
        return self._http2.buffered(stream_id)

    def cancel(self, stream_id: int) -> None:
        """Reset a stream, as a client does that ends a poll."""
        self._http2.reset(stream_id, http2.CANCEL)

    def goaway(self) -> None:
        """End the session politely."""
        self._http2.close(http2.NO_ERROR)

    def seal(self, data: bytes) -> bytes:
        """Any bytes as records, behind HTTP/2's back; for clients that misbehave."""
        if self._sealer is None:
            raise RuntimeError("there is no session yet")
        return self._sealer.seal(data)

    def data_to_send(self) -> bytes:
        """Sealed bytes to write now; nothing before the session is established."""
        if self._sealer is None:
            return b""
        return self._sealer.seal(self._http2.data_to_send(SEND_BUDGET_BYTES))

    def _receive(self, data: bytes, events: list[Event]) -> None:
        if self._opener is None:
            self._raw += data
            if not self._finish_handshake(events):
                return
            data = bytes(self._raw)
            self._raw.clear()
        assert self._opener is not None
        for plaintext in self._opener.receive(data):
            plaintext = self._skip_early(plaintext, events)
            for event in self._http2.receive(plaintext):
                events.append(_translated(event))

    def _finish_handshake(self, events: list[Event]) -> bool:
        if len(self._raw) < HEADER_BYTES:
            return False
        kind, length = decode_header(self._raw)
        if kind == TYPE_ERROR and len(self._raw) >= HEADER_BYTES + length:
            text = self._raw[HEADER_BYTES : HEADER_BYTES + length].decode("utf-8", "replace")
            raise HandshakeFailed(f"the server refused: {text}")
        if kind != TYPE_ERROR and len(self._raw) >= RESPONSE_BYTES:
            session = finish(self._pending, bytes(self._raw[:RESPONSE_BYTES]))
            del self._raw[:RESPONSE_BYTES]
            self._sealer = RecordSealer(session.sending)
            self._opener = RecordOpener(session.receiving)
            events.append(Established())
        return self._opener is not None

    def _skip_early(self, plaintext: bytes, events: list[Event]) -> bytes:
        """The part that is HTTP/2; before that, collects the early payload."""
        if self._before_http2 is None:
            return plaintext
        self._before_http2 += plaintext
        result = decode_early(self._before_http2)
        if result is None:
            return b""
        self._before_http2 = None
        if result.payload is not None:
            events.append(Early(result.payload))
        return result.rest


def _translated(event: http2.Event) -> Event:
    match event:
        case http2.HeadersReceived(stream_id, pairs):
            headers = dict(pairs)
            return Response(stream_id, int(headers.pop(":status", "0")), headers)
        case http2.DataReceived(stream_id, data):
            return Data(stream_id, data)
        case http2.StreamEnded(stream_id):
            return Ended(stream_id)
        case http2.StreamReset(stream_id, code):
            return Reset(stream_id, code)
        case http2.WentAway(code):
            return Closed(f"the server went away (code {code})")
