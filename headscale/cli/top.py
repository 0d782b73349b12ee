"""headscale top: the running server at a glance, again and again."""

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from headscale.cli.client import Patience, call
from headscale.cli.framework import Command, Failed, session
from headscale.cli.output import machine, moment

if TYPE_CHECKING:
    from rich.console import RenderableType

NO_WAIT = Patience(start=timedelta())


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Print it once.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, help="Seconds.")
@click.option(
    "-n", "--nodes", type=click.IntRange(0, 1000), default=20, show_default=True, help="How many to list."
)
def top(once: bool, interval: float, nodes: int) -> None:
    """Watch the running server: nodes, streams, changes, what waits, what happened last. Ctrl-C ends it."""
    found = _ask(nodes)
    if once or session().output:
        if not machine(found):
            _print_once(found)
        return
    _watch(found, interval, nodes)


def _ask(nodes: int) -> dict[str, Any]:
    found: dict[str, Any] = call(
        "GET", "/api/v1/debug/overview", query={"nodes": str(nodes)}, patience=NO_WAIT
    )
    return found


def _print_once(found: dict[str, Any]) -> None:
    from rich.console import Console

    Console(highlight=False).print(screen(found, None))


def _watch(found: dict[str, Any], interval: float, nodes: int) -> None:
    from rich.live import Live
    from rich.text import Text

    before = None
    trouble = ""
    try:
        with Live(screen(found, before), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                try:
                    before, found, trouble = found, _ask(nodes), ""
                except Failed as problem:  # a server that restarts comes back
                    trouble = str(problem)
                live.update(Text(trouble, style="red") if trouble else screen(found, before), refresh=True)
    except KeyboardInterrupt:
        click.echo("stopped watching", err=True)


def screen(found: dict[str, Any], before: dict[str, Any] | None) -> "RenderableType":
    """Everything; rates are since `before`, without one since the server started."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    nodes, queues = found["nodes"], found["queues"]
    commits, changes = (_rate(found, before, name) for name in ("commits", "changes"))
    head = Table.grid(padding=(0, 3))
    head.add_row(f"headscale {found['version']}", f"up {_span(found)}", moment(found["at"]))
    facts = Table.grid(padding=(0, 3))
    facts.add_row(
        *("nodes", f"{nodes['online']} online of {nodes['total']}"),
        f"{nodes['expired']} expired, {nodes['waiting']} wait for approval",
    )
    facts.add_row(
        *("streams", f"{found['streams']} open, {queues['streamsBehind']} behind"),
        f"{found['controlSessions']} control connections, {found['relayClients']} relay clients",
    )
    facts.add_row("commits", f"{commits[0]:.1f}/s", f"{commits[1] * 1000:.1f} ms each")
    facts.add_row("changes told", f"{changes[0]:.1f}/s", f"{changes[1] * 1000:.1f} ms each")
    facts.add_row(
        *("waiting", f"{queues['writer']} steps, {queues['relayPackets']} relayed packets"),
        f"{queues['logins']} logins, {queues['questions']} questions",
    )
    parts: list[Any] = [head, Text(), facts]
    if found["policyProblem"]:
        parts.append(Text(f"policy: {found['policyProblem']}", style="red"))
    return Group(*parts, Text(), _seen(found), Text(), _events(found))


def _seen(found: dict[str, Any]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    columns = ("ID", "Node", "Owner", "State", "Last seen", "Client", "Address")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for node in found["seen"]:
        seen = "now" if node["state"] == "online" else moment(node["lastSeen"])
        cells = (
            *(node[key] for key in ("id", "name", "user", "state")),
            seen,
            node["version"],
            node["address"],
        )
        table.add_row(*map(Text, cells), style="" if node["state"] == "online" else "dim")
    return table


def _events(found: dict[str, Any]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table("Time", "Node", "What", box=None, pad_edge=False, header_style="bold")
    for event in found["events"]:
        table.add_row(*map(Text, (moment(event["at"]), event["node"], event["what"])))
    return table


def _rate(found: dict[str, Any], before: dict[str, Any] | None, name: str) -> tuple[float, float]:
    """How often a second, and how many seconds each took."""
    now, was = found[name], before[name] if before else {"count": 0, "sumSeconds": 0.0}
    since = before["at"] if before else found["startedAt"]
    passed = (_moment(found["at"]) - _moment(since)).total_seconds()
    count = now["count"] - was["count"]
    if count < 0:  # the server was started anew in between
        return _rate(found, None, name)
    each = (now["sumSeconds"] - was["sumSeconds"]) / count if count else 0.0
    return (count / passed if passed > 0 else 0.0), each


def _span(found: dict[str, Any]) -> str:
    up = _moment(found["at"]) - _moment(found["startedAt"])
    return str(timedelta(seconds=int(up.total_seconds())))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
