"""Transport records: their sizes, their order, and that a failure is final."""

import pytest

from headscale.ts2021.messages import MAX_FRAME_BYTES, MAX_PLAINTEXT_BYTES
from headscale.ts2021.records import MAX_COUNTER, NonceSpent, RecordBroken, RecordOpener, RecordSealer

KEY = bytes(range(32))


def seal(*plaintexts: bytes) -> bytes:
    sealer = RecordSealer(KEY)
    return b"".join(sealer.seal_record(text) for text in plaintexts)


def test_the_largest_plaintext_fills_one_frame() -> None:
    """4,077 bytes make one record of 4,096."""
    sealed = RecordSealer(KEY).seal(bytes(MAX_PLAINTEXT_BYTES))
    assert len(sealed) == MAX_FRAME_BYTES == 4096
    assert RecordOpener(KEY).receive(sealed) == [bytes(4077)]


def test_one_byte_more_makes_two_records() -> None:
    """4,078 bytes are cut into 4,077 and 1."""
    sealed = RecordSealer(KEY).seal(bytes(MAX_PLAINTEXT_BYTES + 1))
    assert [len(text) for text in RecordOpener(KEY).receive(sealed)] == [4077, 1]


def test_a_record_never_takes_more() -> None:
    """Sealing more than a record holds is our bug, and is not sent."""
    with pytest.raises(ValueError, match="4077"):
        RecordSealer(KEY).seal_record(bytes(MAX_PLAINTEXT_BYTES + 1))


def test_nothing_to_seal_makes_no_record() -> None:
    """Empty data costs no record and no counter."""
    sealer = RecordSealer(KEY)
    assert sealer.seal(b"") == b""
    assert RecordOpener(KEY).receive(sealer.seal(b"first")) == [b"first"]


def test_an_empty_record_is_legal() -> None:
    """A record without a plaintext uses a counter and shows as an empty text."""
    assert RecordOpener(KEY).receive(seal(b"", b"x")) == [b"", b"x"]


@pytest.mark.parametrize("announced", [0, 15, 4094, 65_535])
def test_a_length_that_cannot_be_is_refused_at_once(announced: int) -> None:
    """A record is refused by its header, before its body is waited for."""
    with pytest.raises(RecordBroken, match=str(announced)):
        RecordOpener(KEY).receive(b"\x04" + announced.to_bytes(2, "big"))


@pytest.mark.parametrize("announced", [16, 4093])
def test_the_smallest_and_largest_length_are_waited_for(announced: int) -> None:
    """The tag alone, and a full frame, are lengths that a record may have."""
    assert RecordOpener(KEY).receive(b"\x04" + announced.to_bytes(2, "big")) == []


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 5, 255])
def test_another_type_is_refused(kind: int) -> None:
    """After the handshake there is nothing but records."""
    with pytest.raises(RecordBroken, match="type"):
        RecordOpener(KEY).receive(bytes([kind, 0, 16]))


@pytest.mark.parametrize("index", range(len(seal(b"hello"))))
def test_a_flipped_byte_never_opens(index: int) -> None:
    """With any byte changed a record is refused, or still waits for bytes that it announces."""
    broken = bytearray(seal(b"hello"))
    broken[index] ^= 1
    opener = RecordOpener(KEY)
    with pytest.raises(RecordBroken):
        opener.receive(bytes(broken) + bytes(4096))


def test_records_do_not_open_in_another_order() -> None:
    """The counter binds the order."""
    first, second = seal(b"a", b"b")[:20], seal(b"a", b"b")[20:]
    with pytest.raises(RecordBroken):
        RecordOpener(KEY).receive(second + first)


def test_a_record_does_not_open_twice() -> None:
    """A replayed record is refused."""
    opener = RecordOpener(KEY)
    opener.receive(seal(b"a"))
    with pytest.raises(RecordBroken):
        opener.receive(seal(b"a"))


def test_a_failure_is_final() -> None:
    """After a broken record nothing opens, not even what would have been right."""
    opener = RecordOpener(KEY)
    with pytest.raises(RecordBroken):
        opener.receive(bytes([4, 0, 16]) + bytes(16))
    with pytest.raises(RecordBroken):
        opener.receive(seal(b"a"))


def test_the_last_counter_is_never_used() -> None:
    """Sealing and opening stop before the counter wraps."""
    sealer = RecordSealer(KEY, counter=MAX_COUNTER - 1)
    last = sealer.seal(b"last")
    with pytest.raises(NonceSpent):
        sealer.seal(b"more")
    opener = RecordOpener(KEY, counter=MAX_COUNTER - 1)
    assert opener.receive(last) == [b"last"]
    with pytest.raises(NonceSpent):
        opener.receive(last)
