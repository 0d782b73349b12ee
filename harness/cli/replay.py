"""`harness replay`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from harness.clients.netmap import NetMap
from harness.proxy.recording import Poll, Step, clients, polls, read_recording
from harness.proxy.replay import start_replay


@click.command()
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--client", help="Whose map polls; without it those of all.")
@click.option("--serve", metavar="HOST:PORT", help="Be a login server that plays them to any client.")
@click.option("--speed", default=1.0, show_default=True, help="With --serve: how fast; 0 is without pauses.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the netmap after each message.")
def replay(recording: Path, *, client: str | None, serve: str | None, speed: float, as_json: bool) -> None:
    """Show what clients were told, message by message, from a RECORDING of the control proxy (control.jsonl).

    With --serve a client of any release is told the same: point it there with `tailscale up --login-server`.
    """
    messages = read_recording(recording)
    if serve is not None:
        known = clients(messages)
        chosen = client or (known[0] if len(known) == 1 else None)
        if chosen is None:
            raise click.UsageError(
                f"say with --client whose messages to play: {', '.join(known) or 'nobody'}"
            )
        host, _, port = serve.rpartition(":")
        if not port.isdecimal():
            raise click.UsageError(f"--serve {serve!r} is not HOST:PORT")
        asyncio.run(_serve(messages, chosen, host or "127.0.0.1", int(port), speed))
        return
    found = polls(messages, client=client)
    if not found:
        whose = f"of {client!r}" if client else "at all"
        raise click.ClickException(
            f"{recording} has no map poll {whose}; clients: {', '.join(clients(messages)) or 'none'}"
        )
    if as_json:
        click.echo(json.dumps([_as_json(poll) for poll in found], indent=1))
        return
    for poll in found:
        click.echo(f"{poll.client}, client version {poll.version}, from {poll.request.wall:%H:%M:%S} on")
        before: NetMap | None = None
        for step in poll.steps():
            click.echo(f"  {step.message.at:9.3f} s  {told(step, before)}")
            before = step.netmap


def told(step: Step, before: NetMap | None) -> str:
    """One message in a line: its fields, and what became of the peers."""
    if step.trouble:
        return f"a client would end the poll: {step.trouble}"
    if step.message.json.get("KeepAlive"):
        return "keep-alive"
    fields = sorted(name for name in step.message.json if name != "ControlTime")
    changes = [
        f"{sign}{_name(peer)}"
        for sign, here, there in (("+", step.netmap, before), ("-", before, step.netmap))
        if here is not None
        for number, peer in here.peers.items()
        if there is None or number not in there.peers
    ]
    if before is not None:
        changes += [
            f"~{_name(peer)}"
            for number, peer in step.netmap.peers.items()
            if number in before.peers and before.peers[number] != peer
        ]
    return f"{', '.join(fields) or 'nothing'}{'  ' if changes else ''}{' '.join(changes)}"


def _name(peer: dict[str, Any]) -> str:
    return str(peer.get("Name") or peer.get("ID")).partition(".")[0]


def _as_json(poll: Poll) -> dict[str, Any]:
    return {
        "client": poll.client,
        "version": poll.version,
        "steps": [
            {
                "at": step.message.at,
                "message": step.message.json,
                "trouble": step.trouble or None,
                "netmap": {"node": step.netmap.node, "peers": list(step.netmap.peers.values())},
            }
            for step in poll.steps()
        ],
    }


async def _serve(messages: list[Any], client: str, host: str, port: int, speed: float) -> None:
    async with start_replay(host, messages, client=client, speed=speed, port=port) as (url, playing):
        click.echo(
            f"{len(playing.poll.responses)} messages to {client}; tailscale up --login-server {url} --auth-key any"
        )
        await playing.finished.wait()
        click.echo("all were told; Ctrl-C ends it")
        await asyncio.Event().wait()
