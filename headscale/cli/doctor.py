"""headscale doctor: what is wrong with the server, and what to do."""

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

import click
import msgspec

from headscale.cli.framework import Command, session
from headscale.cli.output import as_json, machine
from headscale.config.file import BadConfig

if TYPE_CHECKING:
    from headscale.doctor.findings import Finding

_COLOURS = {"PASS": "green", "WARN": "yellow", "FAIL": "red", "SKIP": "bright_black"}


def _url(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value:
        return ""
    url = value if "://" in value else f"https://{value}"
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise click.BadParameter(f"{value!r} is not http:// or https:// with a host", context, parameter)
    return url


@click.command(cls=Command, trouble=2)
@click.option("--from", "url", default="", callback=_url, metavar="URL", help="Try this URL, not server_url.")
@click.option(
    "--idle", default=0.0, metavar="SECONDS", help="Hold a silent connection for so long (65 tells much)."
)
@click.option("--time-url", default="", callback=_url, metavar="URL", help="Whose clock to compare with.")
@click.option("--problems", is_flag=True, help="Print only what is not in order.")
@as_json
def doctor(url: str, idle: float, time_url: str, problems: bool) -> int:
    """Examine the configuration, the data, the relays, and the way from clients to the server.

    Nothing is changed. The exit code is 0 when nothing fails, 1 when something does, 2 when it cannot be said.
    """
    # Half of the server: other commands do not wait for it.
    from headscale.doctor.configuration import unusable
    from headscale.doctor.examination import examine_all

    logging.getLogger("headscale").addHandler(logging.NullHandler())
    try:
        config = session().config()
    except BadConfig as problem:
        found = unusable(problem)
    else:
        found = asyncio.run(examine_all(config, url=url, idle_s=idle, time_url=time_url))
    failed = any(each.verdict == "FAIL" for each in found)
    shown = [each for each in found if not problems or each.verdict in ("WARN", "FAIL")]
    if not machine({"ok": not failed, "findings": msgspec.to_builtins(shown)}):
        _print(shown, found)
    return 1 if failed else 0


def _print(shown: "list[Finding]", found: "list[Finding]") -> None:
    width = max((len(each.check) for each in shown), default=0)
    for each in shown:
        verdict = click.style(each.verdict, fg=_COLOURS[each.verdict])
        first, *rest = each.what.split("\n")
        click.echo(f"{verdict}  {each.check:<{width}}  {first}")
        indent = " " * (width + 8)
        for line in rest:
            click.echo(f"{indent}{line}")
        if each.next and each.verdict != "PASS":
            click.echo(f"{indent}→ {each.next}")
    counts = Counter(each.verdict.value for each in found)
    click.echo("\n" + ", ".join(f"{counts[name]} {name}" for name in _COLOURS if counts[name]))
