"""Frames: layout, limits, cutting at any byte."""

import pytest

from headscale.derp import frames
from headscale.derp.frames import (
    CLIENT_RULES,
    LOGIN_RULES,
    SERVER_RULES,
    FrameDecoder,
    FrameType,
    GoneReason,
    encode,
)
from headscale.errors import Malformed
from headscale.keys import node_key

PEER = node_key(bytes(range(32)))


def test_a_frame_is_type_big_endian_length_payload() -> None:
    """One byte of type, four of length, most significant first."""
    assert encode(FrameType.PING, b"12345678") == b"\x12\x00\x00\x00\x0812345678"


def test_the_greeting_is_magic_and_key() -> None:
    """The server opens with frame 1: "DERP", a key symbol in UTF-8, 32 bytes."""
    frame = frames.server_key_frame(b"k" * 32)
    assert frame == b"\x01\x00\x00\x00\x28DERP\xf0\x9f\x94\x91" + b"k" * 32
    assert frames.parse_server_key(frame[5:] + b"more") == b"k" * 32


@pytest.mark.parametrize("payload", [b"", b"DERP", b"X" * 40, frames.MAGIC + b"k" * 31])
def test_another_greeting_is_malformed(payload: bytes) -> None:
    """Wrong magic or too short a key."""
    with pytest.raises(Malformed):
        frames.parse_server_key(payload)


def test_a_packet_names_its_peer() -> None:
    """Both packet frames carry 32 bytes of key before the packet."""
    frame = frames.packet_frame(FrameType.RECV_PACKET, PEER, b"data")
    assert frame == b"\x05\x00\x00\x00\x24" + bytes(range(32)) + b"data"
    assert frames.parse_packet(frame[5:]) == (PEER, b"data")


def test_peer_gone_ends_with_its_reason() -> None:
    """A peer that was never here is reason 1; a frame without a reason means 0."""
    frame = frames.peer_gone_frame(PEER, GoneReason.NOT_HERE)
    assert frame == b"\x08\x00\x00\x00\x21" + bytes(range(32)) + b"\x01"
    assert frames.parse_peer_gone(frame[5:]) == (PEER, 1)
    assert frames.parse_peer_gone(frame[5:-1]) == (PEER, 0)


@pytest.mark.parametrize(
    ("packet", "verdict"),
    [
        (frames.DISCO_MAGIC + bytes(56), True),
        (frames.DISCO_MAGIC + bytes(55), False),
        (b"TS" + bytes(60), False),
    ],
)
def test_disco_is_told_by_magic_and_length(packet: bytes, verdict: bool) -> None:
    """A disco message starts with its magic and has at least 62 bytes."""
    assert frames.is_disco(packet) is verdict


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (FrameType.SEND_PACKET, 32),
        (FrameType.SEND_PACKET, 32 + 65536),
        (FrameType.PING, 8),
        (FrameType.PING, 1000),
        (FrameType.NOTE_PREFERRED, 1),
    ],
)
def test_a_client_may_send_up_to_the_limits(kind: FrameType, length: int) -> None:
    """At each limit the frame comes out whole."""
    decoder = FrameDecoder(CLIENT_RULES)
    decoder.feed(encode(kind, bytes(length)))
    frame = decoder.next_frame()
    assert frame is not None
    assert (frame.type, len(frame.payload)) == (kind, length)


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (FrameType.SEND_PACKET, 31),
        (FrameType.SEND_PACKET, 32 + 65537),
        (FrameType.SEND_PACKET, 0xFFFFFFFF),
        (FrameType.PING, 7),
        (FrameType.PING, 1001),
        (FrameType.NOTE_PREFERRED, 0),
        (FrameType.NOTE_PREFERRED, 2),
        (FrameType.FORWARD_PACKET, 100),
        (FrameType.WATCH_CONNS, 0),
        (FrameType.CLOSE_PEER, 32),
    ],
)
def test_a_client_is_refused_past_the_limits_at_the_header(kind: FrameType, length: int) -> None:
    """One past each limit, and mesh frames of any length, are refused before any payload is awaited."""
    decoder = FrameDecoder(CLIENT_RULES)
    decoder.feed(frames.HEADER.pack(kind, length))
    with pytest.raises(Malformed):
        decoder.next_frame()


@pytest.mark.parametrize(("length", "allowed"), [(55, False), (56, True), (262144, True), (262145, False)])
def test_client_info_has_limits_of_its_own(length: int, allowed: bool) -> None:
    """56 bytes (key and nonce) to 256 KiB."""
    decoder = FrameDecoder(LOGIN_RULES)
    decoder.feed(frames.HEADER.pack(FrameType.CLIENT_INFO, length))
    if allowed:
        assert decoder.next_frame() is None
    else:
        with pytest.raises(Malformed):
            decoder.next_frame()


@pytest.mark.parametrize("kind", [0, 1, 4, 0x12, 0x42, 0xFF])
def test_only_client_info_may_come_first(kind: int) -> None:
    """Before the login any other type is refused, known or not."""
    decoder = FrameDecoder(LOGIN_RULES)
    decoder.feed(frames.HEADER.pack(kind, 8))
    with pytest.raises(Malformed):
        decoder.next_frame()


def test_an_unknown_type_is_skipped_without_being_kept() -> None:
    """Four gigabytes of a future frame cost no memory; the next frame is found behind them."""
    decoder = FrameDecoder(CLIENT_RULES)
    decoder.feed(frames.HEADER.pack(0x77, 3_000_000))
    for _ in range(3):
        decoder.feed(bytes(1_000_000))
        assert decoder.next_frame() is None
        assert decoder.buffered_bytes == 0
    decoder.feed(encode(FrameType.PING, b"12345678"))
    assert decoder.next_frame() == frames.Frame(FrameType.PING, b"12345678")


def test_new_rules_hold_for_the_next_header() -> None:
    """Bytes fed together with the login are read under the rules that follow it."""
    decoder = FrameDecoder(LOGIN_RULES)
    decoder.feed(encode(FrameType.CLIENT_INFO, bytes(56)) + encode(FrameType.PING, bytes(8)))
    assert decoder.next_frame() == frames.Frame(FrameType.CLIENT_INFO, bytes(56))
    decoder.rules = CLIENT_RULES
    assert decoder.next_frame() == frames.Frame(FrameType.PING, bytes(8))


def test_a_client_takes_a_megabyte_from_a_server() -> None:
    """1 MiB is read, a byte more is refused, as Go does."""
    decoder = FrameDecoder(SERVER_RULES)
    decoder.feed(frames.HEADER.pack(FrameType.RECV_PACKET, 1 << 20))
    assert decoder.next_frame() is None
    decoder = FrameDecoder(SERVER_RULES)
    decoder.feed(frames.HEADER.pack(FrameType.RECV_PACKET, (1 << 20) + 1))
    with pytest.raises(Malformed):
        decoder.next_frame()
