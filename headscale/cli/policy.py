"""headscale policy …"""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from headscale.cli.client import NoServer, Patience, Refused, call
from headscale.cli.framework import Command, Failed, Group
from headscale.cli.output import machine, show
from headscale.policy.complaints import Complaint, PolicyRefused
from headscale.policyfile import in_file, read_policy

# A large policy for a large tailnet is worked out and tested before the answer.
PATIENCE: Final = Patience(answer=timedelta(seconds=60))
# A check does without the server when there is none.
NO_WAITING: Final = Patience(start=timedelta(), answer=timedelta(seconds=60))
BYPASS_IS_NOT_NEEDED: Final = (
    "only a running server may change its database: start it. It starts with a broken policy too, and then takes "
    "a new one with `headscale policy set`"
)


def _never_bypass(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        raise Failed(BYPASS_IS_NOT_NEEDED)


bypass = click.option(
    "--bypass-server-and-access-database-directly",
    is_flag=True,
    hidden=True,
    expose_value=False,
    callback=_never_bypass,
)
FILE: Final = click.Path(path_type=Path)


@click.group(cls=Group)
def policy() -> None:
    """Read, check and set the policy."""


@policy.command(name="get", cls=Command, aliases=("show", "view", "fetch"))
@bypass
def get_policy() -> None:
    """Print the policy in force as it was set, comments included."""
    document = call("GET", "/api/v1/policy")
    if not machine(document):
        click.echo(document["policy"], nl=not document["policy"].endswith("\n"))


@policy.command(name="set", cls=Command, aliases=("put", "update"))
@click.option("-f", "--file", "path", type=FILE, required=True, help="The file with the new policy.")
@bypass
def set_policy(path: Path) -> None:
    """Put the policy in a file in force; when its tests fail, nothing changes."""
    document = _ask("PUT", "/api/v1/policy", path, patience=PATIENCE)
    show(document, text="Policy updated.")


@policy.command(cls=Command)
@click.argument("argument", metavar="[FILE]", type=FILE, required=False)
@click.option("-f", "--file", "option", type=FILE, help="The file with the policy.")
@bypass
def check(argument: Path | None, option: Path | None) -> None:
    """Say what is wrong with a policy, and change nothing.

    With a running server its tests are run against the users and nodes that there are.
    """
    path = option or argument
    if path is None or (option and argument):
        raise click.UsageError("say which file: headscale policy check FILE")
    check_file(path)
    try:
        _ask("POST", "/api/v1/policy/check", path, patience=NO_WAITING)
    except NoServer as problem:
        show(
            {"valid": True, "tested": False},
            text=f"Policy is well formed. Its tests were not run: {problem}",
        )
    else:
        show(
            {"valid": True, "tested": True},
            text="Policy is valid: well formed, and its tests pass on the server.",
        )


def check_file(path: Path) -> None:
    """Raises Failed with everything that is wrong with the text of a policy file."""
    from headscale.policy.parse import parse_policy  # the whole language: other commands do not wait for it

    try:
        parse_policy(read_policy(path))
    except PolicyRefused as refused:
        raise Failed(in_file(path, refused.complaints)) from None


def _ask(method: str, resource: str, path: Path, *, patience: Patience) -> Any:
    """Send the file's text; what the server finds wrong with it is told with the file's name and lines."""
    try:
        return call(method, resource, body={"policy": read_policy(path)}, patience=patience)
    except Refused as refused:
        complaints = [_complaint(error) for error in refused.document.get("errors", ())]
        if not any(complaint.line for complaint in complaints):
            raise
        raise Failed(in_file(path, tuple(complaints))) from None


def _complaint(error: dict[str, Any]) -> Complaint:
    return Complaint(
        error["message"], error.get("line", 0), error.get("column", 0), error.get("location", "")
    )
