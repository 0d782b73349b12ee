"""The first minutes: what `headscale serve` prints is enough to get a machine in."""

import asyncio
import os
import shlex
import sys

import pytest

from harness.conditions import has_addresses, running
from harness.servers.process import ProcessServer
from harness.tailnet import Tailnet, gather
from harness.wait import Budget


async def headscale(server: ProcessServer, command: str) -> str:
    """Run a `headscale …` command as printed; what it prints."""
    program, *args = shlex.split(command)
    assert program == "headscale"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headscale.cli.main",
        *args,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **server.variables},
    )
    output, _ = await asyncio.wait_for(process.communicate(), Budget.COMMAND.seconds)
    assert process.returncode == 0, command
    return output.decode().strip()


@pytest.mark.server("process")
async def test_the_printed_commands_let_a_machine_in(tailnet: Tailnet) -> None:
    """A newcomer who runs the printed commands, and nothing else, has a machine of every release running."""
    assert isinstance(tailnet.server, ProcessServer)
    printed = tailnet.server.output.partition("Next:")[2].splitlines()
    create, key, up = [line.strip() for line in printed if line.startswith("  ")]
    await headscale(tailnet.server, create)

    async def follow(release: object) -> None:
        client, secret = await gather(
            tailnet.client(release),  # type: ignore[arg-type]
            headscale(tailnet.server, key),  # type: ignore[arg-type]
        )
        program, verb, *args = shlex.split(up.replace("<the key>", secret))
        assert (program, verb) == ("tailscale", "up")
        server = args[args.index("--login-server") + 1]
        result = await client.up(server, auth_key=args[args.index("--auth-key") + 1])
        assert result.ok, result.message
        await client.until(running() & has_addresses(), Budget.JOIN)

    await tailnet.each(tailnet.releases, follow)
    await tailnet.meshed(tailnet.clients)
    await tailnet.reach(tailnet.clients)
