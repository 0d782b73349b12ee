"""Results on stdout: a table for people, or the API's object for machines."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import click

from headscale.cli.framework import session
from headscale.errors import Malformed


def _as_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        session().output = "json"


as_json = click.option(
    "--json",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_as_json,
    help="Print for machines: -o json.",
)


def show(document: Any, *, text: str) -> None:
    """Print the document in the asked format, else the text."""
    if not machine(document):
        click.echo(text)


def show_table(
    documents: list[dict[str, Any]], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Print the documents in the asked format, else the rows as a table."""
    if machine(documents):
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # A pipe gets whole lines, however long; a terminal folds.
    width = None if sys.stdout.isatty() else 10_000
    console = Console(width=width, soft_wrap=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def machine(document: Any) -> bool:
    """Print the document when a machine format is asked for; whether it was."""
    match session().output:
        case "json":
            click.echo(json.dumps(document, indent="\t", ensure_ascii=False, sort_keys=True))
        case "json-line":
            click.echo(json.dumps(document, ensure_ascii=False, sort_keys=True))
        case "yaml":
            from ruamel.yaml import YAML

            stream = StringIO()
            yaml = YAML(typ="safe", pure=True)
            yaml.default_flow_style = False
            yaml.dump(document, stream)
            click.echo(stream.getvalue().removesuffix("...\n"), nl=False)
        case _:
            return False
    return True


def moment(text: str | None) -> str:
    """A time for people, in the machine's own zone."""
    if not text:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def lifetime(text: str) -> timedelta:
    """What `--expiration` says; raises a usage error."""
    from headscale.config.values import parse_long_duration

    try:
        return parse_long_duration(text)
    except Malformed as problem:
        raise click.UsageError(f"--expiration: {problem}") from None


def confirm(question: str) -> bool:
    """Ask on stderr, unless --force says yes already."""
    return session().force or click.confirm(question, err=True)
