"""The sealed messages of a DERP login."""

import pytest
from nacl.public import Box
from nacl.public import PrivateKey as BoxPrivateKey
from nacl.public import PublicKey as BoxPublicKey

from headscale.derp import boxes
from headscale.errors import Malformed
from headscale.keys import PrivateKey, node_key

SERVER = PrivateKey(b"\x50" * 31 + b"\x41")
CLIENT = PrivateKey(b"\x60" * 31 + b"\x42")
NONCE = bytes(range(24))
SMALL_ORDER = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")


def sealed(text: bytes) -> bytes:
    """A CLIENT_INFO payload with any text inside, made with nacl alone."""
    box = Box(BoxPrivateKey(CLIENT.raw), BoxPublicKey(SERVER.public))
    return CLIENT.public + bytes(box.encrypt(text, NONCE))


@pytest.mark.parametrize(
    "text",
    [
        b'{"meshKey":"","version":2,"CanAckPings":true,"IsProber":false}',
        b'{"can_ack_pings":true,"is_prober":false,"mesh_key":"none","version":2}',
        b'{"version":"later","new":[{}]}',
        b"{}",
    ],
)
def test_any_object_logs_in(text: bytes) -> None:
    """Go's spelling, that of tailscale-rs with its mesh key "none", and keys that we do not know."""
    assert boxes.open_client_info(sealed(text), SERVER) == node_key(CLIENT.public)


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"2", b"{", b"\xff", b'{"a":' + b"[" * 60000])
def test_what_is_not_an_object_is_malformed(text: bytes) -> None:
    """Nor do invalid text or deep nesting raise anything else."""
    with pytest.raises(Malformed):
        boxes.open_client_info(sealed(text), SERVER)


def test_every_byte_of_client_info_counts() -> None:
    """With any byte changed, the box does not open."""
    good = sealed(b"{}")
    for position in range(len(good)):
        bad = bytearray(good)
        # Bit 255 of an X25519 key is ignored by design, so flip another one.
        bad[position] ^= 0x01
        with pytest.raises(Malformed):
            boxes.open_client_info(bytes(bad), SERVER)


@pytest.mark.parametrize("length", range(74))
def test_a_cut_client_info_is_malformed(length: int) -> None:
    """At every length below key, nonce, tag and object."""
    with pytest.raises(Malformed):
        boxes.open_client_info(sealed(b"{}")[:length], SERVER)


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), SMALL_ORDER])
def test_a_key_without_secrets_is_malformed(public: bytes) -> None:
    """The zero key and points of small order would make a box that anyone can open."""
    with pytest.raises(Malformed):
        boxes.open_client_info(public + bytes(60), SERVER)


def test_our_client_info_opens() -> None:
    """What the harness' client sends is what the server reads."""
    payload = boxes.seal_client_info(CLIENT, SERVER.public, nonce=NONCE)
    assert boxes.open_client_info(payload, SERVER) == node_key(CLIENT.public)


def test_server_info_is_version_two_and_nothing_else() -> None:
    """The text inside is exactly what tailscale-rs expects; a key that is absent sets no rate limit."""
    payload = boxes.seal_server_info(SERVER, CLIENT.public, nonce=NONCE)
    box = Box(BoxPrivateKey(CLIENT.raw), BoxPublicKey(SERVER.public))
    assert box.decrypt(payload) == b'{"version":2}'
    assert payload[:24] == NONCE
    assert boxes.open_server_info(payload, CLIENT, SERVER.public).version == 2


def test_server_info_for_another_does_not_open() -> None:
    """A client that holds another key learns nothing."""
    payload = boxes.seal_server_info(SERVER, CLIENT.public, nonce=NONCE)
    with pytest.raises(Malformed):
        boxes.open_server_info(payload, SERVER, SERVER.public)
