"""headscale audit …: what was done, by whom."""

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
        (event["id"], moment(event["at"]), event["actor"], event["action"], event["details"])
        for event in found
    ]
    show_table(found, ("ID", "Time", "Who", "What", "Details"), rows)
