"""A whole SQLite database of ours in another file: copied while others write, and checked."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from headscale.db.migrate import newest
from headscale.errors import Malformed, Unavailable

BUSY_S = 10.0


@dataclass(frozen=True, slots=True)
class Checked:
    """What a sound database of ours holds: its revision, and how many rows each table has."""

    revision: str
    rows: Mapping[str, int]


def copy_sqlite(source: Path, target: Path) -> None:
    """All of the database as it is at one moment, in a file of its own; a server that writes is not held up.

    Raises Unavailable or Malformed.
    """
    if not source.is_file():
        raise Unavailable(f"there is no database {source}: has this server ever run with this configuration?")
    try:
        uri = f"file:{quote(str(source))}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as ours:
            with closing(sqlite3.connect(target)) as copy:
                ours.backup(copy)  # in one step: a reader of a WAL sees one moment, however long it takes
                copy.execute("PRAGMA journal_mode=DELETE")  # nothing beside the file
    except sqlite3.Error as problem:
        raise Unavailable(f"the database {source} cannot be copied: {problem}") from problem


def check_sqlite(path: Path) -> Checked:
    """Raises Malformed for a file that is damaged, that is not ours, or that a newer version wrote."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            return _checked(connection)
    except sqlite3.Error as problem:
        raise Malformed(f"it is not a sound SQLite database: {problem}") from problem


def _checked(connection: sqlite3.Connection) -> Checked:
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise Malformed(f"it is damaged: {'; '.join(found)[:300]}")
    dangling = connection.execute("PRAGMA foreign_key_check").fetchall()
    if dangling:
        raise Malformed(f"it is damaged: {len(dangling)} rows name others that do not exist")
    tables = [
        str(row[0])
        for row in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
    ]
    if "alembic_version" not in tables:
        raise Malformed("it is not a database of this server")
    revision = str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    if revision > newest():
        version = (
            connection.execute("SELECT version FROM program").fetchone() if "program" in tables else None
        )
        raise Malformed(
            f"it is from a newer version of headscale{f', {version[0]},' if version else ''} "
            f"(revision {revision}, this one knows {newest()})"
        )
    rows = {
        table: int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608
        for table in tables
        if table != "alembic_version"
    }
    return Checked(revision, rows)
