"""The early payload: what a server may say inside Noise before HTTP/2 starts.

Nine bytes, a magic (5) and a big-endian length (4), stand where an HTTP/2 frame header would, then JSON. It
names a challenge key; no shipped client uses it any more, but all look for it.
Source: tailscale.com v1.102.4, control/ts2021/conn.go.
"""

import struct
from dataclasses import dataclass
from typing import Final

import msgspec

from headscale.errors import Malformed
from headscale.keys import ChallengeKey

MAGIC: Final = b"\xff\xff\xffTS"
HEADER_BYTES: Final = 9
# tailscale-rs gives up at more than this (Go: 10 MiB).
MAX_EARLY_BYTES: Final = 1024

_HEADER: Final = struct.Struct(">5sI")


class EarlyBroken(Malformed):
    """An early payload that is too long or is not the expected JSON."""


class EarlyPayload(msgspec.Struct, frozen=True, rename="camel"):
    """`nodeKeyChallenge` is the only field known; unknown ones are ignored."""

    node_key_challenge: str = ""


@dataclass(frozen=True, slots=True)
class EarlyResult:
    """The payload or None when HTTP/2 starts at once, and the bytes that belong to HTTP/2."""

    payload: EarlyPayload | None
    rest: bytes


def encode_early(challenge: ChallengeKey) -> bytes:
    """Magic, length and JSON, to be sent first inside Noise."""
    body = msgspec.json.encode(EarlyPayload(challenge))
    return _HEADER.pack(MAGIC, len(body)) + body


def decode_early(data: bytes) -> EarlyResult | None:
    """Split the first bytes from a server; None while more are needed. Raises EarlyBroken."""
    if not MAGIC.startswith(data[: len(MAGIC)]):
        return EarlyResult(None, data)
    if len(data) < HEADER_BYTES:
        return None
    _, length = _HEADER.unpack_from(data)
    if length > MAX_EARLY_BYTES:
        raise EarlyBroken(f"an early payload has at most {MAX_EARLY_BYTES} bytes, announced {length}")
    end = HEADER_BYTES + length
    if len(data) < end:
        return None
    try:
        payload = msgspec.json.decode(data[HEADER_BYTES:end], type=EarlyPayload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EarlyBroken("an early payload that is not the expected JSON") from error
    return EarlyResult(payload, data[end:])
