"""The send queue gives back what was put in, cut anywhere, without copying whole pieces."""

from headscale.ts2021.queue import SendQueue


def test_pieces_are_joined_and_cut() -> None:
    """Reads need not respect the boundaries of writes."""
    queue = SendQueue()
    for piece in (b"abc", b"", b"defg", b"h"):
        queue.put(piece)
    assert queue.size == 8
    assert [queue.take(2), queue.take(4), queue.take(0), queue.take(9)] == [b"ab", b"cdef", b"", b"gh"]
    assert (queue.size, queue.take(1)) == (0, b"")


def test_a_whole_piece_is_not_copied() -> None:
    """A block that many streams share stays one object."""
    queue, block = SendQueue(), bytes(1000)
    queue.put(block)
    assert queue.take(1000) is block
