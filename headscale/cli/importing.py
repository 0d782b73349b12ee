"""headscale import: take over the database of a Go headscale. Says what would come of it, and does it with --apply."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from headscale.cli.framework import Command, Failed, session
from headscale.cli.output import machine
from headscale.clock import SystemClock
from headscale.config.settings import Config, PolicyMode

if TYPE_CHECKING:  # half of the server: other commands do not wait for it
    from rich.status import Status

    from headscale.peer.report import Note, Report
    from headscale.peer.settings import PeerSettings

FILE: Final = click.Path(path_type=Path)
# As many ids are listed for people; -o json has all of them.
LISTED: Final = 12


@click.command(name="import", cls=Command)
@click.argument("source", metavar="[DATABASE]", required=False)
@click.option(
    "--from-config", type=FILE, help="The Go headscale's configuration: where its database and keys are."
)
@click.option("--policy", "policy_file", type=FILE, help="The Go headscale's policy file, where it has one.")
@click.option("--no-policy", is_flag=True, help="Leave the policy in the database out.")
@click.option("--apply", is_flag=True, help="Write it; without this nothing is changed.")
def import_database(
    source: str | None, from_config: Path | None, policy_file: Path | None, no_policy: bool, apply: bool
) -> int:
    """Take over the database of a Go headscale, 0.23 or newer.

    DATABASE is a SQLite file or a postgres:// URL; it is only read. Our server must be stopped. Without --apply the
    command says what comes in, what is mended and what is left out, and changes nothing.
    """
    from headscale.peer.importing import Wish, import_peer
    from headscale.peer.settings import read_settings
    from headscale.peer.source import read_peer

    config = session().config()
    peer = read_settings(from_config) if from_config is not None else None
    where = source or (peer.database if peer is not None else None)
    if where is None:
        raise click.UsageError("say which database: a file, a postgres:// URL, or --from-config CONFIG.YAML")
    with _progress() as status:
        status.update(f"reading {'PostgreSQL' if '://' in where else where}")
        database = read_peer(where)
        wish = Wish(
            apply=apply,
            with_policy=not no_policy,
            policy_file=_policy_text(policy_file, peer, config),
            peer=peer,
        )
        report = asyncio.run(
            import_peer(database, config, SystemClock().now(), wish, told=lambda text: status.update(text))
        )
    if not machine(report.document(applied=apply and not report.clashes)):
        _show(report, config, apply=apply)
    if report.clashes:
        raise Failed(f"nothing was imported: {len(report.clashes)} rows clash with what is here already")
    return 0


@contextmanager
def _progress() -> "Iterator[Status]":
    """What is going on, on a terminal's stderr."""
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status


def _policy_text(given: Path | None, peer: "PeerSettings | None", config: Config) -> str | None:
    """The policy that a file holds: the one that is named, the Go headscale's, or ours in file mode."""
    from headscale.sources.policyfile import read_policy

    if given is not None:
        return read_policy(given)
    ours = config.policy.path if config.policy.mode is PolicyMode.FILE else None
    for path in (peer.policy if peer is not None else None, ours):
        if path is not None and path.exists():
            return read_policy(path)
    return None


def _show(report: "Report", config: Config, *, apply: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"{report.source}: database of a Go headscale {report.release}"))
    table = Table("Table", box=None, pad_edge=False, header_style="bold")
    for title in ("Rows", "Imported", "Already there", "Left out"):
        table.add_column(title, justify="right")
    for count in report.counts:
        numbers = (count.rows, count.imported, count.there, count.left_out)
        table.add_row(count.table, *map(str, numbers))
    console.print(table)
    if report.ignored:
        console.print(Text(f"Not looked at: {', '.join(report.ignored)}"))
    _list(
        console, "Clashes", ((clash.table, [clash.row], clash.text) for clash in report.clashes), style="red"
    )
    for what, title, style in (
        ("left out", "Left out", "yellow"),
        ("repaired", "Mended", "cyan"),
        ("noted", "To know", "cyan"),
    ):
        notes = [note for note in report.notes if note.what == what]
        _list(console, title, _together(notes), style=style)
    if report.advice:
        console.print(Text("\nBesides", style="bold"))
        for text in report.advice:
            console.print(Text(f"  {text}"))
    console.print(Text(f"\n{_conclusion(report, config, apply=apply)}", style="bold"))


def _list(console: object, title: str, groups: "Iterator[tuple[str, list[str], str]]", *, style: str) -> None:
    from rich.console import Console
    from rich.text import Text

    assert isinstance(console, Console)
    for number, (table, rows, text) in enumerate(groups):
        if number == 0:
            console.print(Text(f"\n{title}", style=f"bold {style}"))
        more = f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
        console.print(Text(f"  {table} {', '.join(rows[:LISTED])}{more}: {text}"))


def _together(notes: "list[Note]") -> Iterator[tuple[str, list[str], str]]:
    """Rows of which the same is told, in the order in which it was told first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for note in notes:
        groups.setdefault((note.table, note.text), []).append(note.row)
    for (table, text), rows in groups.items():
        yield table, rows, text


def _conclusion(report: "Report", config: Config, *, apply: bool) -> str:
    if report.clashes:
        return "Nothing was changed."
    if not report.imported:
        return "Everything that can come in is here already: nothing was changed."
    if apply:
        place = config.postgres.shown if config.postgres is not None else config.sqlite_path
        return f"Imported {report.imported} rows into {place}. Start the server: headscale serve"
    return f"Nothing was changed yet. To import {report.imported} rows, run this again with --apply."
