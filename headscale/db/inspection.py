"""Looks into a database without changing it: whether it is whole, which version it has, who uses it, what is in it.

It may be in use, be of another version, or be no database at all; whatever is wrong with it is told and not raised.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, create_engine, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from headscale.db import tables
from headscale.db.migrate import newest
from headscale.records import Node, PolicyText, User

# What may be there once only, and what people call it.
ONCE: Final = (
    ("nodes", "node_key", "node key"),
    ("nodes", "given_name", "node name"),
    ("nodes", "ipv4", "IPv4 address"),
    ("nodes", "ipv6", "IPv6 address"),
    ("pre_auth_keys", "prefix", "pre-auth key"),
    ("api_keys", "prefix", "API key"),
)
SHOWN_MAX: Final = 20
# Of a file's header (https://www.sqlite.org/fileformat2.html): bytes 18 and 19 are 2 where there is a write-ahead log.
_VERSIONS: Final = slice(18, 20)
_WITH_LOG: Final = b"\x02\x02"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was seen. `problem` is why it cannot be read at all; `damage` and `duplicates` are in words, as is `holder`,
    the server that has it, where that can be told.

    Records are there when the database is of this version.
    """

    where: str
    in_use: bool
    holder: str = ""
    problem: str = ""
    revision: str | None = None
    version: str = ""
    newest: str = field(default_factory=newest)
    damage: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    nodes: tuple[Node, ...] = ()
    policy: PolicyText | None = None


def inspect_sqlite(path: Path, now: datetime) -> Inspection | None:
    """The database in this file; None when there is no file."""
    if not path.exists():
        return None
    seen = Inspection(where=str(path), in_use=_is_locked(path))
    try:
        with closing(open_to_look(path)) as connection:
            seen = replace(seen, damage=tuple(_damage(connection)))
            if not seen.damage:
                seen = replace(
                    seen,
                    revision=revision_of(connection),
                    version=version_of(connection),
                    duplicates=tuple(_duplicates(connection)),
                )
        if seen.revision == seen.newest and not seen.damage:
            return _with_records(seen, path, now)
    except (sqlite3.Error, SQLAlchemyError, OSError, ValueError) as problem:
        return replace(seen, problem=str(getattr(problem, "orig", None) or problem))
    return seen


def _is_locked(path: Path) -> bool:
    """Whether a server has it. The look itself holds a shared lock for a moment."""
    try:
        lock = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def open_to_look(path: Path) -> sqlite3.Connection:
    """For reading only. A file with a write-ahead log that nobody has open is taken as it is, so that no other file is
    made beside it; one with a rollback journal needs none."""
    with path.open("rb") as file:
        has_log = file.read(_VERSIONS.stop)[_VERSIONS] == _WITH_LOG
    is_alone = has_log and not path.with_name(f"{path.name}-wal").exists()
    options = "mode=ro&immutable=1" if is_alone else "mode=ro"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, check_same_thread=False)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _damage(connection: sqlite3.Connection) -> Iterator[str]:
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({SHOWN_MAX})")]
    if found != ["ok"]:
        yield from found
        return
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(SHOWN_MAX):
        yield f"row {row} of {table} names a row of {parent} that is not there"


def revision_of(connection: sqlite3.Connection) -> str | None:
    """The last migration that this database has seen; None for one that is not ours."""
    if not _has(connection, "alembic_version", "version_num"):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else None


def version_of(connection: sqlite3.Connection) -> str:
    """The version of the program that had this database last; empty where none said so."""
    if not _has(connection, "program", "version"):
        return ""
    row = connection.execute("SELECT version FROM program").fetchone()
    return row[0] if row else ""


def _duplicates(connection: sqlite3.Connection) -> Iterator[str]:
    for table, column, called in ONCE:
        if _has(connection, table, column):
            query = (
                f"SELECT {column}, group_concat(id) FROM {table} WHERE {column} IS NOT NULL "  # noqa: S608
                f"GROUP BY {column} HAVING count(*) > 1"
            )
            for value, ids in connection.execute(query).fetchmany(SHOWN_MAX):
                yield f"{called} {value} is in rows {ids} of {table}"


def _has(connection: sqlite3.Connection, table: str, column: str) -> bool:
    return any(row[1] == column for row in connection.execute(f"PRAGMA table_info({table})"))


def _with_records(seen: Inspection, path: Path, now: datetime) -> Inspection:
    engine = create_engine("sqlite://", creator=lambda: open_to_look(path), poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            return with_records(connection, seen, now)
    finally:
        engine.dispose()


def with_records(connection: Connection, seen: Inspection, now: datetime) -> Inspection:
    """And what is kept in a database of this version."""
    users = connection.execute(select(tables.users)).all()
    nodes = connection.execute(select(tables.nodes)).all()
    newest_first = select(tables.policies).order_by(tables.policies.c.id.desc()).limit(1)
    policy = connection.execute(newest_first).one_or_none()
    return replace(
        seen,
        users=tuple(map(tables.user_of, users)),
        nodes=tuple(tables.node_of(row, now) for row in nodes),
        policy=tables.policy_of(policy) if policy is not None else None,
    )
