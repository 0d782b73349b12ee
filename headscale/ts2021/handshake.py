"""The Noise IK handshake of ts2021, both roles: who is at the other end, and the two record keys.

Noise_IK_25519_ChaChaPoly_BLAKE2s without a pre-shared key and with empty payloads. The initiator is the
client with its machine key, the responder the server with its Noise key. The prologue binds the version
that stands in clear in the initiation's header.
Source: tailscale.com v1.102.4, control/controlbase/handshake.go; noiseprotocol.org, revision 34.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from headscale.errors import Malformed
from headscale.keys import MachineKey, PrivateKey, machine_key, raw_bytes
from headscale.ts2021.messages import (
    Initiation,
    MessageBroken,
    Response,
    decode_initiation,
    decode_response,
    encode_initiation,
    encode_response,
)

PROTOCOL_NAME: Final = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
PROLOGUE_PREFIX: Final = "Tailscale Control Protocol v"
_ZERO_NONCE: Final = bytes(12)
_HASH_BYTES: Final = 32


class HandshakeFailed(Malformed):
    """The other end does not hold the keys that it must, or sent something else than a handshake."""


@dataclass(frozen=True, slots=True)
class Session:
    """What a finished handshake proves: the peer's static key, its version, and one key a direction."""

    peer: MachineKey
    version: int
    sending: bytes = field(repr=False)
    receiving: bytes = field(repr=False)
    transcript: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoadedKey:
    """A private key made ready to use. Loading computes the public key, as dear as an exchange: do it once."""

    private: X25519PrivateKey
    public: bytes


def load_key(key: PrivateKey) -> LoadedKey:
    """Make a private key ready for handshakes."""
    private = X25519PrivateKey.from_private_bytes(key.raw)
    return LoadedKey(private, private.public_key().public_bytes_raw())


def generate_key() -> LoadedKey:
    """A fresh ephemeral key from the system's randomness."""
    private = X25519PrivateKey.generate()
    return LoadedKey(private, private.public_key().public_bytes_raw())


def respond(data: bytes, *, static: LoadedKey, ephemeral: LoadedKey) -> tuple[bytes, Session]:
    """Answer an initiation of 101 bytes: the 51 bytes to send and the session; raises HandshakeFailed."""
    message = _decoded_initiation(data)
    state = _Transcript(message.version, static.public)
    state.mix_hash(message.ephemeral)
    client = state.open(_shared(static, message.ephemeral), message.sealed_static)
    state.open(_shared(static, client), message.tag)

    reply_key = ephemeral.public
    state.mix_hash(reply_key)
    state.mix_key(_shared(ephemeral, message.ephemeral))
    tag = state.seal(_shared(ephemeral, client), b"")
    from_client, from_server = state.split()
    session = Session(machine_key(client), message.version, from_server, from_client, state.hash)
    return encode_response(Response(reply_key, tag)), session


def initiate(
    server: MachineKey, *, version: int, static: LoadedKey, ephemeral: LoadedKey
) -> tuple[bytes, "Pending"]:
    """The 101 bytes that open a session with `server`, and what is needed to finish it."""
    remote = raw_bytes(server)
    state = _Transcript(version, remote)
    state.mix_hash(ephemeral.public)
    sealed_static = state.seal(_shared(ephemeral, remote), static.public)
    tag = state.seal(_shared(static, remote), b"")
    message = Initiation(version, ephemeral.public, sealed_static, tag)
    return encode_initiation(message), Pending(server, version, static, ephemeral, state)


def finish(pending: "Pending", data: bytes) -> Session:
    """The session, from the server's 51 bytes; raises HandshakeFailed. A pending handshake ends once."""
    try:
        message = decode_response(data)
    except MessageBroken as error:
        raise HandshakeFailed(str(error)) from error
    state = pending.state
    state.mix_hash(message.ephemeral)
    state.mix_key(_shared(pending.ephemeral, message.ephemeral))
    state.open(_shared(pending.static, message.ephemeral), message.tag)
    from_client, from_server = state.split()
    return Session(pending.server, pending.version, from_client, from_server, state.hash)


def _decoded_initiation(data: bytes) -> Initiation:
    try:
        return decode_initiation(data)
    except MessageBroken as error:
        raise HandshakeFailed(str(error)) from error


def _shared(own: LoadedKey, public: bytes) -> bytes:
    """X25519; a low-order point, which would give everyone the same zero secret, is a failure."""
    try:
        return own.private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise HandshakeFailed("the handshake uses a key of low order") from error


def _derive(chaining: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF with HMAC-BLAKE2s and an empty info: two outputs of 32 bytes."""
    secret = hmac.digest(chaining, material, hashlib.blake2s)
    first = hmac.digest(secret, b"\x01", hashlib.blake2s)
    return first, hmac.digest(secret, first + b"\x02", hashlib.blake2s)


class _Transcript:
    """Noise's symmetric state. Each derived key seals exactly once, so its nonce is always zero."""

    __slots__ = ("_chaining", "hash")

    def __init__(self, version: int, server: bytes) -> None:
        self.hash = self._chaining = hashlib.blake2s(PROTOCOL_NAME).digest()
        self.mix_hash(f"{PROLOGUE_PREFIX}{version}".encode())
        self.mix_hash(server)

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.blake2s(self.hash + data).digest()

    def mix_key(self, material: bytes) -> bytes:
        self._chaining, key = _derive(self._chaining, material)
        return key

    def seal(self, shared: bytes, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self.mix_key(shared)).encrypt(_ZERO_NONCE, plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, shared: bytes, sealed: bytes) -> bytes:
        try:
            plaintext = ChaCha20Poly1305(self.mix_key(shared)).decrypt(_ZERO_NONCE, sealed, self.hash)
        except InvalidTag as error:
            raise HandshakeFailed("the handshake was not made for this key") from error
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The record keys: client to server, server to client."""
        return _derive(self._chaining, b"")


@dataclass(frozen=True, slots=True)
class Pending:
    """An initiator that waits for the response."""

    server: MachineKey
    version: int
    static: LoadedKey
    ephemeral: LoadedKey
    state: _Transcript = field(repr=False)
