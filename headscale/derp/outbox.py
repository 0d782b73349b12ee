"""What waits to be sent to one DERP client: bounded, newest kept, disco and other packets side by side."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from headscale.derp.frames import (
    FrameType,
    GoneReason,
    encode,
    is_disco,
    packet_frame,
    peer_gone_frame,
)
from headscale.keys import NodeKey

# Per client and kind, as in tailscale v1.102.4 derp/derpserver; a fresh packet is worth more than an old one.
QUEUE_PACKETS: Final = 32
# A client may have this many different peers reported gone before it reads; the oldest report is dropped.
QUEUE_GONE: Final = 1024


@dataclass(frozen=True, slots=True)
class _Packet:
    source: NodeKey
    content: bytes


class Outbox:
    """Frames for one client, in this order: login, pong, keep-alive, peers gone, packets.

    Disco and other packets take turns, so that neither starves the other. At most one pong and one keep-alive
    wait: a client that pings faster than it reads gets fewer answers.
    """

    def __init__(self) -> None:
        self._login: deque[bytes] = deque()
        self._pong: bytes | None = None
        self._keep_alive = False
        self._gone: dict[tuple[NodeKey, GoneReason], None] = {}
        self._disco: deque[_Packet] = deque(maxlen=QUEUE_PACKETS)
        self._other: deque[_Packet] = deque(maxlen=QUEUE_PACKETS)
        self._disco_next = True

    def put_login(self, frame: bytes) -> None:
        """Queue a frame of the login; there are two of them at most."""
        self._login.append(frame)

    def put_pong(self, payload: bytes) -> None:
        """Queue a pong unless one waits already."""
        if self._pong is None:
            self._pong = payload

    def put_keep_alive(self) -> None:
        """Queue a keep-alive unless one waits already."""
        self._keep_alive = True

    def put_gone(self, peer: NodeKey, reason: GoneReason) -> None:
        """Queue the report that a peer is gone, once."""
        self._gone[peer, reason] = None
        if len(self._gone) > QUEUE_GONE:
            del self._gone[next(iter(self._gone))]

    def put_packet(self, source: NodeKey, content: bytes) -> bool:
        """Queue a packet, dropping the oldest of its kind when there is no room; whether that was so."""
        queue = self._disco if is_disco(content) else self._other
        is_full = len(queue) == QUEUE_PACKETS
        queue.append(_Packet(source, content))
        return is_full

    @property
    def packets(self) -> int:
        """How many packets wait."""
        return len(self._disco) + len(self._other)

    @property
    def crowded(self) -> bool:
        """Whether a queue is half full or more: flush now, so that one burst does not push itself out."""
        return max(len(self._disco), len(self._other)) >= QUEUE_PACKETS // 2

    def take(self, size_bytes: int) -> tuple[bytes, frozenset[NodeKey]]:
        """Frames of about this size (at least one if any waits) and whose packets are among them."""
        frames: list[bytes] = []
        sources: set[NodeKey] = set()
        taken = 0
        while taken < size_bytes and (frame := self._next(sources)) is not None:
            frames.append(frame)
            taken += len(frame)
        return b"".join(frames), frozenset(sources)

    def _next(self, sources: set[NodeKey]) -> bytes | None:
        if self._login:
            return self._login.popleft()
        if self._pong is not None:
            pong, self._pong = self._pong, None
            return encode(FrameType.PONG, pong)
        if self._keep_alive:
            self._keep_alive = False
            return encode(FrameType.KEEP_ALIVE)
        if self._gone:
            peer, reason = next(iter(self._gone))
            del self._gone[peer, reason]
            return peer_gone_frame(peer, reason)
        if packet := self._next_packet():
            sources.add(packet.source)
            return packet_frame(FrameType.RECV_PACKET, packet.source, packet.content)
        return None

    def _next_packet(self) -> _Packet | None:
        first, second = (self._disco, self._other) if self._disco_next else (self._other, self._disco)
        self._disco_next = not self._disco_next
        if first:
            return first.popleft()
        return second.popleft() if second else None
