"""Brings a database up to the tables of this version, in one transaction: all of it or nothing.

Alembic takes longer to import than everything else that a start does, so it is only asked when there is something to
do: the newest migration is known by its file's name.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from headscale import __version__
from headscale.db import tables
from headscale.db.culprits import culprits
from headscale.errors import Unavailable

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_VERSION_FILE: Final = re.compile(r"([0-9]{4})_\w+\.py")


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a database is: the last migration that it has seen (None: it is empty), and the version of the program
    that had it last (empty where none said so)."""

    revision: str | None
    version: str = ""

    @property
    def shown(self) -> str:
        """Of whom it is, for people."""
        return f"headscale {self.version}" if self.version else "another version of headscale"


class TooNew(Unavailable):
    """A later version of the program has changed the tables."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(
            f"{stage.shown} wrote it (schema {stage.revision}), and this is {__version__}, which knows schemas up to "
            f"{newest()}. Install that version again, or restore what was kept before its upgrade (docs/upgrading.md)"
        )


class MigrationFailed(Exception):
    """It stopped at a row or a statement; the transaction is to be rolled back."""

    def __init__(self, stage: Stage, problem: Exception) -> None:
        super().__init__(stage, problem)
        self.stage, self.problem = stage, problem


async def bring_up(engine: AsyncEngine) -> Stage:
    """Run the migrations that the database has not seen, and write down whose it is now; returns how far it was.

    Raises Unavailable for one that is newer than we are, and for one that a migration fails on, with the rows that it
    fails on; then nothing was changed.
    """
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(migrate)
    except MigrationFailed as failure:
        async with engine.connect() as connection:
            raise await explained(connection, failure) from failure.problem


async def explained(connection: AsyncConnection, failure: MigrationFailed) -> Unavailable:
    """What to tell of a failed migration, once it was rolled back."""
    problem = failure.problem
    said = str(problem.orig if isinstance(problem, DBAPIError) else problem).strip().splitlines()
    rows = await connection.run_sync(culprits, problem)
    why = f"{said[0] if said else type(problem).__name__}{''.join(f'; {row}' for row in rows)}"
    if failure.stage.revision is None:
        return Unavailable(f"its tables cannot be made, and nothing was changed: {why}")
    return Unavailable(
        f"the upgrade from schema {failure.stage.revision} to {newest()} failed, and nothing was changed: {why}. "
        f"Go on with {failure.stage.shown} until that is mended"
    )


def migrate(connection: Connection) -> Stage:
    """The migrations, in the transaction of this connection. Raises Unavailable or MigrationFailed."""
    stage = stage_of(connection)
    if stage.revision != newest():
        _run(connection, stage)
    if stage.version != __version__:
        connection.execute(update(tables.program).values(version=__version__))
    return stage


def _run(connection: Connection, stage: Stage) -> None:
    refuse_peer(connection, stage)
    if stage.revision is not None and stage.revision not in known():
        raise TooNew(stage)
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except Exception as problem:
        raise MigrationFailed(stage, problem) from problem


def refuse_peer(connection: Connection, stage: Stage) -> None:
    """Raises Unavailable for the database of a Go headscale."""
    if stage.revision is None and inspect(connection).has_table("migrations"):
        raise Unavailable(
            "it is the database of a Go headscale: move it elsewhere and take it over from there with "
            "`headscale import` (docs/import.md)"
        )


def stage_of(connection: Connection) -> Stage:
    """How far this database is."""
    found = inspect(connection)
    if not found.has_table("alembic_version"):
        return Stage(None)
    revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    version = ""
    if found.has_table(tables.program.name):
        version = connection.scalar(select(tables.program.c.version)) or ""
    return Stage(revision, version)


def newest() -> str:
    """The number of the last migration that there is."""
    return max(known())


def known() -> frozenset[str]:
    """The numbers of all migrations."""
    files = (MIGRATIONS / "versions").iterdir()
    return frozenset(found[1] for file in files if (found := _VERSION_FILE.fullmatch(file.name)))
