"""Brings a database up to the tables of this version.

Alembic takes longer to import than everything else that a start does, so it is only asked when there is something to
do: the newest migration is known by its file's name.
"""

import re
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from headscale.errors import Unavailable

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_VERSION_FILE: Final = re.compile(r"([0-9]{4})_\w+\.py")


def bring_up(connection: Connection) -> None:
    """Run the migrations that the database has not seen; raises Unavailable for one that is newer than we are."""
    revision = _revision(connection)
    if revision == newest():
        return
    if revision is None and inspect(connection).has_table("migrations"):
        raise Unavailable(
            "it is the database of a Go headscale: move it elsewhere and take it over from there with "
            "`headscale import` (docs/import.md)"
        )
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as problem:
        raise Unavailable(f"it is from another version of headscale: {problem}") from problem


def newest() -> str:
    """The number of the last migration that there is."""
    files = (MIGRATIONS / "versions").iterdir()
    return max(found[1] for file in files if (found := _VERSION_FILE.fullmatch(file.name)))


def _revision(connection: Connection) -> str | None:
    """The last migration that the database has seen; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
