"""All records from one database into another, SQLite or PostgreSQL: in one transaction, and compared afterwards.

A backup holds the records of PostgreSQL as a SQLite file, too, so that it can be restored into either.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy import Connection, Table, delete, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from headscale.config.settings import PostgresSettings
from headscale.db import tables
from headscale.db.copying import copy_sqlite
from headscale.db.database import Database, open_sqlite
from headscale.db.migrate import newest, refuse_peer, stage_of
from headscale.errors import Conflict, Malformed, Unavailable

SCHEMES: Final = ("postgresql", "postgres")
# What a new database has rows of.
_FROM_THE_START: Final = (tables.preferences, tables.elections, tables.program, tables.counters)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Copied:
    """From where to where, without passwords, and how many rows of each table."""

    source: str
    target: str
    rows: Mapping[str, int]


async def copy_database(source: str, target: str) -> Copied:
    """Copy everything. Each place is the path of a SQLite file or a postgresql:// URL, and no server may run on it.

    Raises Malformed for what is no place, Conflict when the target has records, and Unavailable for a database that
    cannot be used; then nothing was copied.
    """
    here, there = place_of(source), place_of(target)
    if here == there:
        raise Conflict(f"{shown(here)} is both what to copy and where to")
    if isinstance(here, Path) and not here.is_file():
        raise Unavailable(f"there is no database {here}")
    async with opened(here) as old:
        records = await _read(old)
        async with opened(there) as new:
            if held := _filled(await _read(new)):
                raise Conflict(
                    f"{shown(there)} is not empty: it has {', '.join(held)}. Copy into a new database"
                )
            await _write(new, records, f"{shown(here)} cannot be copied to {shown(there)}")
            if await _read(new) != records:
                raise Unavailable(f"{shown(there)} does not hold what was written to it: do not use it")
    return Copied(shown(here), shown(there), {name: len(rows) for name, rows in records.items()})


async def save_postgres(settings: PostgresSettings, target: Path) -> bool:
    """All records, as they are at one moment, in a new SQLite file; a server may go on with them meanwhile.

    False, and no file, for a database that is still empty. Raises Unavailable.
    """
    try:
        from headscale.db.postgres import looking
    except ImportError as problem:
        raise Unavailable(NO_DRIVER) from problem
    async with looking(settings) as connection:
        stage = await connection.run_sync(stage_of)
        await connection.run_sync(refuse_peer, stage)
        if stage.revision is None:
            return False
        if stage.revision != newest():
            raise Unavailable(
                f"{settings.shown} is of {stage.shown} (schema {stage.revision}; this is {newest()}): start this "
                "version on it first, or use the other one, or pg_dump"
            )
        records = await _rows(connection)
    await _save(records, target)
    return True


async def put_in_postgres(
    settings: PostgresSettings, source: Path, *, replacing: bool, keep: Callable[[Path | None], None]
) -> None:
    """All records of a SQLite file into PostgreSQL, in place of those that are there.

    `keep` is called before anything is changed, with a file of the records that were there, or None. Raises Conflict
    when there are some and `replacing` is not set, and Unavailable when a server runs on it; then nothing was changed.
    """
    async with opened(source) as saved:  # brings it up to this version
        records = await _read(saved)
    async with opened(settings) as database:
        before = await _read(database)
        if held := _filled(before):
            if not replacing:
                raise Conflict(
                    f"{settings.shown} is not empty: it has {', '.join(held)}. Restore into an empty database, or "
                    "add --force"
                )
            with tempfile.TemporaryDirectory(prefix=".headscale-restore-", dir=source.parent) as name:
                old = Path(name) / "db.sqlite"
                await _save(before, old)
                keep(old)
        else:
            keep(None)
        await _write(database, records, f"{settings.shown} does not take the records", replacing=True)
        if await _read(database) != records:
            raise Unavailable(f"{settings.shown} does not hold what was written to it: do not use it")


async def _save(records: Mapping[str, Sequence[Row]], target: Path) -> None:
    """In a new file that nothing lies beside."""
    with tempfile.TemporaryDirectory(prefix=".headscale-records-", dir=target.parent) as name:
        made = Path(name) / "db.sqlite"
        async with opened(made) as database:
            await _write(database, records, "the records cannot be saved")
            if await _read(database) != records:
                raise Unavailable("the saved records are not those that were read")
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
        copy_sqlite(made, target)


def place_of(text: str) -> Path | PostgresSettings:
    """A path, or the settings that a postgresql:// URL stands for. Raises Malformed."""
    if "://" not in text:
        return Path(text)
    try:
        url = urlsplit(text)
        port = url.port or 0
    except ValueError as problem:
        raise Malformed(f"this is no URL of a database: {problem}") from None
    options = dict(parse_qsl(url.query))
    if url.scheme not in SCHEMES or set(options) - {"host", "port", "sslmode"}:
        raise Malformed(
            "expected the path of a SQLite file or postgresql://USER:PASSWORD@HOST:PORT/NAME, with "
            "?sslmode=MODE or ?host=FOLDER for a Unix socket"
        )
    given = options.get("port", "")
    return PostgresSettings(
        host=options.get("host", url.hostname or ""),
        port=int(given) if given.isascii() and given.isdecimal() else port,
        name=unquote(url.path.removeprefix("/")),
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        ssl=options.get("sslmode", "prefer"),
    )


def shown(place: Path | PostgresSettings) -> str:
    """For people: without a password."""
    return str(place) if isinstance(place, Path) else place.shown


_STARTING: Final = frozenset(table.name for table in _FROM_THE_START)


NO_DRIVER: Final = "PostgreSQL needs asyncpg: pip install 'headscale[postgres]'"


@asynccontextmanager
async def opened(place: Path | PostgresSettings) -> AsyncIterator[Database]:
    """This database, for us alone; raises Unavailable."""
    if isinstance(place, Path):
        database = await open_sqlite(place)
    else:
        try:
            from headscale.db.postgres import open_postgres  # its driver comes with an extra
        except ImportError as problem:
            raise Unavailable(NO_DRIVER) from problem
        database = await open_postgres(place)
    try:
        yield database
    finally:
        await database.close()


async def _read(database: Database) -> Mapping[str, Sequence[Row]]:
    async with database.reading() as connection:
        return await _rows(connection)


async def _rows(connection: AsyncConnection) -> Mapping[str, Sequence[Row]]:
    """All of them in the order of their keys. Which commit was the last is the database's own affair."""
    return {
        table.name: [
            dict(row._mapping)
            for row in await connection.execute(select(table).order_by(*table.primary_key.columns))
            if table is not tables.counters or row.name != tables.LAST_COMMIT
        ]
        for table in tables.metadata.sorted_tables
    }


def _filled(records: Mapping[str, Sequence[Row]]) -> list[str]:
    """The tables that have more than a new database."""
    return [name for name, rows in records.items() if rows and name not in _STARTING]


async def _write(
    database: Database, records: Mapping[str, Sequence[Row]], trouble: str, *, replacing: bool = False
) -> None:
    try:
        change = partial(_fill, records=records, replacing=replacing)
        await database.change(change, rows=sum(map(len, records.values())))
    except DBAPIError as problem:
        reason = str(getattr(problem.orig, "__cause__", None) or problem.orig).splitlines()[0]
        raise Unavailable(f"{trouble}: {reason}") from problem


def _fill(connection: Connection, records: Mapping[str, Sequence[Row]], *, replacing: bool) -> None:
    if replacing:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(delete(table).where(_not_of_the_database(table)))
    for table in tables.metadata.sorted_tables:
        if table in _FROM_THE_START:
            connection.execute(delete(table).where(_not_of_the_database(table)))
        if rows := records[table.name]:
            connection.execute(insert(table), list(rows))


def _not_of_the_database(table: Table) -> Any:
    return table.c.name != tables.LAST_COMMIT if table is tables.counters else table.c.id.is_not(None)
