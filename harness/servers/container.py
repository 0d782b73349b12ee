"""A control server from an image: any that has the `headscale` command and reads the Go headscale's file.

The server's machine is one of the network's, with the harness's agent as process 1, so starting, killing and
asking the server are the same as for clients. Relay: the harness's own (`relay`), named in the file.
"""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from harness.backends.base import Completed
from harness.backends.machine import Machine
from harness.backends.network import Network
from harness.errors import HarnessError
from harness.servers.command import CommandAdmin
from harness.servers.configuration import FILE, Configuration
from harness.servers.health import answers
from harness.servers.relay import start_relay
from harness.wait import Budget

PORT = 8080
PROGRAM = "control"
COMMANDS = ("headscale", "/ko-app/headscale")
"""Where images keep the command: on the path, or as the peer's builder puts it."""


class ContainerServer(CommandAdmin):
    """See ControlServer. `url` is known from the first start on."""

    name = "container"
    authority = None

    def __init__(
        self,
        network: Network,
        image: str,
        *,
        ephemeral_timeout: timedelta,
        configuration: Configuration | None = None,
    ) -> None:
        super().__init__(self._headscale)
        self.url = ""
        self._network = network
        self._image = image
        self._ephemeral_timeout = ephemeral_timeout
        self._configuration = configuration or Configuration()
        self._command = COMMANDS[0]
        self._stack = AsyncExitStack()
        self._machine: Machine | None = None

    @property
    def folder(self) -> Path:
        if self._machine is None:
            raise HarnessError("the server was never started")
        return self._machine.data

    async def start(self) -> None:
        if self._machine is None:
            self._machine = await self._network.machine_of(PROGRAM, self._image)
            self.url = f"http://{await self._network.address_of(self._machine)}:{PORT}"
            relay_map = await start_relay(self._stack, self._network.host_address)
            (self._machine.data / "derp.yaml").write_text(relay_map)
            self._configuration.write(self._machine.data, basis=self._config(self._machine))
            self._command = await self._find_command(self._machine)
        machine = self._machine
        await machine.spawn(PROGRAM, [self._command, "serve", "-c", machine.path(FILE)])
        await self._answers(machine)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def close(self) -> None:
        with contextlib.suppress(HarnessError, TimeoutError):
            await self.stop()
        await self._stack.aclose()

    async def evidence(self) -> AsyncIterator[tuple[str, bytes | Path]]:
        if self._machine is None:
            return
        for path in sorted(self._machine.data.glob(f"{PROGRAM}.log")):
            yield path.name, path
        yield "nodes.json", json.dumps([asdict(node) for node in await self.nodes()], indent=1).encode()
        yield "db.sqlite", self._machine.data / "db.sqlite"

    async def _end(self, number: int) -> None:
        machine = self._machine
        if machine is not None and machine.is_running(PROGRAM):
            await machine.signal(PROGRAM, number)
            await asyncio.wait_for(machine.ended(PROGRAM), Budget.DAEMON.seconds)

    async def _headscale(self, args: Sequence[str], *, stdin: str = "") -> Completed:
        if self._machine is None:
            raise HarnessError("the server was never started")
        argv = [self._command, "-c", self._machine.path(FILE), *args]
        limit = timedelta(seconds=Budget.COMMAND.seconds)
        return await self._machine.exec(argv, timeout=limit, stdin=stdin)

    async def _find_command(self, machine: Machine) -> str:
        for command in COMMANDS:
            with contextlib.suppress(HarnessError):
                if (await machine.exec([command, "version"], timeout=timedelta(seconds=20))).code == 0:
                    return command
        raise HarnessError(f"{self._image} has no headscale command; looked for {', '.join(COMMANDS)}")

    async def _answers(self, machine: Machine) -> None:
        if not await answers(self.url, alive=lambda: machine.is_running(PROGRAM)):
            tail = (machine.data / f"{PROGRAM}.log").read_text(errors="replace")[-2000:]
            raise HarnessError(f"the server in {self._image} ended:\n{tail}")

    def _config(self, machine: Machine) -> Mapping[str, Any]:
        """Only keys that the Go headscale 0.29 knows too."""
        timeout = max(self._ephemeral_timeout.total_seconds(), 66)
        return {
            "server_url": self.url,
            "listen_addr": f"0.0.0.0:{PORT}",
            "unix_socket": machine.path("headscale.sock"),
            "noise.private_key_path": machine.path("noise_private.key"),
            "prefixes.v4": "100.64.0.0/10",
            "prefixes.v6": "fd7a:115c:a1e0::/48",
            "database.type": "sqlite",
            "database.sqlite.path": machine.path("db.sqlite"),
            "derp.server.enabled": False,
            "derp.urls": [],
            "derp.paths": [machine.path("derp.yaml")],
            "dns.magic_dns": True,
            "dns.base_domain": "tailnet.internal",
            "dns.override_local_dns": False,
            "policy.mode": "database",
            "node.ephemeral.inactivity_timeout": f"{timeout:g}s",
        }
