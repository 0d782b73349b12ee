"""Machine, node, disco and challenge keys: parse, print, compare.

A public key is its canonical text (`nodekey:` and 64 lower-case hex digits): as text it is a database
value, a wire value and a dictionary key without conversion. A distinct NewType for each kind keeps mypy
between them. The zero key parses and means "none".
Source: tailscale.com v1.102.4, types/key.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Final, NewType

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from headscale.errors import Malformed

MachineKey = NewType("MachineKey", str)
NodeKey = NewType("NodeKey", str)
DiscoKey = NewType("DiscoKey", str)
ChallengeKey = NewType("ChallengeKey", str)

MACHINE_PREFIX: Final = "mkey:"
NODE_PREFIX: Final = "nodekey:"
DISCO_PREFIX: Final = "discokey:"
CHALLENGE_PREFIX: Final = "chalpub:"
PRIVATE_PREFIX: Final = "privkey:"

KEY_BYTES: Final = 32
_HEX = "[0-9a-fA-F]{64}"

# For wire types: msgspec checks the pattern while it decodes; `canonical` lowers the case afterwards.
WireMachineKey = Annotated[str, msgspec.Meta(pattern=f"^{MACHINE_PREFIX}{_HEX}\\Z")]
WireNodeKey = Annotated[str, msgspec.Meta(pattern=f"^{NODE_PREFIX}{_HEX}\\Z")]
WireDiscoKey = Annotated[str, msgspec.Meta(pattern=f"^{DISCO_PREFIX}{_HEX}\\Z")]

ZERO_MACHINE_KEY: Final = MachineKey(MACHINE_PREFIX + "0" * 64)
ZERO_NODE_KEY: Final = NodeKey(NODE_PREFIX + "0" * 64)
ZERO_DISCO_KEY: Final = DiscoKey(DISCO_PREFIX + "0" * 64)


def parse_machine_key(text: str) -> MachineKey:
    """`mkey:…` in any case to its canonical form; raises Malformed."""
    return MachineKey(_canonical(text, MACHINE_PREFIX))


def parse_node_key(text: str) -> NodeKey:
    """`nodekey:…` in any case to its canonical form; raises Malformed."""
    return NodeKey(_canonical(text, NODE_PREFIX))


def parse_disco_key(text: str) -> DiscoKey:
    """`discokey:…` in any case to its canonical form; raises Malformed."""
    return DiscoKey(_canonical(text, DISCO_PREFIX))


def machine_key(raw: bytes) -> MachineKey:
    """The machine key of 32 public bytes."""
    return MachineKey(MACHINE_PREFIX + _sized(raw).hex())


def node_key(raw: bytes) -> NodeKey:
    """The node key of 32 public bytes."""
    return NodeKey(NODE_PREFIX + _sized(raw).hex())


def disco_key(raw: bytes) -> DiscoKey:
    """The disco key of 32 public bytes."""
    return DiscoKey(DISCO_PREFIX + _sized(raw).hex())


def challenge_key(raw: bytes) -> ChallengeKey:
    """The challenge key of 32 public bytes."""
    return ChallengeKey(CHALLENGE_PREFIX + _sized(raw).hex())


def raw_bytes(key: str) -> bytes:
    """The 32 public bytes behind a canonical key of any kind."""
    return bytes.fromhex(key[-2 * KEY_BYTES :])


def is_zero(key: str) -> bool:
    """Whether this key is the all-zero one that stands for "none"; so does an empty text."""
    return not key.strip("0") or key.endswith(":" + "0" * 64)


def _canonical(text: str, prefix: str) -> str:
    if not re.fullmatch(prefix + _HEX, text):
        raise Malformed(f"not a key: expected {prefix} and 64 hex digits, got {text[:80]!r}")
    return text.lower()


def _sized(raw: bytes) -> bytes:
    if len(raw) != KEY_BYTES:
        raise Malformed(f"a key has {KEY_BYTES} bytes, got {len(raw)}")
    return raw


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PrivateKey:
    """32 bytes of X25519 secret, clamped; prints as [redacted] and compares in constant time."""

    raw: bytes

    def __post_init__(self) -> None:
        _sized(self.raw)

    def __repr__(self) -> str:
        return "PrivateKey([redacted])"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and hmac.compare_digest(self.raw, other.raw)

    def __hash__(self) -> int:
        return hash(self.public)

    @property
    def public(self) -> bytes:
        """The 32 public bytes."""
        return X25519PrivateKey.from_private_bytes(self.raw).public_key().public_bytes_raw()

    def reveal(self) -> str:
        """The text form kept in key files: `privkey:` and 64 hex digits."""
        return PRIVATE_PREFIX + self.raw.hex()


def generate_private_key() -> PrivateKey:
    """A new clamped X25519 private key from the system's randomness."""
    raw = bytearray(secrets.token_bytes(KEY_BYTES))
    raw[0] &= 248
    raw[31] = (raw[31] & 127) | 64
    return PrivateKey(bytes(raw))


def parse_private_key(text: str) -> PrivateKey:
    """The key in a key file's text; surrounding white space is ignored, the text is never in the error."""
    stripped = text.strip()
    if not re.fullmatch(PRIVATE_PREFIX + _HEX, stripped):
        raise Malformed(f"not a private key: expected {PRIVATE_PREFIX} and 64 hex digits")
    return PrivateKey(bytes.fromhex(stripped[len(PRIVATE_PREFIX) :]))
