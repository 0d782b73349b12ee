"""DERP frames: layout, limits and an incremental decoder; no I/O, for the relay and for DERP clients.

A frame is its type (1 byte), the length of its payload (4 bytes, big-endian), the payload.
Source: tailscale v1.102.4, derp/derp.go (types, layout), derp/derpserver/derpserver.go (limits).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from types import MappingProxyType
from typing import Final

from headscale.errors import Malformed
from headscale.keys import KEY_BYTES, NodeKey, node_key, raw_bytes

PROTOCOL_VERSION: Final = 2

HEADER: Final = Struct(">BI")
MAGIC: Final = b"DERP\xf0\x9f\x94\x91"

MAX_PACKET_BYTES: Final = 64 * 1024  # Go refuses to send more and disconnects whoever does
MAX_CLIENT_INFO_BYTES: Final = 256 * 1024  # the sender is unknown when we read it (golang/go#31789)
MIN_CLIENT_INFO_BYTES: Final = KEY_BYTES + 24  # a key and a nonce
MAX_SERVER_FRAME_BYTES: Final = 1024 * 1024  # a Go client disconnects when the server sends more
PING_BYTES: Final = 8
MAX_PING_BYTES: Final = 1000  # room for extensions; only the first PING_BYTES are echoed

# A disco message outside of WireGuard: magic, the sender's disco key, a nonce (disco/disco.go).
DISCO_MAGIC: Final = b"TS\xf0\x9f\x92\xac"
MIN_DISCO_BYTES: Final = len(DISCO_MAGIC) + KEY_BYTES + 24


class FrameType(IntEnum):
    """Every type that a client or server of today may send."""

    SERVER_KEY = 0x01
    CLIENT_INFO = 0x02
    SERVER_INFO = 0x03
    SEND_PACKET = 0x04
    RECV_PACKET = 0x05
    KEEP_ALIVE = 0x06
    NOTE_PREFERRED = 0x07
    PEER_GONE = 0x08
    PEER_PRESENT = 0x09
    FORWARD_PACKET = 0x0A
    WATCH_CONNS = 0x10
    CLOSE_PEER = 0x11
    PING = 0x12
    PONG = 0x13
    HEALTH = 0x14
    RESTARTING = 0x15


class GoneReason(IntEnum):
    """Why a peer cannot be reached through this relay."""

    DISCONNECTED = 0
    NOT_HERE = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame; `type` is one that the decoder's rules name."""

    type: FrameType
    payload: bytes


@dataclass(frozen=True, slots=True)
class Rules:
    """Which frames may come now: the lengths allowed for each type, and what to do about any other type."""

    lengths: Mapping[FrameType, range]
    skips_others: bool


_NEVER: Final = range(0)

# Only this may come before a client is known.
LOGIN_RULES: Final = Rules(
    MappingProxyType({FrameType.CLIENT_INFO: range(MIN_CLIENT_INFO_BYTES, MAX_CLIENT_INFO_BYTES + 1)}),
    skips_others=False,
)
# What an admitted client may send. Mesh frames belong to relays that hold a mesh key; we give none out.
# Other types are skipped whatever their length, as Go does, so that clients may learn new ones first.
CLIENT_RULES: Final = Rules(
    MappingProxyType(
        {
            FrameType.SEND_PACKET: range(KEY_BYTES, KEY_BYTES + MAX_PACKET_BYTES + 1),
            FrameType.NOTE_PREFERRED: range(1, 2),
            FrameType.PING: range(PING_BYTES, MAX_PING_BYTES + 1),
            FrameType.FORWARD_PACKET: _NEVER,
            FrameType.WATCH_CONNS: _NEVER,
            FrameType.CLOSE_PEER: _NEVER,
        }
    ),
    skips_others=True,
)
# What a client accepts from a server: anything known of up to MAX_SERVER_FRAME_BYTES.
SERVER_RULES: Final = Rules(
    MappingProxyType({kind: range(MAX_SERVER_FRAME_BYTES + 1) for kind in FrameType}), skips_others=True
)

_KINDS: Final = frozenset(FrameType)


class FrameDecoder:
    """Cuts a byte stream into frames.

    `rules` may be replaced between two frames and then holds for every header not yet looked at. At most one
    frame and what was fed at once is kept; a skipped frame is not kept at all.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._buffer = bytearray()
        self._skip_bytes = 0

    @property
    def buffered_bytes(self) -> int:
        """How many bytes were fed and not yet given out."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Append bytes; call `next_frame` until it returns None before feeding more."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None until more is fed; raises Malformed for what the rules forbid."""
        while True:
            self._drop_skipped()
            if self._skip_bytes or len(self._buffer) < HEADER.size:
                return None
            number, length = HEADER.unpack_from(self._buffer)
            if number in _KINDS and (kind := FrameType(number)) in self.rules.lengths:
                return self._cut(kind, length)
            if not self.rules.skips_others:
                raise Malformed(f"DERP frame type {number:#04x} is not expected here")
            self._skip_bytes = HEADER.size + length

    def _cut(self, kind: FrameType, length: int) -> Frame | None:
        if length not in self.rules.lengths[kind]:
            raise Malformed(f"DERP frame {kind.name} of {length} bytes is not allowed here")
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(memoryview(self._buffer)[HEADER.size : end])
        del self._buffer[:end]
        return Frame(kind, payload)

    def _drop_skipped(self) -> None:
        dropped = min(self._skip_bytes, len(self._buffer))
        del self._buffer[:dropped]
        self._skip_bytes -= dropped


def encode(kind: FrameType, payload: bytes = b"") -> bytes:
    """One frame on the wire."""
    return HEADER.pack(kind, len(payload)) + payload


def server_key_frame(public: bytes) -> bytes:
    """The server's greeting: magic and its 32 public bytes."""
    return encode(FrameType.SERVER_KEY, MAGIC + public)


def parse_server_key(payload: bytes) -> bytes:
    """The server's 32 public bytes; what follows them is ignored. Raises Malformed."""
    if not payload.startswith(MAGIC) or len(payload) < len(MAGIC) + KEY_BYTES:
        raise Malformed("not a DERP server greeting")
    return payload[len(MAGIC) : len(MAGIC) + KEY_BYTES]


def packet_frame(kind: FrameType, peer: NodeKey, packet: bytes) -> bytes:
    """SEND_PACKET to a peer or RECV_PACKET from it: 32 bytes of key, then the packet."""
    return HEADER.pack(kind, KEY_BYTES + len(packet)) + raw_bytes(peer) + packet


def parse_packet(payload: bytes) -> tuple[NodeKey, bytes]:
    """The peer and the packet of a SEND_PACKET or RECV_PACKET; raises Malformed."""
    return node_key(payload[:KEY_BYTES]), payload[KEY_BYTES:]


def peer_gone_frame(peer: NodeKey, reason: GoneReason) -> bytes:
    """Tells a client that a peer is not reachable here: 32 bytes of key, one of reason."""
    return encode(FrameType.PEER_GONE, raw_bytes(peer) + bytes([reason]))


def parse_peer_gone(payload: bytes) -> tuple[NodeKey, int]:
    """The peer and the number of the reason, 0 when it is missing (servers before 2023). Raises Malformed."""
    return node_key(payload[:KEY_BYTES]), payload[KEY_BYTES] if len(payload) > KEY_BYTES else 0


def is_disco(packet: bytes) -> bool:
    """Whether this packet looks like a disco message, which travels in a queue of its own."""
    return len(packet) >= MIN_DISCO_BYTES and packet.startswith(DISCO_MAGIC)
