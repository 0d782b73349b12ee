"""headscale database: where records are kept, and how they get from one database into another."""

import asyncio
from dataclasses import asdict

import click

from headscale.cli.framework import Command
from headscale.cli.output import show


@click.group()
def database() -> None:
    """Move the records between SQLite and PostgreSQL."""


@database.command(cls=Command)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy(source: str, target: str) -> None:
    """Copy all records into an empty database; the server must be stopped.

    FROM and TO are each the path of a SQLite file, or postgresql://USER@HOST/NAME with the password in PGPASSWORD or
    ~/.pgpass. FROM is brought up to this version first. What was written is read again and compared.
    """
    from headscale.db.transfer import copy_database

    copied = asyncio.run(copy_database(source, target))
    rows = "\n".join(f"  {name}: {count}" for name, count in copied.rows.items())
    show(
        asdict(copied),
        text=f"Copied {sum(copied.rows.values())} rows from {copied.source} to {copied.target}:\n{rows}\n"
        "Name the new database in the configuration (database.type), then start the server.",
    )
