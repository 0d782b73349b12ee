"""All records from one database into another, SQLite or PostgreSQL: in one transaction, and compared afterwards."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy import Connection, Table, delete, insert, select
from sqlalchemy.exc import DBAPIError

from headscale.config import PostgresSettings
from headscale.db import tables
from headscale.db.database import Database, open_sqlite
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
    async with _opened(here) as old:
        records = await _read(old)
        async with _opened(there) as new:
            if held := [name for name, rows in (await _read(new)).items() if rows and name not in _STARTING]:
                raise Conflict(
                    f"{shown(there)} is not empty: it has {', '.join(held)}. Copy into a new database"
                )
            try:
                await new.change(partial(_fill, records=records), rows=sum(map(len, records.values())))
            except DBAPIError as problem:
                reason = str(getattr(problem.orig, "__cause__", None) or problem.orig).splitlines()[0]
                raise Unavailable(f"{shown(here)} cannot be copied to {shown(there)}: {reason}") from problem
            if await _read(new) != records:
                raise Unavailable(f"{shown(there)} does not hold what was written to it: do not use it")
    return Copied(shown(here), shown(there), {name: len(rows) for name, rows in records.items()})


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


@asynccontextmanager
async def _opened(place: Path | PostgresSettings) -> AsyncIterator[Database]:
    if isinstance(place, Path):
        database = await open_sqlite(place)
    else:
        try:
            from headscale.db.postgres import open_postgres  # its driver comes with an extra
        except ImportError as problem:
            raise Unavailable("PostgreSQL needs asyncpg: pip install 'headscale[postgres]'") from problem
        database = await open_postgres(place)
    try:
        yield database
    finally:
        await database.close()


async def _read(database: Database) -> Mapping[str, Sequence[Row]]:
    """All rows in the order of their keys. Which commit was the last is the database's own affair."""
    async with database.reading() as connection:
        return {
            table.name: [
                dict(row._mapping)
                for row in await connection.execute(select(table).order_by(*table.primary_key.columns))
                if table is not tables.counters or row.name != tables.LAST_COMMIT
            ]
            for table in tables.metadata.sorted_tables
        }


def _fill(connection: Connection, records: Mapping[str, Sequence[Row]]) -> None:
    for table in tables.metadata.sorted_tables:
        if table in _FROM_THE_START:
            connection.execute(delete(table).where(_not_of_the_database(table)))
        if rows := records[table.name]:
            connection.execute(insert(table), list(rows))


def _not_of_the_database(table: Table) -> Any:
    return table.c.name != tables.LAST_COMMIT if table is tables.counters else table.c.id.is_not(None)
