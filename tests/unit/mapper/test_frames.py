"""One message of a map stream."""

import pytest

from harness.clients.mapframes import MapFrameReader
from headscale.mapper.frames import frame, zstd


@pytest.mark.parametrize("compress", [True, False])
def test_a_client_reads_what_was_framed(compress: bool) -> None:
    reader = MapFrameReader(compress="zstd" if compress else "")
    data = frame(b'{"a":1}', compress=compress) + frame(b'{"b":2}', compress=compress)
    assert reader.receive(data) == [{"a": 1}, {"b": 2}]


def test_plain_layout() -> None:
    """Length of the rest, little-endian, then the text."""
    assert frame(b'{"a":1}', compress=False) == b'\x07\x00\x00\x00{"a":1}'


def test_each_message_is_compressed_on_its_own() -> None:
    """The client's decoder keeps nothing between two."""
    first, second = (frame(b'{"a":1}' * 50, compress=True) for _ in range(2))
    assert first == second
    assert zstd.decompress(second[4:]) == b'{"a":1}' * 50
