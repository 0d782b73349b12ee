"""Our server as an operator runs it: `headscale serve` as a process of its own, which can be killed."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from harness.errors import HarnessError
from harness.runs import environ
from harness.servers.configuration import Configuration
from harness.servers.health import answers
from harness.servers.local import LocalSettings, remove_data
from harness.servers.rest import RestAdmin
from harness.wait import RECHECK_SECONDS, Budget


class Program(Protocol):
    """A process, as asyncio has them."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""

    def send_signal(self, signal: int, /) -> None:
        """Send it a signal."""

    async def wait(self) -> int:
        """Its end."""


class ProcessServer(RestAdmin):
    """See ControlServer. Configured by the environment and, where a scenario wants more, a file."""

    name = "process"

    def __init__(self, settings: LocalSettings) -> None:
        super().__init__(settings.socket)
        self.settings = settings
        self.url = settings.url
        self.folder = settings.data
        self.authority = settings.authority
        self.environment: dict[str, str] = {}
        """Added to its environment at its next start."""
        self.exit_code: int | None = None
        """How it ended the last time that it was stopped or killed."""
        self._process: Program | None = None
        self._log = settings.data / "server.log"

    @property
    def pid(self) -> int:
        """Its number. Raises HarnessError when it does not run."""
        if self._process is None:
            raise HarnessError("the server is not running")
        return self._process.pid

    async def start(self) -> None:
        self._process = await self._launched()
        await self._answers(self._process)

    async def _launched(self) -> Program:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "headscale.cli.main",
                "serve",
                stdout=log,
                stderr=log,
                env=environ(self.variables, self.environment),
            )

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self._process is None:
            raise HarnessError("the server is not running")
        self._process.send_signal(number)

    def reload(self, configuration: Configuration) -> None:
        """Write this configuration, and have it read (SIGHUP). What it comes to, the log says."""
        configuration.write(self.settings.data)
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    async def close(self) -> None:
        await self.stop()
        await asyncio.to_thread(remove_data, self.settings)

    @property
    def output(self) -> str:
        """All that it printed, log included."""
        return self._log.read_text(errors="replace")

    async def evidence(self) -> AsyncIterator[tuple[str, bytes | Path]]:
        yield "server.log", self._log
        if not self.settings.elsewhere:
            yield "db.sqlite", self.settings.database
        if self._process is not None:
            yield "nodes.json", json.dumps([asdict(node) for node in await self.nodes()], indent=1).encode()

    async def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        self.exit_code = await asyncio.wait_for(process.wait(), Budget.DAEMON.seconds)

    async def _answers(self, process: Program) -> None:
        """The socket is the last that opens: until it does, administrators would be turned away."""
        if await answers(self.url, alive=lambda: process.returncode is None, authority=self.authority):
            async with asyncio.timeout(Budget.DAEMON.seconds):
                while process.returncode is None:
                    if self.settings.socket.exists():
                        return
                    await asyncio.sleep(RECHECK_SECONDS / 5)
        raise HarnessError(f"headscale serve ended with {process.returncode}:\n{self.output[-2000:]}")

    @property
    def variables(self) -> dict[str, str]:
        """What its commands need in their environment to find it."""
        timeout = f"{self.settings.ephemeral_timeout.total_seconds():g}s"
        return {**self.settings.variables, "HEADSCALE_NODE_EPHEMERAL_INACTIVITY_TIMEOUT": timeout}
