"""Reads a Go headscale's database and changes nothing in it: a copy of the SQLite file, or one read-only transaction of
PostgreSQL.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from headscale.errors import Malformed, Unavailable
from headscale.peer.rows import NODES, READ, USERS, Cell, PeerDatabase, Row

POSTGRES: Final = ("postgres://", "postgresql://")
CONNECT_S: Final = 10
_SQLITE_MAGIC: Final = b"SQLite format 3\x00"
_BESIDE: Final = ("", "-wal", "-journal")


def read_peer(where: str) -> PeerDatabase:
    """The database in this SQLite file, or at this PostgreSQL URL. Raises Malformed or Unavailable with what to do."""
    database = _read_postgres(where) if where.startswith(POSTGRES) else _read_sqlite(Path(where))
    missing = [table for table in (USERS, NODES) if not database.has(table)]
    if missing:
        older = (
            " (it looks like one of 0.22 or older: start it once with 0.23)"
            if "machines" in database.ignored
            else ""
        )
        raise Malformed(
            f"{database.where} is not the database of a Go headscale from 0.23 on: it has no table "
            f"{' and no table '.join(missing)}{older}"
        )
    return database


def shown(where: str) -> str:
    """The database's place without a password."""
    scheme, separator, rest = where.partition("://")
    credentials, at, host = rest.rpartition("@")
    if not separator or not at:
        return where
    return f"{scheme}://{credentials.partition(':')[0]}@{host}"


def _read_sqlite(path: Path) -> PeerDatabase:
    if not path.is_file():
        raise Unavailable(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            if file.read(len(_SQLITE_MAGIC)) != _SQLITE_MAGIC:
                raise Malformed(f"{path} is not a SQLite database")
        with tempfile.TemporaryDirectory(prefix="headscale-import-") as folder:
            copy = _copied(path, Path(folder))
            with closing(sqlite3.connect(copy)) as connection:
                connection.text_factory = lambda data: data.decode(errors="replace")
                _check(connection, path)
                return _tables_of_sqlite(connection, path)
    except OSError as problem:
        raise Unavailable(f"{path} cannot be read: {problem.strerror}") from problem
    except sqlite3.DatabaseError as problem:
        raise Malformed(f"{path} cannot be read: {problem}") from problem


def _copied(path: Path, folder: Path) -> Path:
    """A copy with what is not in the main file yet. Opening the file itself would write beside it."""
    parts = [part for suffix in _BESIDE if (part := path.with_name(path.name + suffix)).exists()]
    before = [_version(part) for part in parts]
    for part in parts:
        shutil.copyfile(part, folder / part.name)
    if [_version(part) for part in parts] != before:
        raise Unavailable(f"{path} was written to while it was read: stop the Go headscale first")
    return folder / path.name


def _version(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise Malformed(
            f"{path} is damaged ({'; '.join(found)[:300]}): mend it first, or take a backup of it"
        )


def _tables_of_sqlite(connection: sqlite3.Connection, path: Path) -> PeerDatabase:
    names = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    tables = {}
    for table in sorted(set(READ) & set(names)):
        cursor = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608  (one of READ)
        tables[table] = _rows(table, [column[0] for column in cursor.description], cursor)
    return PeerDatabase(tables, _ignored(names), str(path))


def _read_postgres(url: str) -> PeerDatabase:
    try:
        import psycopg
    except ImportError:
        raise Unavailable(
            "reading a PostgreSQL database needs psycopg: pip install 'headscale[postgres]'"
        ) from None
    try:
        with psycopg.connect(
            url, connect_timeout=CONNECT_S, application_name="headscale import"
        ) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SET LOCAL TIME ZONE 'UTC'")
            connection.execute("SET LOCAL DateStyle = 'ISO'")
            return _tables_of_postgres(connection, shown(url))
    except psycopg.Error as problem:
        password = urlsplit(url).password
        said = str(problem).strip().replace(password or "\0", "***")
        raise Unavailable(f"the database {shown(url)} cannot be read: {said}") from None


def _tables_of_postgres(connection: Any, where: str) -> PeerDatabase:
    from psycopg import sql

    columns: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in connection.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
    ):
        columns.setdefault(table, []).append((column, kind))
    tables = {}
    for table in sorted(set(READ) & set(columns)):
        # As texts: a time may lie outside what Python's can be.
        wanted = [
            sql.Identifier(column) if kind == "bytea" else sql.SQL("{}::text").format(sql.Identifier(column))
            for column, kind in columns[table]
        ]
        query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(wanted), sql.Identifier(table))
        names = [column for column, _ in columns[table]]
        tables[table] = _rows(table, names, connection.execute(query))
    return PeerDatabase(tables, _ignored(columns), where)


def _rows(table: str, columns: Sequence[str], found: Iterator[Sequence[Any]]) -> tuple[Row, ...]:
    """By id, so that what depends on the order comes out alike each time."""
    raw = [Row(table, 0, dict(zip(columns, map(_cell, values), strict=True))) for values in found]
    raw.sort(key=lambda row: (row.id is None, row.id or 0, str(row.cells.get("id"))))
    return tuple(Row(table, number, row.cells) for number, row in enumerate(raw, 1))


def _cell(value: Any) -> Cell:
    return bytes(value) if isinstance(value, memoryview | bytearray) else value


def _ignored(names: Any) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if name not in READ and not name.startswith("sqlite_")))
