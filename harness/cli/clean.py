"""`harness clean`."""

import json

import click

from harness.cleaning import remove, survey


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would go, and leave it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def clean(*, dry_run: bool, as_json: bool) -> None:
    """Remove what killed runs left: programs, containers, networks, namespaces and folders.

    Nothing of a run that goes on is touched, and nothing that no run has made. Ends with 1 when something
    could not be removed.
    """
    found = survey()
    told = []
    for each in found.leftovers:
        problem = None if dry_run else remove(each)
        told.append({"kind": each.kind, "name": each.name, "run": each.run, "problem": problem})
        if not as_json:
            verb = "would remove" if dry_run else "could not remove" if problem else "removed"
            click.echo(
                f"{verb} {each.kind} {each.name}" + (f": {problem}" if problem else ""), err=bool(problem)
            )
    failed = any(each["problem"] for each in told)
    if as_json:
        click.echo(json.dumps({"removed": not dry_run, "leftovers": told, "kept": found.kept}, indent=2))
    else:
        for line in found.kept:
            click.echo(f"left alone: {line}", err=True)
        if not told:
            click.echo("Nothing is left of runs that have ended.")
    raise SystemExit(1 if failed else 0)
