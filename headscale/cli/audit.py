"""headscale audit …: what was done, by whom."""

import json
from typing import Any

import click

from headscale.cli.client import call
from headscale.cli.framework import Command, Group
from headscale.cli.output import moment, show_table


@click.group(cls=Group)
def audit() -> None:
    """Read the audit log."""


@audit.command(name="list", cls=Command, aliases=("ls", "show"))
@click.option("-n", "--limit", default=100, show_default=True, help="How many, newest first.")
@click.option("--before", default="", help="Only those before the event with this ID.")
def list_events(limit: int, before: str) -> None:
    """List what was done, newest first."""
    query = {"limit": str(limit)} | ({"before": before} if before else {})
    found = call("GET", "/api/v1/audit", query=query)["events"]
    rows = [
        (event["id"], moment(event["at"]), event["actor"], event["action"], _what(event)) for event in found
    ]
    show_table(found, ("ID", "Time", "Who", "What", "Details"), rows)


def _what(event: dict[str, Any]) -> str:
    """A line for each record that changed, behind what was said of the whole."""
    return "\n".join([*([event["details"]] if event["details"] else []), *map(_line, event["changes"])])


def _line(change: dict[str, Any]) -> str:
    named = " ".join(each for each in (change["target"], change["name"]) if each)
    before, after = change["before"], change["after"]
    if before is not None and after is not None:
        values = ", ".join(f"{name}: {_text(before[name])} → {_text(after[name])}" for name in after)
    elif after is not None:
        values = ", ".join(["new", *(f"{name}: {_text(value)}" for name, value in after.items())])
    else:
        values = "gone" if before is not None else ""
    return f"{named}: {values}" if values else named


def _text(value: object) -> str:
    """As it would be written in JSON, without quotation marks around a mere text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
