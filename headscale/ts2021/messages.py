"""Layouts of the four ts2021 message types, for both ends: sizes, types and lengths are checked here.

All integers are big endian. Every type but the initiation starts with its type byte and a two-byte length
of the rest; the initiation has the protocol version in front.
Source: tailscale.com v1.102.4, control/controlbase (messages.go, conn.go).
"""

import struct
from dataclasses import dataclass
from typing import Final

from headscale.errors import Malformed

TYPE_INITIATION: Final = 1
TYPE_RESPONSE: Final = 2
TYPE_ERROR: Final = 3
TYPE_RECORD: Final = 4

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
SEALED_KEY_BYTES: Final = KEY_BYTES + TAG_BYTES

HEADER_BYTES: Final = 3
INITIATION_BYTES: Final = 2 + HEADER_BYTES + KEY_BYTES + SEALED_KEY_BYTES + TAG_BYTES
RESPONSE_BYTES: Final = HEADER_BYTES + KEY_BYTES + TAG_BYTES

# A Go client closes the connection when a larger frame is announced.
MAX_FRAME_BYTES: Final = 4096
MAX_CIPHERTEXT_BYTES: Final = MAX_FRAME_BYTES - HEADER_BYTES
MAX_PLAINTEXT_BYTES: Final = MAX_CIPHERTEXT_BYTES - TAG_BYTES

_HEADER: Final = struct.Struct(">BH")
_INITIATION_HEADER: Final = struct.Struct(">HBH")


class MessageBroken(Malformed):
    """A message with a wrong type, a wrong length, or cut short."""


@dataclass(frozen=True, slots=True)
class Initiation:
    """The client's first message; the version is its capability version."""

    version: int
    ephemeral: bytes
    sealed_static: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """The server's answer to an initiation."""

    ephemeral: bytes
    tag: bytes


def encode_initiation(message: Initiation) -> bytes:
    """101 bytes: version (2), type 1, length 96 (2), ephemeral key (32), sealed static key (48), tag (16)."""
    header = _INITIATION_HEADER.pack(message.version, TYPE_INITIATION, INITIATION_BYTES - 5)
    return header + message.ephemeral + message.sealed_static + message.tag


def decode_initiation(data: bytes) -> Initiation:
    """The fields of exactly 101 bytes; raises MessageBroken."""
    if len(data) != INITIATION_BYTES:
        raise MessageBroken(f"an initiation has {INITIATION_BYTES} bytes, got {len(data)}")
    version, kind, length = _INITIATION_HEADER.unpack_from(data)
    _expect(kind, length, expected=(TYPE_INITIATION, INITIATION_BYTES - _INITIATION_HEADER.size))
    rest = data[_INITIATION_HEADER.size :]
    sealed_end = KEY_BYTES + SEALED_KEY_BYTES
    return Initiation(version, rest[:KEY_BYTES], rest[KEY_BYTES:sealed_end], rest[sealed_end:])


def encode_response(message: Response) -> bytes:
    """51 bytes: type 2, length 48 (2), ephemeral key (32), tag (16)."""
    return _HEADER.pack(TYPE_RESPONSE, RESPONSE_BYTES - HEADER_BYTES) + message.ephemeral + message.tag


def decode_response(data: bytes) -> Response:
    """The fields of exactly 51 bytes; raises MessageBroken."""
    if len(data) != RESPONSE_BYTES:
        raise MessageBroken(f"a response has {RESPONSE_BYTES} bytes, got {len(data)}")
    kind, length = _HEADER.unpack_from(data)
    _expect(kind, length, expected=(TYPE_RESPONSE, RESPONSE_BYTES - HEADER_BYTES))
    rest = data[HEADER_BYTES:]
    return Response(rest[:KEY_BYTES], rest[KEY_BYTES:])


def encode_error(text: str) -> bytes:
    """Type 3, length (2), text: sent in clear, and only in place of a response."""
    body = text.encode()[:MAX_CIPHERTEXT_BYTES]
    return _HEADER.pack(TYPE_ERROR, len(body)) + body


def encode_record_header(ciphertext_bytes: int) -> bytes:
    """Type 4 and the length (2) of the ciphertext with its tag."""
    return _HEADER.pack(TYPE_RECORD, ciphertext_bytes)


def decode_header(data: bytes | bytearray) -> tuple[int, int]:
    """Type and length of the rest, from the first three bytes of any message but an initiation."""
    kind, length = _HEADER.unpack_from(data)
    return kind, length


def _expect(kind: int, length: int, *, expected: tuple[int, int]) -> None:
    if (kind, length) != expected:
        raise MessageBroken(f"expected message type and length {expected}, got {(kind, length)}")
