"""STUN requests and answers, with the recorded vectors."""

from ipaddress import IPv4Address, IPv6Address
from zlib import crc32

import pytest

from headscale.derp import stun
from headscale.errors import Malformed

TRANSACTION = bytes(range(1, 13))
REQUEST = bytes.fromhex("000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f")
REPLY = bytes.fromhex("0101000c2112a4420102030405060708090a0b0c00200008000183bbe112a663")
ADDRESS = IPv4Address("192.0.2.33")
PORT = 41641


def message(*attributes: tuple[int, bytes], kind: int = 1, cookie: int = stun.MAGIC_COOKIE) -> bytes:
    """A STUN message with a right length and, last, a right fingerprint."""
    body = b"".join(
        number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    head = kind.to_bytes(2, "big") + (len(body) + 8).to_bytes(2, "big") + cookie.to_bytes(4, "big")
    head += TRANSACTION + body
    checksum = crc32(head) ^ stun.FINGERPRINT_XOR
    return head + b"\x80\x28\x00\x04" + checksum.to_bytes(4, "big")


def test_a_client_request_is_the_recorded_one() -> None:
    """Byte for byte what a Go client sends."""
    assert stun.request(TRANSACTION) == REQUEST


def test_the_recorded_request_gets_the_recorded_reply() -> None:
    """Address and port are masked with the cookie."""
    assert stun.answer(REQUEST, ADDRESS, PORT) == REPLY


def test_an_ipv6_reply_is_masked_with_cookie_and_transaction() -> None:
    """A real client over IPv6 must be answered, though the answer has four bytes more than its request."""
    reply = stun.answer(REQUEST, IPv6Address("2001:db8::1"), PORT)
    assert reply is not None
    mask = bytes.fromhex("2112a442") + TRANSACTION
    assert reply[20:28] == bytes.fromhex("00200014000283bb")
    assert bytes(a ^ b for a, b in zip(reply[28:], mask, strict=True)) == IPv6Address("2001:db8::1").packed
    assert len(reply) == len(REQUEST) + 4


def test_ipv4_inside_ipv6_is_given_as_ipv4() -> None:
    """A dual-stack socket sees ::ffff:a.b.c.d."""
    assert stun.answer(REQUEST, IPv6Address("::ffff:192.0.2.33"), PORT) == REPLY


def test_other_attributes_are_ignored() -> None:
    """Of any length that is padded rightly."""
    request = message((0x8022, b"tailnode"), (0x7777, b"abc"))
    assert stun.parse_request(request) == TRANSACTION


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        REQUEST[:19],
        REQUEST + b"\x00",
        message((0x8022, b"tailnode"), kind=0x0101),
        message((0x8022, b"tailnode"), cookie=1),
        message((0x8022, b"othernode")),
        message(),
        REPLY,
    ],
)
def test_other_datagrams_get_no_answer(request_bytes: bytes) -> None:
    """Cut, trailing bytes, another type, no cookie, other software, none, a reply."""
    assert stun.answer(request_bytes, ADDRESS, PORT) is None


def test_the_fingerprint_must_be_last() -> None:
    """An attribute behind it is not covered by it."""
    good = message((0x8022, b"tailnode"))
    longer = good + b"\x77\x77\x00\x00"
    with pytest.raises(Malformed):
        stun.parse_request(longer[:2] + (len(longer) - 20).to_bytes(2, "big") + longer[4:])


def test_every_byte_of_a_request_counts() -> None:
    """Flipped anywhere, it is not answered; cut anywhere, it is not answered."""
    for position in range(len(REQUEST)):
        flipped = bytearray(REQUEST)
        flipped[position] ^= 0x01
        assert stun.answer(bytes(flipped), ADDRESS, PORT) is None
        assert stun.answer(REQUEST[:position], ADDRESS, PORT) is None


@pytest.mark.parametrize(
    ("size", "answered"), [(stun.MAX_REQUEST_BYTES, True), (stun.MAX_REQUEST_BYTES + 4, False)]
)
def test_a_request_has_a_largest_size(size: int, answered: bool) -> None:
    """1280 bytes are read, more are not looked at."""
    padding = size - len(message((0x8022, b"tailnode"), (0x7777, b"")))
    request = message((0x8022, b"tailnode"), (0x7777, bytes(padding)))
    assert len(request) == size
    assert (stun.answer(request, ADDRESS, PORT) is not None) is answered
