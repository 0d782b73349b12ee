"""Private keys on disk."""

import os
from pathlib import Path

import pytest

from headscale.errors import Malformed, Unavailable
from headscale.keyfiles import load_or_create


def test_a_new_key_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "noise.key"
    made = load_or_create(path)
    assert load_or_create(path) == made
    assert path.read_text() == made.reveal()


@pytest.mark.bar("A13")
def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """Whatever the umask."""
    before = os.umask(0)
    try:
        load_or_create(tmp_path / "keys" / "noise.key")
    finally:
        os.umask(before)
    assert (tmp_path / "keys" / "noise.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_white_space_around_a_key_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "noise.key"
    made = load_or_create(path)
    path.write_text(f"  {made.reveal()}\n")
    assert load_or_create(path) == made


@pytest.mark.parametrize(
    "content", [b"", b"privkey:", b"privkey:" + b"0" * 63, b"\xff\xfe", b"mkey:" + b"0" * 64]
)
def test_what_is_no_key_is_never_overwritten(tmp_path: Path, content: bytes) -> None:
    """Every client that ever joined knows the server by its key."""
    path = tmp_path / "noise.key"
    path.write_bytes(content)
    with pytest.raises(Malformed, match=r"noise\.key"):
        load_or_create(path)
    assert path.read_bytes() == content


def test_the_text_of_a_broken_key_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "noise.key"
    path.write_text("privkey:" + "ab" * 31)
    with pytest.raises(Malformed) as caught:
        load_or_create(path)
    assert "abab" not in str(caught.value)


def test_a_crash_while_writing_leaves_no_obstacle(tmp_path: Path) -> None:
    """In a container the next process has the same number and so the same temporary name."""
    (tmp_path / f".noise.key.{os.getpid()}").write_text("half a k")
    made = load_or_create(tmp_path / "noise.key")
    assert load_or_create(tmp_path / "noise.key") == made
    assert [path.name for path in tmp_path.iterdir()] == ["noise.key"]


def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "noise.key"):
        with pytest.raises(Unavailable, match="private key"):
            load_or_create(path)
