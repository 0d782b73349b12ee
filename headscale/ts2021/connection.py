"""The server's end of a ts2021 session: sealed bytes in, requests out; answers in, sealed bytes out.

Joins handshake, records, HTTP/2 and the limits, so that a shell only moves bytes. It never raises on what a client
sends: the last event is then Closed, and what `data_to_send` still gives may be sent before the connection is cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headscale.errors import Malformed
from headscale.keys import ChallengeKey, MachineKey
from headscale.ts2021 import http2
from headscale.ts2021.early import encode_early
from headscale.ts2021.floods import Flooded, FloodGuard
from headscale.ts2021.handshake import LoadedKey, Session, respond
from headscale.ts2021.http2 import Http2, Role
from headscale.ts2021.records import RecordOpener, RecordSealer

# The largest request is a Hostinfo with services; headscale has the same limit.
MAX_BODY_BYTES: Final = 1024 * 1024
# Unfinished bodies of all streams together: anyone may open a session.
MAX_BODIES_BYTES: Final = 2 * MAX_BODY_BYTES
# A body that takes longer than this is cut; with a check every few seconds, within a minute.
BODY_SECONDS: Final = 50.0
# A connection that has never asked anything, and one that has and holds no stream.
FIRST_REQUEST_SECONDS: Final = 50.0
IDLE_SECONDS: Final = 300.0
# Replies that pile up while the client does not read.
MAX_CONTROL_BYTES: Final = 64 * 1024
# One call's worth of bodies: large enough to be one write for most maps, small enough to keep turns short.
SEND_BUDGET_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request; header names are lower case, repeated ones joined by commas."""

    stream_id: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The client, or a stream that did not drain, ended a request before its answer was complete."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Writable:
    """A stream's queue has drained to the low-water mark."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing more will come; the reason is for our log."""

    reason: str


Event = Request | Cancelled | Writable | Closed


class _Incoming:
    """A request whose body is still arriving."""

    __slots__ = ("body", "headers", "since")

    def __init__(self, headers: tuple[tuple[str, str], ...], since: float) -> None:
        self.headers = headers
        self.body = bytearray()
        self.since = since


class ServerConnection:
    """One session. `now` is monotonic seconds; commands on streams that are gone are ignored."""

    __slots__ = (
        "_active_at",
        "_answering",
        "_bodies_bytes",
        "_closed",
        "_first",
        "_guard",
        "_http2",
        "_incoming",
        "_opener",
        "_sealer",
        "_served",
        "_session",
    )

    def __init__(self, session: Session, first: bytes, *, now: float) -> None:
        """Use `accept`; `first` are bytes that go out in front of everything, as they are."""
        self._session = session
        self._first = first
        self._sealer = RecordSealer(session.sending)
        self._opener = RecordOpener(session.receiving)
        self._http2 = Http2(Role.SERVER)
        self._guard = FloodGuard(now=now)
        self._incoming: dict[int, _Incoming] = {}
        self._bodies_bytes = 0
        self._answering: set[int] = set()
        self._active_at = now
        self._served = False
        self._closed = False

    @classmethod
    def accept(
        cls,
        initiation: bytes,
        *,
        static: LoadedKey,
        ephemeral: LoadedKey,
        now: float,
        challenge: ChallengeKey | None = None,
    ) -> "ServerConnection":
        """Answer a client's handshake message; raises HandshakeFailed.

        The first `data_to_send` holds the handshake's answer, the early payload if there is a challenge, and our
        SETTINGS: tailscale-rs waits for bytes inside Noise before it says anything itself.
        """
        response, session = respond(initiation, static=static, ephemeral=ephemeral)
        connection = cls(session, response, now=now)
        if challenge is not None:
            connection._first += connection._sealer.seal(encode_early(challenge))
        return connection

    @property
    def machine_key(self) -> MachineKey:
        """The client's machine key, proved by the handshake."""
        return self._session.peer

    @property
    def version(self) -> int:
        """The client's capability version, as bound by the handshake."""
        return self._session.version

    @property
    def closed(self) -> bool:
        """Whether the session is over; what is left to send may be sent."""
        return self._closed

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What the client asked or cancelled; at most one Closed, and it is the last event ever."""
        events: list[Event] = []
        if self._closed:
            return events
        try:
            for plaintext in self._opener.receive(data):
                self._guard.receive(plaintext, now=now)
                for event in self._http2.receive(plaintext):
                    self._apply(event, events, now=now)
                if self._closed:
                    return events
            if self._http2.control_bytes > MAX_CONTROL_BYTES:
                raise Flooded(f"more than {MAX_CONTROL_BYTES} bytes of replies wait to be read")
        except Flooded as flood:
            self._http2.close(http2.ENHANCE_YOUR_CALM, str(flood))
            events.append(self._close(str(flood)))
        except Malformed as broken:
            events.append(self._close(str(broken)))
        return events

    def tick(self, now: float) -> list[Event]:
        """End what takes too long; to be called every few seconds."""
        if self._closed:
            return []
        for stream_id in [key for key, one in self._incoming.items() if now - one.since >= BODY_SECONDS]:
            self._drop_incoming(stream_id)
            self._http2.reset(stream_id, http2.CANCEL)
        events: list[Event] = []
        for stream_id in self._http2.reset_stalled(now):
            self._cancelled(stream_id, events)
        if not self._http2.idle:
            self._active_at = now
        elif now - self._active_at >= (IDLE_SECONDS if self._served else FIRST_REQUEST_SECONDS):
            self._http2.close(http2.NO_ERROR)
            events.append(self._close("idle"))
        return events

    def start_response(self, stream_id: int, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers. No content-length: its values would fill the peer's header table."""
        self._http2.send_headers(stream_id, [(":status", str(status)), *headers.items()])

    def send(self, stream_id: int, data: bytes) -> None:
        """Queue a piece of the answer."""
        self._http2.send(stream_id, data)

    def end(self, stream_id: int) -> None:
        """The answer is complete."""
        self._answering.discard(stream_id)
        self._http2.end(stream_id)

    def respond(self, stream_id: int, status: int, content_type: str, body: bytes) -> None:
        """Answer at once and completely."""
        self.start_response(stream_id, status, {"content-type": content_type})
        self.send(stream_id, body)
        self.end(stream_id)

    def abandon(self, stream_id: int) -> None:
        """We cannot complete an answer: reset the stream."""
        self._answering.discard(stream_id)
        self._http2.reset(stream_id, http2.INTERNAL_ERROR)

    def buffered(self, stream_id: int) -> int:
        """Bytes queued on a stream; 0 if it is gone."""
        return self._http2.buffered(stream_id)

    @property
    def queued_bytes(self) -> int:
        """Bytes queued on all streams together."""
        return self._http2.queued_bytes

    def goaway(self) -> None:
        """We end the session: GOAWAY is the last that goes out."""
        if not self._closed:
            self._http2.close(http2.NO_ERROR)
            self._close("going away")

    def data_to_send(self) -> bytes:
        """Sealed bytes to write now, as much as one write should hold; call again until there are none."""
        plaintext = self._http2.data_to_send(SEND_BUDGET_BYTES)
        self._guard.sent(len(plaintext))
        first, self._first = self._first, b""
        return first + self._sealer.seal(plaintext)

    def take_drained(self) -> list[Writable]:
        """Streams that became writable by what was sent since the last call."""
        return [Writable(stream_id) for stream_id in self._http2.take_drained()]

    def _apply(self, event: http2.Event, events: list[Event], *, now: float) -> None:
        match event:
            case http2.HeadersReceived(stream_id, headers):
                self._incoming[stream_id] = _Incoming(headers, now)
            case http2.DataReceived(stream_id, data):
                self._collect(stream_id, data)
            case http2.StreamEnded(stream_id):
                if (incoming := self._drop_incoming(stream_id)) is not None:
                    self._active_at = now
                    self._served = True
                    self._answering.add(stream_id)
                    events.append(_request(stream_id, incoming))
            case http2.StreamReset(stream_id, _, local):
                self._drop_incoming(stream_id)
                self._cancelled(stream_id, events)
                if local:
                    self._guard.count_reset()
            case http2.WentAway(code):
                events.append(self._close(f"the client went away (code {code})"))

    def _collect(self, stream_id: int, data: bytes) -> None:
        incoming = self._incoming.get(stream_id)
        if incoming is None:
            return
        incoming.body += data
        self._bodies_bytes += len(data)
        if len(incoming.body) > MAX_BODY_BYTES or self._bodies_bytes > MAX_BODIES_BYTES:
            self._drop_incoming(stream_id)
            text = f"a request body has at most {MAX_BODY_BYTES} bytes\n"
            self.respond(stream_id, 413, "text/plain; charset=utf-8", text.encode())

    def _drop_incoming(self, stream_id: int) -> _Incoming | None:
        incoming = self._incoming.pop(stream_id, None)
        if incoming is not None:
            self._bodies_bytes -= len(incoming.body)
        return incoming

    def _cancelled(self, stream_id: int, events: list[Event]) -> None:
        if stream_id in self._answering:
            self._answering.discard(stream_id)
            events.append(Cancelled(stream_id))

    def _close(self, reason: str) -> Closed:
        self._closed = True
        self._incoming.clear()
        self._answering.clear()
        return Closed(reason)


def _request(stream_id: int, incoming: _Incoming) -> Request:
    headers: dict[str, str] = {}
    for name, value in incoming.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    method, path = headers.pop(":method", ""), headers.pop(":path", "")
    return Request(stream_id, method, path, headers, bytes(incoming.body))
