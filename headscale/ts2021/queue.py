"""Bytes that wait for a stream's flow-control window, kept as the pieces that were handed in.

Pieces are references: a block of peers that is shared by a thousand streams waits in memory once.
"""

from collections import deque


class SendQueue:
    """First in, first out, cut where the window ends."""

    __slots__ = ("_offset", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._offset = 0
        self.size = 0

    def put(self, data: bytes) -> None:
        """Append a piece; an empty one is nothing."""
        if data:
            self._pieces.append(data)
            self.size += len(data)

    def take(self, limit: int) -> bytes:
        """Remove and return the next `limit` bytes, or all there are."""
        wanted = min(limit, self.size)
        self.size -= wanted
        taken = []
        while wanted:
            piece = self._pieces[0]
            end = self._offset + wanted
            part = piece[self._offset : end]
            taken.append(part)
            wanted -= len(part)
            self._offset = end
            if end >= len(piece):
                self._pieces.popleft()
                self._offset = 0
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._offset = self.size = 0
