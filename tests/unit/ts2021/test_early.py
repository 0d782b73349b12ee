"""The early payload in front of HTTP/2."""

import pytest

from headscale.keys import challenge_key
from headscale.ts2021.early import EarlyBroken, EarlyPayload, EarlyResult, decode_early, encode_early

CHALLENGE = challenge_key(bytes(range(32)))
SETTINGS = bytes.fromhex("000000040000000000")


def test_it_is_magic_length_and_json() -> None:
    """Nine bytes of header, then one JSON object."""
    data = encode_early(CHALLENGE)
    assert data[:5] == b"\xff\xff\xffTS"
    assert int.from_bytes(data[5:9], "big") == len(data) - 9
    assert data[9:] == f'{{"nodeKeyChallenge":"{CHALLENGE}"}}'.encode()


def test_what_follows_belongs_to_http2() -> None:
    """The payload is taken off, the rest is handed on."""
    expected = EarlyResult(EarlyPayload(CHALLENGE), SETTINGS)
    assert decode_early(encode_early(CHALLENGE) + SETTINGS) == expected


def test_without_the_magic_all_belongs_to_http2() -> None:
    """A server need not send it."""
    assert decode_early(SETTINGS) == EarlyResult(None, SETTINGS)


@pytest.mark.parametrize("length", range(len(encode_early(CHALLENGE))))
def test_a_part_is_waited_for(length: int) -> None:
    """Cut at any length, more is needed."""
    assert decode_early(encode_early(CHALLENGE)[:length]) is None


def test_the_length_has_a_limit() -> None:
    """1,024 bytes are waited for, as tailscale-rs does; one more is refused."""
    assert decode_early(b"\xff\xff\xffTS" + (1024).to_bytes(4, "big")) is None
    with pytest.raises(EarlyBroken, match="1025"):
        decode_early(b"\xff\xff\xffTS" + (1025).to_bytes(4, "big"))


@pytest.mark.parametrize("body", [b"[]", b"nope", b'{"nodeKeyChallenge":1}', b'"\xff"'])
def test_other_json_is_refused(body: bytes) -> None:
    """What is not the expected object is a typed error."""
    with pytest.raises(EarlyBroken):
        decode_early(b"\xff\xff\xffTS" + len(body).to_bytes(4, "big") + body)
