"""Files that operators change while the server runs."""

import os
import time
from pathlib import Path

import pytest

from headscale.errors import Malformed, Unavailable
from headscale.sources.watchedfile import GRANULARITY_NS, Unreadable, WatchedFile

LIMIT = 100
LATER = GRANULARITY_NS * 2


@pytest.fixture
def file(tmp_path: Path) -> WatchedFile:
    """A file that was read."""
    path = tmp_path / "records.json"
    path.write_bytes(b"old")
    watched = WatchedFile(path, max_bytes=LIMIT)
    assert watched.read() == b"old"
    return watched


def looks(file: WatchedFile, *, times: int = 3) -> list[bytes | Unreadable]:
    """What so many looks tell."""
    answers = [file.look(time.time_ns()) for _ in range(times)]
    return [answer for answer in answers if answer is not None]


def test_an_unchanged_file_is_silent(file: WatchedFile) -> None:
    assert looks(file) == []


def test_a_file_written_in_place_is_told_once(file: WatchedFile) -> None:
    file.path.write_bytes(b"newer")
    assert looks(file) == [b"newer"]
    assert looks(file) == []


def test_a_file_renamed_over_is_told(file: WatchedFile) -> None:
    """As editors and configuration management do."""
    other = file.path.with_suffix(".new")
    other.write_bytes(b"new")
    other.rename(file.path)
    assert looks(file) == [b"new"]


def test_a_change_is_told_only_when_it_stands_still(file: WatchedFile) -> None:
    """Half of a file is not acted on."""
    file.path.write_bytes(b"ha")
    assert file.look(time.time_ns()) is None
    file.path.write_bytes(b"half")
    assert file.look(time.time_ns()) is None
    assert file.look(time.time_ns()) == b"half"


def test_a_deleted_file_is_told_once_and_its_return_too(file: WatchedFile) -> None:
    file.path.unlink()
    assert looks(file) == [Unreadable(f"{file.path} cannot be read: No such file or directory")]
    file.path.write_bytes(b"old")
    assert looks(file) == [b"old"]


def test_same_size_and_time_do_not_hide_a_change(file: WatchedFile) -> None:
    """Two writes within the granularity of the file system's clock."""
    found = file.path.stat()
    looks(file)
    file.path.write_bytes(b"new")
    os.utime(file.path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert looks(file) == [b"new"]


def test_an_old_file_is_not_read_again(file: WatchedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look costs one stat."""
    long_ago = time.time_ns() - LATER
    os.utime(file.path, ns=(long_ago, long_ago))
    assert looks(file) == []
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("the file was read"))
    assert looks(file) == []


def test_a_touched_file_is_silent(file: WatchedFile) -> None:
    """The content counts."""
    os.utime(file.path)
    assert looks(file) == []


def test_a_file_of_the_largest_size_is_read_and_a_larger_one_is_not(file: WatchedFile) -> None:
    file.path.write_bytes(b"x" * LIMIT)
    assert looks(file) == [b"x" * LIMIT]
    file.path.write_bytes(b"x" * (LIMIT + 1))
    assert looks(file) == [Unreadable(f"{file.path} is too large: it may have at most {LIMIT} bytes")]
    with pytest.raises(Malformed):
        file.read()


def test_a_pipe_is_not_waited_for(file: WatchedFile) -> None:
    file.path.unlink()
    os.mkfifo(file.path)
    assert looks(file) == [Unreadable(f"{file.path} is not a file")]
    with pytest.raises(Unavailable):
        file.read()
