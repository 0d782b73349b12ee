"""Reading the peer's SQLite file: with what its journal holds, and without leaving a trace."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harness.peerdatabase import PeerDatabase
from headscale.errors import Malformed, Unavailable
from headscale.files import give_to_owner_of
from headscale.peer.source import read_peer


def written(folder: Path) -> Path:
    """A small database in a folder."""
    peer = PeerDatabase("0.29")
    peer.user("alice")
    return peer.write_sqlite(folder / "db.sqlite")


def test_rows_that_are_only_in_the_journal_are_read(tmp_path: Path) -> None:
    """A server that was killed leaves them there; nothing in the folder changes."""
    path = written(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("INSERT INTO users (name) VALUES ('late')")
        connection.commit()
        before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
        assert len(before["db.sqlite-wal"][0]) > 0
        names = [row.get("name") for row in read_peer(str(path)).rows("users")]
        after = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    assert names == ["alice", "late"]
    assert after == before


def test_a_database_that_changes_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of a running server's file may be torn: the Go headscale has to stop first."""
    path = written(tmp_path)

    def copyfile(file: Path, target: Path) -> None:
        target.write_bytes(file.read_bytes())
        os.utime(file, ns=(1, 1))

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(Unavailable, match="stop the Go headscale first"):
        read_peer(str(path))


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    """Before anything of it is believed."""
    path = written(tmp_path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096))
    with pytest.raises(Malformed, match=r"db\.sqlite"):
        read_peer(str(path))


def test_a_database_of_the_first_releases_is_named(tmp_path: Path) -> None:
    """0.22 called its nodes machines: the message says how to go on."""
    path = tmp_path / "db.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE machines (id); CREATE TABLE namespaces (id);")
    with pytest.raises(Malformed, match=r"start it once with 0\.23"):
        read_peer(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_leaves_no_files_behind_that_the_server_cannot_write(tmp_path: Path) -> None:
    """What it made belongs to the folder's owner; what does not exist is no error."""
    made = tmp_path / "made"
    made.touch()
    os.chown(tmp_path, 12345, 23456)
    give_to_owner_of(tmp_path, (made, tmp_path / "missing"))
    assert (made.stat().st_uid, made.stat().st_gid) == (12345, 23456)
