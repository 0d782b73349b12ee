"""headscale policy …"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from headscale.cli.client import Patience, Refused, call
from headscale.cli.framework import Command, Failed, Group
from headscale.cli.output import as_json, machine, show
from headscale.cli.policyanswers import difference, explanation
from headscale.cli.reach import NoServer
from headscale.policy.complaints import Complaint, PolicyRefused
from headscale.sources.policyfile import in_file, in_order, read_policy, read_text

# A large policy for a large tailnet is worked out and tested before the answer.
PATIENCE: Final = Patience(answer=timedelta(seconds=60))
# Two policies are compared over all pairs of unlike nodes.
LONG_PATIENCE: Final = Patience(answer=timedelta(minutes=5))
# A check does without the server when there is none.
NO_WAITING: Final = Patience(start=timedelta(), answer=timedelta(seconds=60))
# As diff and grep: 1 says no, or that there is a difference; 2 that there is no answer.
TROUBLE: Final = 2
STDIN: Final = Path("-")
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
    """Read, check and set the policy; ask what it allows."""


@policy.command(name="get", cls=Command, aliases=("show", "view", "fetch"))
@click.option("--id", "policy_id", type=click.IntRange(1), help="One that was set: `audit list` has the IDs.")
@bypass
def get_policy(policy_id: int | None) -> None:
    """Print the policy in force, or an old one, as it was set, comments included."""
    document = call("GET", f"/api/v1/policy/{policy_id}" if policy_id is not None else "/api/v1/policy")
    if not machine(document):
        click.echo(document["policy"], nl=not document["policy"].endswith("\n"))


@policy.command(name="set", cls=Command, aliases=("put", "update"))
@click.option("-f", "--file", "path", type=FILE, required=True, help="The file with the new policy.")
@bypass
def set_policy(path: Path) -> None:
    """Put the policy in a file in force; when its tests fail, nothing changes."""
    text = _read(path)
    try:
        document = call("PUT", "/api/v1/policy", body={"policy": text}, patience=PATIENCE)
    except Refused as refused:
        if not (complaints := _complaints(refused)):
            raise
        raise Failed(in_file(path, complaints)) from None
    show(document, text="Policy updated.")


@policy.command(cls=Command)
@click.argument("argument", metavar="[FILE]", type=FILE, required=False)
@click.option("-f", "--file", "option", type=FILE, help="The file with the policy.")
@as_json
@bypass
def check(argument: Path | None, option: Path | None) -> int:
    """Say what is wrong with a policy, and change nothing; - is the standard input.

    With a running server its tests are run against the users and nodes that there are. Each complaint is a line
    FILE:LINE:COLUMN: PATH: MESSAGE. The exit code is 0 when there is none.
    """
    path = option or argument
    if path is None or (option and argument):
        raise click.UsageError("say which file: headscale policy check FILE")
    text = _read(path)
    try:
        rules, tests = _counts(text)
    except PolicyRefused as refused:
        return _refuse(path, refused.complaints)
    found = {"valid": True, "tested": True, "rules": rules, "tests": tests}
    try:
        call("POST", "/api/v1/policy/check", body={"policy": text}, patience=NO_WAITING)
    except NoServer as problem:
        untested = (
            f"Its {_count(tests, 'test')} were not run: {problem}" if tests else f"It has no tests; {problem}"
        )
        show({**found, "tested": False}, text=f"Policy is well formed: {_count(rules, 'rule')}. {untested}")
    except Refused as refused:
        if not (complaints := _complaints(refused)):
            raise
        return _refuse(path, complaints)
    else:
        show(found, text=f"Policy is valid: {_count(rules, 'rule')}, {_count(tests, 'test')} passed.")
    return 0


@policy.command(cls=Command, trouble=TROUBLE)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST[:PORT]")
@click.option(
    "--proto", "protocol", default="", metavar="tcp|udp|icmp|NUMBER", help="TCP or UDP if not said."
)
@click.option("-f", "--file", "path", type=FILE, help="Ask this policy, not the one in force.")
@as_json
def explain(source: str, destination: str, protocol: str, path: Path | None) -> int:
    """Say whether SRC may send to DST, and by which rules; or why not.

    Either is a user (alice@), group:, tag:, autogroup:, a name from hosts, an address, or a node's name; an IPv6
    address with a port stands in brackets. Without a port and a protocol, the question is about any traffic.

    The exit code is 0 when all of it is allowed, 1 when some is denied, 2 when there is no answer.
    """
    body: dict[str, Any] = {"source": source, "destination": destination, "protocol": protocol}
    if path is not None:
        body["policy"] = _read_well_formed(path)
    found = call("POST", "/api/v1/policy/explain", body=body, patience=PATIENCE)
    show(found, text=explanation(found))
    return 0 if found["allowed"] else 1


@policy.command(cls=Command, trouble=TROUBLE)
@click.argument("paths", metavar="[OLD] NEW", type=FILE, nargs=-1)
@as_json
def diff(paths: tuple[Path, ...]) -> int:
    """Say who gains and who loses access to what with policy NEW.

    Without OLD it is compared with the policy in force; - is the standard input. The nodes and users are those of
    the running server. The exit code is 0 when nothing changes, 1 when something does, 2 when there is no answer.
    """
    if not 1 <= len(paths) <= 2 or paths.count(STDIN) > 1:
        raise click.UsageError("say which files: headscale policy diff [OLD] NEW")
    texts = [_read_well_formed(path) for path in paths]
    body = {"new": texts[-1]} | ({"old": texts[0]} if len(texts) == 2 else {})
    found = call("POST", "/api/v1/policy/diff", body=body, patience=LONG_PATIENCE)
    show(found, text=difference(found))
    return 1 if found["changed"] else 0


def check_file(path: Path) -> None:
    """Raises Failed with everything that is wrong with the text of a policy file."""
    _read_well_formed(path)


def _read_well_formed(path: Path) -> str:
    text = _read(path)
    try:
        _counts(text)
    except PolicyRefused as refused:
        raise Failed(in_file(path, refused.complaints)) from None
    return text


def _read(path: Path) -> str:
    return read_text(sys.stdin.buffer, "the standard input") if path == STDIN else read_policy(path)


def _counts(text: str) -> tuple[int, int]:
    """How many rules and tests the policy has. Raises PolicyRefused."""
    from headscale.policy.parse import parse_policy  # the whole language: other commands do not wait for it

    found = parse_policy(text)
    return len(found.acls) + len(found.grants) + len(found.ssh), len(found.tests) + len(found.ssh_tests)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _refuse(path: Path, complaints: tuple[Complaint, ...]) -> int:
    """Print the complaints as compilers do, or for machines; the exit code."""
    found = [
        {"file": str(path), "line": c.line, "column": c.column, "path": c.path, "message": c.message}
        for c in in_order(complaints)
    ]
    if not machine({"valid": False, "complaints": found}):
        click.echo(in_file(path, complaints), err=True)
    return 1


def _complaints(refused: Refused) -> tuple[Complaint, ...]:
    """What the server finds wrong with the text; nothing when it refuses something else."""
    found = tuple(
        Complaint(each["message"], each.get("line", 0), each.get("column", 0), each.get("location", ""))
        for each in refused.document.get("errors", ())
    )
    return found if any(complaint.line for complaint in found) else ()
