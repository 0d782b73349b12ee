"""`harness doctor`."""

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from harness.doctor import backends, examine


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, as_json: bool) -> None:
    """Show what this machine can run, and what to do about the rest.

    Ends with 1 when only the process backend works.
    """
    findings = examine()
    able = backends(findings)
    if as_json:
        told = [{name.rstrip("_"): value for name, value in asdict(each).items()} for each in findings]
        click.echo(json.dumps({"backends": able, "findings": told}, indent=2))
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("", "", "found", "for"):
            table.add_column(heading, overflow="fold")
        for each in findings:
            what = each.found if each.ok or not each.todo else f"{each.found}\n→ {each.todo}"
            table.add_row("[green]✓[/]" if each.ok else "[red]✗[/]", each.name, what, each.for_)
        console = Console()
        console.print(table)
        console.print(f"\nBackends that work here: {', '.join(able)}")
    raise SystemExit(0 if len(able) > 1 else 1)
