"""`harness up`: a server and clients that stay until they are not wanted any more."""

import asyncio
import json
import shlex
import signal
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import click

from harness.backends.choose import NAMES, choose
from harness.backends.machine import TAILSCALED_SOCKET
from harness.clients.base import Ability, Client
from harness.history import History
from harness.servers.base import ControlServer
from harness.servers.local import LocalSettings, local_settings
from harness.tailnet import Tailnet, open_tailnet
from harness.versions import Release, resolve

SERVERS = ("inprocess", "process")
EPHEMERAL = timedelta(minutes=30)


@click.command()
@click.option(
    "--hold", "count", type=click.IntRange(0, 64), default=2, show_default=True, help="How many clients."
)
@click.option("--server", "kind", type=click.Choice(SERVERS), default="process", show_default=True)
@click.option(
    "--backend", type=click.Choice(NAMES), help="Containers when an engine answers, else processes."
)
@click.option(
    "--client-versions",
    "versions",
    default="newest",
    show_default=True,
    help="Dealt out in turn: oldest,newest.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, once all is up.")
def up(*, count: int, kind: str, backend: str | None, versions: str, as_json: bool) -> None:
    """Start a server and clients that are logged in, say how to talk to them, and wait for Ctrl-C."""
    asyncio.run(_hold(resolve(versions), count, kind, backend, as_json=as_json))


async def _hold(
    releases: tuple[Release, ...], count: int, kind: str, backend: str | None, *, as_json: bool
) -> None:
    wanted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, wanted.set)
    chosen = await asyncio.to_thread(choose, backend)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(chosen.close)
        used = [releases[number % len(releases)] for number in range(count)]
        await chosen.prepare(list(dict.fromkeys(used)))
        network = await stack.enter_async_context(chosen.network("up"))
        settings = local_settings(network.host_address, ephemeral_timeout=EPHEMERAL)
        server = _server(kind, settings)
        tailnet = await stack.enter_async_context(open_tailnet(server, network, releases, History()))
        joining = asyncio.create_task(_join(tailnet, used))
        stopping = asyncio.create_task(wanted.wait())
        await asyncio.wait({joining, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not joining.done():
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)
            return
        joining.result()
        _tell(tailnet, settings, chosen.name, as_json=as_json)
        await stopping
        click.echo("ending …", err=True)


def _server(kind: str, settings: LocalSettings) -> ControlServer:
    if kind == "process":
        from harness.servers.process import ProcessServer

        return ProcessServer(settings)
    from harness.servers.inprocess import InProcessServer

    return InProcessServer(settings)


async def _join(tailnet: Tailnet, releases: list[Release]) -> None:
    await tailnet.user("alice")
    for release in releases:  # one after the other: their names are in order
        await tailnet.join("alice", release)


def _tell(tailnet: Tailnet, settings: LocalSettings, backend: str, *, as_json: bool) -> None:
    told: dict[str, Any] = {
        "backend": backend,
        "server": {"url": tailnet.server.url, "socket": str(settings.socket)},
        "clients": [_of(client) for client in tailnet.clients],
    }
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"server   {tailnet.server.url}")
    click.echo(f"         HEADSCALE_UNIX_SOCKET={shlex.quote(str(settings.socket))} headscale nodes list")
    for client in told["clients"]:
        click.echo(f"{client['name']:8} {client['release']}  {'  '.join(client['addresses'])}")
        click.echo(f"         {client['command'] or 'has no command of its own'}")
    click.echo("Ctrl-C ends it all.")


def _of(client: Client) -> dict[str, Any]:
    machine = client.machine
    command = ""
    if Ability.PREFS in client.abilities:
        words = [
            *machine.layout.enter,
            machine.program("tailscale"),
            "--socket",
            machine.path(TAILSCALED_SOCKET),
        ]
        command = shlex.join([*words, "status"])
    return {
        "name": client.name,
        "release": str(client.release),
        "addresses": [str(address) for address in client.status.addresses],
        "data": str(machine.data),
        "command": command,
    }
