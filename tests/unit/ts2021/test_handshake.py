"""The Noise handshake: a fixed vector, and everything that must not pass."""

import pytest

from headscale.keys import PrivateKey, machine_key
from headscale.ts2021.handshake import HandshakeFailed, finish, initiate, load_key, respond
from headscale.ts2021.messages import INITIATION_BYTES, RESPONSE_BYTES
from headscale.ts2021.records import RecordSealer

SERVER, MACHINE, CLIENT_EPHEMERAL, SERVER_EPHEMERAL = (
    load_key(PrivateKey(bytes([n]) * 32)) for n in (1, 2, 3, 4)
)
SERVER_KEY = machine_key(SERVER.public)
VERSION = 113

# Private keys of one repeated byte; checked against an independent Noise library (protocol reference 2.4).
INITIATION = bytes.fromhex(
    "00710100605dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22e7e00fca1f8146f01b0be091223"
    "0bc1a3ddb89daa2a5b15f9a771c0f98278223a2dae08fc4479d020ebea65294c09b53d7e336d500db5fb0475d4b944b930a23"
)
RESPONSE = bytes.fromhex(
    "020030ac01b2209e86354fb853237b5de0f4fab13c7fcbf433a61c019369617fecf10b97360d496b1885a0dd15c3f806be8465"
)
TRANSCRIPT = bytes.fromhex("7019a24168b8ace77354335110b6448d540a57d0a99decef50db64ebdee54224")
FROM_CLIENT = bytes.fromhex("4441bbb14dc71c3129a719c8997891dd4f01b79d0281c6b6b76acb506ef2716e")
FROM_SERVER = bytes.fromhex("76cc4cab00b32c813aad94ff9c6290f10afc0d11ec4bfcae48b157e2a533ff7a")

# Every encoding of a point of low order below 2^255 (cr.yp.to/ecdh.html).
LOW_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def begin(version: int = VERSION):
    return initiate(SERVER_KEY, version=version, static=MACHINE, ephemeral=CLIENT_EPHEMERAL)


def accept(data: bytes):
    return respond(data, static=SERVER, ephemeral=SERVER_EPHEMERAL)


def test_the_initiation_is_the_vectors() -> None:
    """Our initiation equals the reference byte for byte."""
    assert begin()[0] == INITIATION


def test_the_response_is_the_vectors() -> None:
    """Our response, transcript hash and keys equal the reference byte for byte."""
    data, session = accept(INITIATION)
    assert data == RESPONSE
    assert (session.transcript, session.receiving, session.sending) == (TRANSCRIPT, FROM_CLIENT, FROM_SERVER)


def test_the_first_records_are_the_vectors() -> None:
    """The second record shows the big-endian counter, on which stock Noise libraries disagree."""
    _, session = accept(INITIATION)
    sealer = RecordSealer(session.sending)
    assert sealer.seal(b"hello").hex() == "04001556de83acb9c392b9e1cbbf11f2748ab74546f9b89e"
    assert sealer.seal(b"world").hex() == "040015898b40f129ad9b0ba1b49494eb1b67ce96d31d040c"


def test_both_ends_agree() -> None:
    """The server learns the machine key and the version; the keys are the same, crosswise."""
    data, pending = begin()
    response, server = accept(data)
    client = finish(pending, response)
    assert (server.peer, server.version) == (machine_key(MACHINE.public), VERSION)
    assert client.peer == SERVER_KEY
    assert (client.sending, client.receiving) == (server.receiving, server.sending)
    assert client.transcript == server.transcript


def test_a_session_never_prints_its_keys() -> None:
    """Neither the bytes nor the hex of a record key appear in a repr."""
    _, session = accept(INITIATION)
    assert session.sending.hex() not in repr(session)
    assert repr(session.sending) not in repr(session)


@pytest.mark.bar("H3")
@pytest.mark.parametrize("index", range(INITIATION_BYTES))
def test_a_flipped_byte_in_the_initiation_is_refused(index: int) -> None:
    """Every byte of the initiation is bound: version, type, length, key, seal and tag."""
    broken = bytearray(INITIATION)
    broken[index] ^= 1
    with pytest.raises(HandshakeFailed):
        accept(bytes(broken))


@pytest.mark.bar("H3")
@pytest.mark.parametrize("index", range(RESPONSE_BYTES))
def test_a_flipped_byte_in_the_response_is_refused(index: int) -> None:
    """Every byte of the response is bound."""
    _, pending = begin()
    broken = bytearray(RESPONSE)
    broken[index] ^= 1
    with pytest.raises(HandshakeFailed):
        finish(pending, bytes(broken))


@pytest.mark.bar("H3")
@pytest.mark.parametrize("length", [*range(INITIATION_BYTES), INITIATION_BYTES + 1, 200])
def test_an_initiation_of_another_length_is_refused(length: int) -> None:
    """Cut short at every length, or followed by anything, it is refused."""
    with pytest.raises(HandshakeFailed):
        accept((INITIATION + bytes(99))[:length])


@pytest.mark.parametrize("length", [*range(RESPONSE_BYTES), RESPONSE_BYTES + 1])
def test_a_response_of_another_length_is_refused(length: int) -> None:
    """Cut short at every length, or too long, it is refused."""
    _, pending = begin()
    with pytest.raises(HandshakeFailed):
        finish(pending, (RESPONSE + b"\0")[:length])


@pytest.mark.bar("H3")
@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_a_low_order_ephemeral_key_is_refused(point: bytes) -> None:
    """A key that makes every shared secret zero is a failed handshake, not a crash."""
    with pytest.raises(HandshakeFailed, match="low order"):
        accept(INITIATION[:5] + point + INITIATION[37:])


@pytest.mark.bar("H3")
@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_a_low_order_machine_key_is_refused(point: bytes) -> None:
    """A sealed static key of low order is refused although its seal is right."""
    with pytest.raises(HandshakeFailed, match="low order"):
        accept(initiation_with_static(point))


def test_another_server_key_is_refused() -> None:
    """An initiation made for another server does not open here."""
    other = machine_key(SERVER_EPHEMERAL.public)
    data, _ = initiate(other, version=VERSION, static=MACHINE, ephemeral=CLIENT_EPHEMERAL)
    with pytest.raises(HandshakeFailed):
        accept(data)


def test_every_version_that_fits_passes() -> None:
    """The version is a number of two bytes; refusing old ones is left to those who answer."""
    for version in (0, 1, 113, 65_535):
        assert accept(begin(version)[0])[1].version == version


def initiation_with_static(point: bytes) -> bytes:
    """An initiation whose first seal is right, and holds `point` for a static key."""
    from headscale.ts2021.handshake import _shared, _Transcript
    from headscale.ts2021.messages import Initiation, encode_initiation

    state = _Transcript(VERSION, SERVER.public)
    state.mix_hash(CLIENT_EPHEMERAL.public)
    sealed = state.seal(_shared(CLIENT_EPHEMERAL, SERVER.public), point)
    return encode_initiation(Initiation(VERSION, CLIENT_EPHEMERAL.public, sealed, bytes(16)))
