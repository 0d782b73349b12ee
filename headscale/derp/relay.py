"""The relay: logs DERP clients in and passes packets between them; no I/O, no clock, no randomness of its own.

A shell opens a connection, feeds it bytes, applies the events that come back, and takes bytes to send.

    CONNECTED --ClientInfo--> ASKED --admitted--> SERVING --closed, forbidden frame, stalled--> gone
        |                       |
        +-- bad or late login --+-- refused, too late, too many early bytes --> gone

ServerKey is sent at once and ServerInfo first after admission; then only KeepAlive, Pong, PeerGone and
RecvPacket, because tailscale-rs closes a connection that brings it anything else.

Packets (tailscale v1.102.4, derp/derpserver/derpserver.go):
- A packet to a key that is not connected is dropped. If it is a disco message its sender hears
  PeerGone(NOT_HERE), so that it stops trying; no more than 3 at once and one a second after that.
- When the last connection of a key closes, every connection that was sent a packet of it hears
  PeerGone(DISCONNECTED).
- What waits for a client is bounded (outbox.py); which connection of a key is served: routing.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from headscale.counts import RelayCounts
from headscale.derp import boxes
from headscale.derp.frames import (
    CLIENT_RULES,
    LOGIN_RULES,
    PING_BYTES,
    Frame,
    FrameDecoder,
    FrameType,
    GoneReason,
    encode,
    is_disco,
    parse_packet,
    server_key_frame,
)
from headscale.derp.outbox import Outbox
from headscale.derp.routing import ConnectionId, RoutingTable
from headscale.errors import Malformed
from headscale.keys import ZERO_NODE_KEY, NodeKey, PrivateKey, raw_bytes

# Seconds. The login limit and the keep-alive are Go's; a client gives up after 120 s without a frame.
LOGIN_LIMIT: Final = 10.0
KEEP_ALIVE_EVERY: Final = 60.0
KEEP_ALIVE_JITTER: Final = 5.0
# Seconds that a client may leave the shell's buffer above its high mark. Go gives each write 2 s; what has
# to drain here is up to 64 KiB, so a phone on a bad link gets 10.
STALL_LIMIT: Final = 10.0
# Go clients send packets right behind ClientInfo, before ServerInfo can have reached them. The shell stops
# reading while it asks for admission, so one read (256 KiB in asyncio) at most comes too early; a ClientInfo
# that is not complete may be as long again.
MAX_BUFFERED_BYTES: Final = 1024 * 1024
# PeerGone(NOT_HERE) for each sender: this many at once, then one a second.
NOT_HERE_BURST: Final = 3.0
NOT_HERE_PER_SECOND: Final = 1.0
# Why we finish connections, but for what a client did wrong.
LOGIN_LATE, STALLED, EVICTED = FINISHED = ("login took too long", "client does not read", "evicted")


class _Stage(Enum):
    CONNECTED = auto()
    ASKED = auto()
    SERVING = auto()
    GONE = auto()


@dataclass(frozen=True, slots=True)
class AdmissionAsked:
    """The client proved this key: stop reading, find out whether it may use the relay, call `admit`."""

    connection: ConnectionId
    key: NodeKey


@dataclass(frozen=True, slots=True)
class Output:
    """There is something to take and send for this connection."""

    connection: ConnectionId


@dataclass(frozen=True, slots=True)
class Finished:
    """Close this connection and call `close`; the reason is for our log, the peer is told nothing."""

    connection: ConnectionId
    reason: str


Event = AdmissionAsked | Output | Finished


@dataclass(slots=True)
class _Connection:
    """The state of one connection; `key` is known from ASKED on, `deadline` is for the login."""

    id: ConnectionId
    deadline: float
    stage: _Stage = _Stage.CONNECTED
    key: NodeKey = ZERO_NODE_KEY
    decoder: FrameDecoder = field(default_factory=lambda: FrameDecoder(LOGIN_RULES))
    outbox: Outbox = field(default_factory=Outbox)
    keep_alive_due: float = 0.0
    stalled_at: float | None = None
    not_here_tokens: float = NOT_HERE_BURST
    not_here_at: float = 0.0


class Relay:
    """Every connection of one relay. `now` is monotonic seconds, from the same clock in all calls.

    `random_bytes(count)` gives nonces; `jitter()` a number in [0, 1) for each keep-alive interval.
    """

    def __init__(
        self,
        private: PrivateKey,
        *,
        random_bytes: Callable[[int], bytes],
        jitter: Callable[[], float],
        counts: RelayCounts | None = None,
    ) -> None:
        self._private = private
        self._greeting = server_key_frame(private.public)
        self._random_bytes = random_bytes
        self._jitter = jitter
        self.counts = counts or RelayCounts()
        self._last_id = 0
        self._connections: dict[ConnectionId, _Connection] = {}
        self._routing = RoutingTable()

    def open(self, *, now: float) -> ConnectionId:
        """A client connected; its greeting is ready to be taken."""
        self._last_id += 1
        connection = _Connection(ConnectionId(self._last_id), deadline=now + LOGIN_LIMIT)
        connection.outbox.put_login(self._greeting)
        self._connections[connection.id] = connection
        self.counts.accepted += 1
        return connection.id

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def clients(self) -> int:
        """How many connections are served. May be asked in any thread."""
        return sum(connection.stage is _Stage.SERVING for connection in list(self._connections.values()))

    @property
    def waiting(self) -> int:
        """How many packets wait to be sent to clients. May be asked in any thread."""
        return sum(connection.outbox.packets for connection in list(self._connections.values()))

    def receive(self, connection_id: ConnectionId, data: bytes, *, now: float) -> Iterator[Event]:
        """The client sent these bytes. Iterate to the end, applying each event before asking for the next."""
        if (connection := self._connections.get(connection_id)) is not None:
            self.counts.received_bytes += len(data)
            connection.decoder.feed(data)
            yield from self._run(connection, now)

    def admit(self, connection_id: ConnectionId, *, now: float) -> Iterator[Event]:
        """The answer to AdmissionAsked was yes (for a no, close the connection). Iterate as for `receive`."""
        connection = self._connections.get(connection_id)
        if connection is None or connection.stage is not _Stage.ASKED:
            return
        nonce = self._random_bytes(boxes.NONCE_BYTES)
        info = boxes.seal_server_info(self._private, raw_bytes(connection.key), nonce=nonce)
        connection.outbox.put_login(encode(FrameType.SERVER_INFO, info))
        connection.stage = _Stage.SERVING
        connection.decoder.rules = CLIENT_RULES
        connection.keep_alive_due = self._next_keep_alive(now)
        connection.not_here_at = now
        self._routing.add(connection.key, connection_id)
        yield Output(connection_id)
        yield from self._run(connection, now)

    def take(self, connection_id: ConnectionId, size_bytes: int) -> bytes:
        """Up to about this many bytes to send now; empty when nothing waits."""
        if (connection := self._connections.get(connection_id)) is None:
            return b""
        data, sources = connection.outbox.take(size_bytes)
        self._routing.note_sent(connection_id, sources)
        self.counts.sent_bytes += len(data)
        return data

    def stall(self, connection_id: ConnectionId, *, now: float) -> None:
        """The shell has more unsent bytes for this client than it likes."""
        if (connection := self._connections.get(connection_id)) is not None:
            connection.stalled_at = now

    def unstall(self, connection_id: ConnectionId) -> None:
        """The client has caught up."""
        if (connection := self._connections.get(connection_id)) is not None:
            connection.stalled_at = None

    def close(self, connection_id: ConnectionId) -> list[Event]:
        """The connection has ended, for whatever reason; may be said twice."""
        connection = self._connections.pop(connection_id, None)
        if connection is None or connection_id not in self._routing.connections(connection.key):
            return []
        listeners = self._routing.remove(connection.key, connection_id)
        for listener in listeners:
            self._connections[listener].outbox.put_gone(connection.key, GoneReason.DISCONNECTED)
        return [Output(listener) for listener in listeners]

    def evict(self, key: NodeKey) -> list[Event]:
        """A node that may no longer use the relay: finish its connections."""
        return [Finished(connection, EVICTED) for connection in self._routing.connections(key)]

    def tick(self, *, now: float) -> list[Event]:
        """Keep-alives and time limits; call about once a second."""
        events: list[Event] = []
        for connection in self._connections.values():
            if connection.stage is not _Stage.SERVING and now >= connection.deadline:
                events.append(Finished(connection.id, LOGIN_LATE))
            elif connection.stalled_at is not None and now >= connection.stalled_at + STALL_LIMIT:
                events.append(Finished(connection.id, STALLED))
            elif connection.stage is _Stage.SERVING and now >= connection.keep_alive_due:
                connection.keep_alive_due = self._next_keep_alive(now)
                connection.outbox.put_keep_alive()
                events.append(Output(connection.id))
        return events

    def _run(self, connection: _Connection, now: float) -> Iterator[Event]:
        """Handle every whole frame; what the decoder or a box refuses finishes the connection."""
        dirty: dict[ConnectionId, None] = {}
        refusal: Malformed | None = None
        try:
            while connection.stage in (_Stage.CONNECTED, _Stage.SERVING):
                if (frame := connection.decoder.next_frame()) is None:
                    break
                if frame.type is FrameType.CLIENT_INFO:
                    yield self._login(connection, frame)
                elif (target := self._serve(connection, frame, now=now)) is not None:
                    dirty[target.id] = None
                    if target.outbox.crowded:
                        yield Output(target.id)
            if connection.decoder.buffered_bytes > MAX_BUFFERED_BYTES:
                raise Malformed(f"more than {MAX_BUFFERED_BYTES} bytes before the login was done")
        except Malformed as error:
            connection.stage = _Stage.GONE
            refusal = error
        for connection_id in dirty:  # before the end, so that whoever hears a packet hears of the end as well
            yield Output(connection_id)
        if refusal is not None:
            yield Finished(connection.id, str(refusal))

    def _login(self, connection: _Connection, frame: Frame) -> Event:
        connection.key = boxes.open_client_info(frame.payload, self._private)
        connection.stage = _Stage.ASKED
        return AdmissionAsked(connection.id, connection.key)

    def _serve(self, connection: _Connection, frame: Frame, *, now: float) -> _Connection | None:
        """Handle one frame of an admitted client; who has something to be sent because of it."""
        self._routing.note_active(connection.key, connection.id)
        match frame.type:
            case FrameType.SEND_PACKET:
                return self._forward(connection, frame, now=now)
            case FrameType.PING:
                connection.outbox.put_pong(frame.payload[:PING_BYTES])
                return connection
            case _:  # NOTE_PREFERRED feeds statistics only
                return None

    def _forward(self, connection: _Connection, frame: Frame, *, now: float) -> _Connection | None:
        peer, packet = parse_packet(frame.payload)
        if (destination := self._routing.destination(peer)) is not None:
            target = self._connections[destination]
            if target.outbox.put_packet(connection.key, packet):
                self.counts.dropped["queue full"] += 1
            self.counts.forwarded["disco" if is_disco(packet) else "other"] += 1
            return target
        self.counts.dropped["not here"] += 1
        if is_disco(packet) and _may_report_not_here(connection, now):
            connection.outbox.put_gone(peer, GoneReason.NOT_HERE)
            return connection
        return None

    def _next_keep_alive(self, now: float) -> float:
        return now + KEEP_ALIVE_EVERY + KEEP_ALIVE_JITTER * self._jitter()


def _may_report_not_here(connection: _Connection, now: float) -> bool:
    """Take a token from the sender's bucket, if it holds one."""
    refill = (now - connection.not_here_at) * NOT_HERE_PER_SECOND
    connection.not_here_tokens = min(NOT_HERE_BURST, connection.not_here_tokens + refill)
    connection.not_here_at = now
    if connection.not_here_tokens < 1:
        return False
    connection.not_here_tokens -= 1
    return True
