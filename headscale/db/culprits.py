"""Which rows a migration failed on, by what the database says of it, so that somebody can mend them."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy import Connection, MetaData, Table, and_, func, inspect, select
from sqlalchemy.exc import DBAPIError

from headscale.db import tables

SHOWN_MAX: Final = 5
_SQLITE_UNIQUE: Final = re.compile(r"UNIQUE constraint failed: (\w+\.\w+(?:, \w+\.\w+)*)")
_SQLITE_NULL: Final = re.compile(r"NOT NULL constraint failed: (?:_alembic_tmp_)?(\w+)\.(\w+)")
_POSTGRES_UNIQUE: Final = re.compile(r"Key \((\w+(?:, \w+)*)\)=.* is duplicated")


def culprits(connection: Connection, problem: Exception) -> list[str]:
    """In words: table, ids and what is wrong with them; empty when the problem is none of rows.

    The connection shows the tables as they were before the migration.
    """
    if not isinstance(problem, DBAPIError):
        return []
    kept = MetaData()
    kept.reflect(connection)
    cause = getattr(problem.orig, "__cause__", None)  # asyncpg's own error has it in parts
    table_name: str = getattr(cause, "table_name", None) or ""
    detail: str = getattr(cause, "detail", None) or ""
    found: list[str] = []
    if (names := _SQLITE_UNIQUE.search(str(problem.orig))) is not None:
        parts = [name.removeprefix("_alembic_tmp_").split(".") for name in names[1].split(", ")]
        found += _twice(connection, kept.tables.get(parts[0][0]), [column for _, column in parts])
    elif (names := _POSTGRES_UNIQUE.search(detail)) is not None:
        found += _twice(connection, kept.tables.get(table_name), names[1].split(", "))
    elif (names := _SQLITE_NULL.search(str(problem.orig))) is not None:
        found += _empty(connection, kept.tables.get(names[1]), names[2])
    elif column := getattr(cause, "column_name", None):
        found += _empty(connection, kept.tables.get(table_name), column)
    return [*found, *_dangling(connection)]


def _twice(connection: Connection, table: Table | None, names: Iterable[str]) -> Iterator[str]:
    if table is None or not all(name in table.c for name in names) or "id" not in table.c:
        return
    columns = [table.c[name] for name in names]
    several = select(*columns).where(*(column.is_not(None) for column in columns))
    for values in connection.execute(
        several.group_by(*columns).having(func.count() > 1).order_by(*columns).limit(SHOWN_MAX)
    ):
        same = and_(*(column == value for column, value in zip(columns, values, strict=True)))
        ids = connection.scalars(select(table.c.id).where(same).order_by(table.c.id))
        what = ", ".join(f"{column.name} {value!r}" for column, value in zip(columns, values, strict=True))
        yield f"rows {', '.join(map(str, ids))} of {table.name} have the same {what}"


def _empty(connection: Connection, table: Table | None, name: str) -> Iterator[str]:
    if table is None or name not in table.c or "id" not in table.c:
        return
    ids = connection.scalars(
        select(table.c.id).where(table.c[name].is_(None)).order_by(table.c.id).limit(SHOWN_MAX)
    ).all()
    if ids:
        yield f"rows {', '.join(map(str, ids))} of {table.name} have no {name}"


def _dangling(connection: Connection) -> Iterator[str]:
    """Rows that name others that are not there, of all references that our tables have."""
    there = inspect(connection)
    held = {name: {column["name"] for column in there.get_columns(name)} for name in there.get_table_names()}
    for table in tables.metadata.sorted_tables:
        for key in table.foreign_keys:
            parent = key.column.table
            if key.parent.name not in held.get(table.name, ()) or parent.name not in held:
                continue
            lost = (
                select(table.c.id, key.parent)
                .where(key.parent.is_not(None), key.parent.not_in(select(key.column)))
                .order_by(table.c.id)
            )
            for row, value in connection.execute(lost.limit(SHOWN_MAX)):
                yield f"row {row} of {table.name} names {parent.name} {value}, which is not there"
