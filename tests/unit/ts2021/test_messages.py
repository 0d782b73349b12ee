"""Message layouts: what is written is read, and nothing else is."""

import pytest

from headscale.ts2021.messages import (
    Initiation,
    MessageBroken,
    Response,
    decode_header,
    decode_initiation,
    decode_response,
    encode_error,
    encode_initiation,
    encode_record_header,
    encode_response,
)

INITIATION = Initiation(142, b"e" * 32, b"s" * 48, b"t" * 16)
RESPONSE = Response(b"e" * 32, b"t" * 16)


def test_an_initiation_is_101_bytes() -> None:
    """Version, type, length, key, sealed key, tag."""
    data = encode_initiation(INITIATION)
    assert data == b"\x00\x8e\x01\x00\x60" + b"e" * 32 + b"s" * 48 + b"t" * 16
    assert decode_initiation(data) == INITIATION


def test_a_response_is_51_bytes() -> None:
    """Type, length, key, tag."""
    data = encode_response(RESPONSE)
    assert data == b"\x02\x00\x30" + b"e" * 32 + b"t" * 16
    assert decode_response(data) == RESPONSE


@pytest.mark.parametrize("head", [b"\x00\x8e\x02\x00\x60", b"\x00\x8e\x01\x00\x61", b"\x00\x8e\x01\x01\x60"])
def test_a_wrong_initiation_header_is_refused(head: bytes) -> None:
    """Type and both length bytes are looked at."""
    with pytest.raises(MessageBroken, match="type and length"):
        decode_initiation(head + bytes(96))


@pytest.mark.parametrize("head", [b"\x03\x00\x30", b"\x02\x00\x31", b"\x02\x01\x30"])
def test_a_wrong_response_header_is_refused(head: bytes) -> None:
    """Type and both length bytes are looked at."""
    with pytest.raises(MessageBroken, match="type and length"):
        decode_response(head + bytes(48))


def test_an_error_carries_text() -> None:
    """Type 3, length, text."""
    assert encode_error("no") == b"\x03\x00\x02no"


def test_a_record_header_names_the_ciphertext() -> None:
    """Type 4 and the length of what follows."""
    assert encode_record_header(4093) == b"\x04\x0f\xfd"
    assert decode_header(b"\x04\x0f\xfd") == (4, 4093)
