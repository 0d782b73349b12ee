"""HTTP/2 for both ends of ts2021, as bytes and events: the only module that knows the h2 and hpack libraries
(and `h2settings`, a part of h2 in less memory).

Received data is acknowledged at once, so the peer's windows never close on us; bodies are bounded by whoever
collects them. Data to send waits in a queue a stream until both windows and the caller's budget let it go, in turns.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from h2.stream import H2Stream
from hpack import Decoder, HeaderTuple

from headscale.errors import Malformed
from headscale.ts2021.h2settings import SmallSettings
from headscale.ts2021.queue import SendQueue

NO_ERROR: Final = int(ErrorCodes.NO_ERROR)
INTERNAL_ERROR: Final = int(ErrorCodes.INTERNAL_ERROR)
CANCEL: Final = int(ErrorCodes.CANCEL)
ENHANCE_YOUR_CALM: Final = int(ErrorCodes.ENHANCE_YOUR_CALM)

# One long poll, updates, a registration, c2n answers and SSH holds share a connection.
MAX_STREAMS: Final = 100
# Requests carry under ten short headers; h2's own limit of 64 KiB costs 14 ms of decoding a try.
MAX_HEADER_LIST_BYTES: Final = 16 * 1024
# Closed streams that h2 remembers, to tell late frames from broken ones; its own 65,536 cost 7 MiB.
MAX_REMEMBERED_STREAMS: Final = 256
# The protocol's default; larger windows would be memory that anyone can make us hold.
DEFAULT_WINDOW_BYTES: Final = 65_535
# Every peer takes frames of this size (RFC 9113, 6.5.2); larger ones would delay the other streams.
MAX_DATA_BYTES: Final = 16_384
# At or below this many queued bytes a stream wants more; see `take_drained`.
LOW_WATER_BYTES: Final = 16 * 1024
# A stream that moves less than this in this time does not drain: it is reset. With a check every few
# seconds it is gone within a minute.
STALL_SECONDS: Final = 50.0
STALL_BYTES: Final = 16 * 1024

_DATA: Final = 0
_DATA_HEADER: Final = struct.Struct(">HBBBL")


class Http2Broken(Malformed):
    """The peer broke HTTP/2; the GOAWAY that says so is among the bytes to send."""


class Role(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    """A request's or an answer's headers, pseudo-headers first, names in lower case."""

    stream_id: int
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A piece of a body; already acknowledged."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer has said all that it wants to say on this stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """A stream is gone: `local` when we reset it because of what the peer did."""

    stream_id: int
    code: int
    local: bool


@dataclass(frozen=True, slots=True)
class WentAway:
    """The peer sent GOAWAY."""

    code: int


Event = HeadersReceived | DataReceived | StreamEnded | StreamReset | WentAway


class _BoundedConnection(H2Connection):  # a subclass because h2 takes this limit from its class only
    MAX_CLOSED_STREAMS = MAX_REMEMBERED_STREAMS


class _Decoder(Decoder):
    """Drops a `host` beside an `:authority`, which is what counts (RFC 9113, 8.3.1).

    h2 ends the connection when they differ, and tailscale-rs 0.6.1 leaves the port out of its `host`
    (ts_http_util, host_header).
    """

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        headers = list(super().decode(data, raw))
        if any(header[0] == b":authority" for header in headers):
            return [header for header in headers if header[0] != b"host"]
        return headers


class _Outgoing:
    """Our half of a stream."""

    __slots__ = ("ending", "moved_bytes", "queue", "stalled_since")

    def __init__(self) -> None:
        self.queue = SendQueue()
        self.ending = False
        self.moved_bytes = 0
        self.stalled_since: float | None = None


class Http2:
    """One connection. Commands on streams that are gone are ignored: the peer may reset at any time."""

    __slots__ = ("_closed", "_drained", "_h2", "_out", "_outgoing", "_ready", "_receiving", "_role")

    def __init__(
        self,
        role: Role,
        *,
        stream_window_bytes: int = DEFAULT_WINDOW_BYTES,
        connection_window_bytes: int = DEFAULT_WINDOW_BYTES,
    ) -> None:
        self._role = role
        self._h2 = _h2_connection(role, stream_window_bytes)
        self._h2.initiate_connection()
        if connection_window_bytes > DEFAULT_WINDOW_BYTES:
            self._h2.increment_flow_control_window(connection_window_bytes - DEFAULT_WINDOW_BYTES)
        self._closed = False
        self._outgoing: dict[int, _Outgoing] = {}
        self._receiving: set[int] = set()
        self._ready: dict[int, None] = {}
        self._drained: list[int] = []
        self._out = bytearray()
        self._collect()

    @property
    def control_bytes(self) -> int:
        """Bytes of frames other than DATA that wait for `data_to_send`."""
        return len(self._out)

    @property
    def idle(self) -> bool:
        """Whether no stream is open in either direction."""
        return not self._outgoing and not self._receiving

    def buffered(self, stream_id: int) -> int:
        """Bytes queued on a stream; 0 if it is gone."""
        outgoing = self._outgoing.get(stream_id)
        return outgoing.queue.size if outgoing else 0

    @property
    def queued_bytes(self) -> int:
        """Bytes queued on all streams together."""
        return sum(outgoing.queue.size for outgoing in self._outgoing.values())

    def next_stream_id(self) -> int:
        """The stream of the client's next request."""
        return self._h2.get_next_available_stream_id()

    def receive(self, data: bytes) -> list[Event]:
        """What the peer said; raises Http2Broken."""
        if self._closed:
            return []
        try:
            received = self._h2.receive_data(data)
            events = [event for one in received for event in self._translate(one)]
        except H2Error as error:
            self._shut()
            raise Http2Broken(f"{type(error).__name__}: {error}") from error
        self._collect()
        return events

    def send_headers(self, stream_id: int, headers: Iterable[tuple[str, str]], *, last: bool = False) -> None:
        """Send headers; `last` when no body follows."""
        if self._role is Role.CLIENT:
            self._outgoing[stream_id] = _Outgoing()
        if self._closed or stream_id not in self._outgoing:
            return
        self._h2.send_headers(stream_id, headers, end_stream=last)
        self._collect()
        if last:
            self._finish(stream_id)

    def send(self, stream_id: int, data: bytes) -> None:
        """Queue a piece of the body."""
        if (outgoing := self._outgoing.get(stream_id)) is not None:
            outgoing.queue.put(data)
            self._ready[stream_id] = None

    def end(self, stream_id: int) -> None:
        """End the body after what is queued."""
        if (outgoing := self._outgoing.get(stream_id)) is not None:
            outgoing.ending = True
            self._ready[stream_id] = None

    def reset(self, stream_id: int, code: int) -> None:
        """Cut a stream now and forget what is queued."""
        self._forget(stream_id)
        if self._closed:
            return
        try:
            self._h2.reset_stream(stream_id, code)
        except H2Error:
            return
        self._collect()

    def close(self, code: int, text: str = "") -> None:
        """Send GOAWAY; nothing but what already waits goes out after it."""
        if not self._closed:
            self._h2.close_connection(code, additional_data=text.encode() or None)
            self._shut()

    def data_to_send(self, budget_bytes: int) -> bytes:
        """All control frames, and about so many bytes of bodies as the windows allow, in turns."""
        while budget_bytes > 0 and self._ready and not self._closed:
            stream_id = next(iter(self._ready))
            del self._ready[stream_id]
            budget_bytes -= self._send_some(stream_id, budget_bytes)
        data = bytes(self._out)
        self._out.clear()
        return data

    def take_drained(self) -> list[int]:
        """Streams whose queue fell to LOW_WATER_BYTES since the last call."""
        drained, self._drained = self._drained, []
        return drained

    def reset_stalled(self, now: float) -> list[int]:
        """Reset the streams whose peer lets nothing through, and say which; to be called every few seconds."""
        stalled = [stream_id for stream_id, one in self._outgoing.items() if _is_stalled(one, now)]
        for stream_id in stalled:
            self.reset(stream_id, CANCEL)
        return stalled

    def _send_some(self, stream_id: int, budget_bytes: int) -> int:
        outgoing = self._outgoing.get(stream_id)
        if outgoing is None:
            return 0
        queue = outgoing.queue
        before = queue.size
        windows = self._h2.streams[stream_id]
        open_bytes = min(windows.outbound_flow_control_window, self._h2.outbound_flow_control_window)
        frame = min(before, open_bytes, budget_bytes, MAX_DATA_BYTES) if before else 0
        if frame <= 0 and (before or not outgoing.ending):
            return 0
        data = queue.take(frame)
        last = outgoing.ending and not queue.size
        if last:
            self._h2.send_data(stream_id, data, end_stream=True)
            self._collect()
        else:
            self._put_data(windows, data)
        outgoing.moved_bytes += frame
        if queue.size <= LOW_WATER_BYTES < before:
            self._drained.append(stream_id)
        if last:
            self._finish(stream_id)
        elif queue.size:
            self._ready[stream_id] = None
        else:
            outgoing.stalled_since = None
        return frame

    def _put_data(self, stream: H2Stream, data: bytes) -> None:
        """A DATA frame without h2's `send_data`, which costs more than all else that a small message needs.

        Nothing changes in its state machines as long as a stream does not end; the two windows do.
        """
        self._out += _DATA_HEADER.pack(len(data) >> 8, len(data) & 0xFF, _DATA, 0, stream.stream_id)
        self._out += data
        stream.outbound_flow_control_window -= len(data)
        self._h2.outbound_flow_control_window -= len(data)

    def _finish(self, stream_id: int) -> None:
        """Our half is complete. A server that has answered wants no more of the request (RFC 9113, 8.1)."""
        self._outgoing.pop(stream_id, None)
        if self._role is Role.SERVER and stream_id in self._receiving:
            self.reset(stream_id, NO_ERROR)

    def _forget(self, stream_id: int) -> None:
        self._outgoing.pop(stream_id, None)
        self._ready.pop(stream_id, None)
        self._receiving.discard(stream_id)

    def _shut(self) -> None:
        self._collect()
        self._closed = True
        self._outgoing.clear()
        self._receiving.clear()
        self._ready.clear()

    def _collect(self) -> None:
        self._out += self._h2.data_to_send()

    def _translate(self, event: h2.events.Event) -> Iterable[Event]:
        match event:
            case h2.events.DataReceived():
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.data:
                    yield DataReceived(event.stream_id, event.data)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                self._wake(getattr(event, "stream_id", 0))
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                self._receiving.add(event.stream_id)
                if self._role is Role.SERVER:
                    self._outgoing[event.stream_id] = _Outgoing()
                yield HeadersReceived(event.stream_id, _as_text(event.headers))
            case h2.events.StreamEnded():
                self._receiving.discard(event.stream_id)
                yield StreamEnded(event.stream_id)
            case h2.events.StreamReset():
                self._forget(event.stream_id)
                yield StreamReset(event.stream_id, int(event.error_code or 0), local=not event.remote_reset)
            case h2.events.ConnectionTerminated():
                self._shut()
                yield WentAway(int(event.error_code or 0))

    def _wake(self, stream_id: int) -> None:
        """A window opened, on one stream or (0) for all."""
        if stream_id:
            if stream_id in self._outgoing:
                self._ready[stream_id] = None
        else:
            self._ready.update(dict.fromkeys(self._outgoing))


def _h2_connection(role: Role, stream_window_bytes: int) -> H2Connection:
    client = role is Role.CLIENT
    connection = _BoundedConnection(H2Configuration(client_side=client, header_encoding=None))
    connection.local_settings = SmallSettings(
        client=client,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: stream_window_bytes,
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
        },
    )
    connection.remote_settings = SmallSettings(client=not client)
    connection.decoder = _Decoder()
    connection.decoder.max_header_list_size = MAX_HEADER_LIST_BYTES
    return connection


def _as_text(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Header bytes as Latin-1, which every byte is."""
    return tuple((bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in headers)


def _is_stalled(outgoing: _Outgoing, now: float) -> bool:
    """Whether a queue has hardly moved for STALL_SECONDS; notes the time when it first looks."""
    if not outgoing.queue.size:
        return False
    if outgoing.stalled_since is None or outgoing.moved_bytes >= STALL_BYTES:
        outgoing.stalled_since = now
        outgoing.moved_bytes = 0
    return now - outgoing.stalled_since >= STALL_SECONDS
