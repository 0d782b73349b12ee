"""The two sealed messages of a DERP login: who the client is, and that the server holds its key.

Both are a NaCl box between the client's node key and the server's key: 24 bytes of random nonce, then the
ciphertext of a JSON object. The one from the client is preceded by its 32 public bytes.
Source: tailscale v1.102.4, derp/derp.go (ClientInfo, ServerInfo), derp/derpserver/derpserver.go.
"""

from typing import Final

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import Box
from nacl.public import PrivateKey as BoxPrivateKey
from nacl.public import PublicKey as BoxPublicKey

from headscale.derp.frames import PROTOCOL_VERSION
from headscale.errors import Malformed
from headscale.keys import KEY_BYTES, NodeKey, PrivateKey, node_key

NONCE_BYTES: Final = Box.NONCE_SIZE


class ServerInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the server tells an admitted client; a client drops what it would send above the token bucket."""

    version: int
    token_bucket_bytes_per_second: int = msgspec.field(default=0, name="TokenBucketBytesPerSecond")
    token_bucket_bytes_burst: int = msgspec.field(default=0, name="TokenBucketBytesBurst")


def open_client_info(payload: bytes, private: PrivateKey) -> NodeKey:
    """The node key that a CLIENT_INFO frame proves; raises Malformed.

    The JSON must be an object; its content is not used. Go spells the keys in there differently from
    tailscale-rs, which sends a mesh key of "none", so nothing in there may make a login fail.
    """
    public = payload[:KEY_BYTES]
    plaintext = _open(payload[KEY_BYTES:], private, public)
    try:
        msgspec.json.decode(plaintext, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed("a DERP client's info is not a JSON object") from error
    return node_key(public)


def seal_client_info(private: PrivateKey, server: bytes, *, nonce: bytes) -> bytes:
    """The payload of a CLIENT_INFO frame, as a Go client without a mesh key sends it."""
    info = {"version": PROTOCOL_VERSION, "CanAckPings": True}
    return private.public + _seal(msgspec.json.encode(info), private, server, nonce)


def seal_server_info(private: PrivateKey, client: bytes, *, nonce: bytes) -> bytes:
    """The payload of a SERVER_INFO frame; tailscale-rs accepts only version 2."""
    return _seal(msgspec.json.encode(ServerInfo(version=PROTOCOL_VERSION)), private, client, nonce)


def open_server_info(payload: bytes, private: PrivateKey, server: bytes) -> ServerInfo:
    """Read a SERVER_INFO frame; raises Malformed."""
    try:
        return msgspec.json.decode(_open(payload, private, server), type=ServerInfo)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed("a DERP server's info is not the JSON object that it should be") from error


def _open(sealed: bytes, private: PrivateKey, public: bytes) -> bytes:
    try:
        return _box(private, public).decrypt(sealed)
    except CryptoError as error:
        raise Malformed("a box of the DERP login does not open with these keys") from error


def _seal(plaintext: bytes, private: PrivateKey, public: bytes, nonce: bytes) -> bytes:
    return bytes(_box(private, public).encrypt(plaintext, nonce))


def _box(private: PrivateKey, public: bytes) -> Box:
    """A box between these keys; a public key that X25519 refuses (the zero key) is Malformed."""
    try:
        return Box(BoxPrivateKey(private.raw), BoxPublicKey(public))
    except CryptoError as error:
        raise Malformed("a key of the DERP login is not usable") from error
