"""A file of the operator's that is looked at again and again: has it changed, and what does it hold now?

Looking is one `stat`, which works on every file system and for every way in which files are replaced: written in
place, renamed over, deleted and made anew. A change is read only when it has stood still between two looks, so that
nobody acts on half a file.
"""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headscale.errors import Malformed, Unavailable

# Between two looks: a change is taken at the second or third of them.
POLL_S: Final = 0.5
# A file that was written this recently may change once more and keep its time and size (FAT counts in 2 s): until
# it is older its content is compared as well.
GRANULARITY_NS: Final = 2_000_000_000

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The file is gone, too large, or nothing that can be read."""

    reason: str


class WatchedFile:
    """One path. All of it blocks for as long as the file system does."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._read_at: Stamp | None = None
        self._seen: Stamp | None = None
        self._is_recent = True
        self._answered = b""

    def read(self) -> bytes:
        """The content now, which later looks are compared with. Raises Unavailable or Malformed with the reason."""
        self._seen = self._read_at = _stamp(self.path)
        data = read_file(self.path, max_bytes=self._max_bytes)
        self._answered = _digest(data)
        return data

    def look(self, now_ns: int) -> bytes | Unreadable | None:
        """What the file holds, or why that cannot be told; None when it is as it was. `now_ns` is the wall clock."""
        stamp = _stamp(self.path)
        is_still, self._seen = stamp == self._seen, stamp
        if not is_still or (stamp == self._read_at and not self._is_recent):
            return None
        self._read_at = stamp
        self._is_recent = stamp is not None and abs(now_ns - stamp[0]) < GRANULARITY_NS
        answer = self._content()
        digest = _digest(answer)
        if digest == self._answered:
            return None
        self._answered = digest
        return answer

    def _content(self) -> bytes | Unreadable:
        try:
            return read_file(self.path, max_bytes=self._max_bytes)
        except (Unavailable, Malformed) as problem:
            return Unreadable(str(problem))


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """The content of a regular file. Raises Unavailable when there is none, Malformed when it is too large."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for ever
            raise Unavailable(f"{path} is not a file")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as problem:
        raise Unavailable(f"{path} cannot be read: {problem.strerror}") from problem
    if len(data) > max_bytes:
        raise Malformed(f"{path} is too large: it may have at most {max_bytes} bytes")
    return data


def _stamp(path: Path) -> Stamp | None:
    """What differs when the file does; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def _digest(answer: bytes | Unreadable) -> bytes:
    """Never the same for a content and for a reason."""
    if isinstance(answer, Unreadable):
        return answer.reason.encode()
    return hashlib.sha256(answer).digest()
