"""Map messages are cut and decoded as clients do."""

import msgspec
import pytest

from harness.clients.mapframes import MapFrameBroken, MapFrameReader, zstd


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "little") + payload


def test_lengths_are_little_endian() -> None:
    """u32, then the JSON itself when nothing was asked for."""
    assert MapFrameReader(compress="").receive(b"\x07\0\0\0" + b'{"a":1}') == [{"a": 1}]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 11])
def test_messages_may_be_cut_anywhere(size: int) -> None:
    """Bytes are collected until a message is whole."""
    data = framed(zstd.compress(b'{"a":1}')) + framed(zstd.compress(b'{"b":2}'))
    reader, messages = MapFrameReader(compress="zstd"), []
    for start in range(0, len(data), size):
        messages += reader.receive(data[start : start + size])
    assert (messages, reader.partial) == ([{"a": 1}, {"b": 2}], False)


def test_several_zstd_frames_make_one_message() -> None:
    """Blocks that were compressed once follow one another in one message."""
    payload = b"".join(map(zstd.compress, (b'{"Peers":[', b'{"ID":1}', b"]}")))
    assert MapFrameReader(compress="zstd").receive(framed(payload)) == [{"Peers": [{"ID": 1}]}]


@pytest.mark.parametrize(
    "payload", [b"", b"{}", zstd.compress(b"[]"), zstd.compress(b"{"), zstd.compress(b"{}")[:-1]]
)
def test_what_a_client_cannot_read_is_broken(payload: bytes) -> None:
    """No length, no zstd, no object, no JSON, or cut short."""
    with pytest.raises(MapFrameBroken):
        MapFrameReader(compress="zstd").receive(framed(payload))


def test_plain_json_is_not_decompressed() -> None:
    """The reader keeps to what was asked for."""
    with pytest.raises(MapFrameBroken):
        MapFrameReader(compress="").receive(framed(zstd.compress(msgspec.json.encode({}))))
