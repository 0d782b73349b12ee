"""The `headscale` command as operators run it: a process of its own, to its end or until a test stops it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from harness.runs import environ
from harness.servers.local import LocalSettings
from harness.servers.process import ProcessServer
from headscale.cli.framework import Failed
from headscale.cli.main import root

COMMAND = (sys.executable, "-m", "headscale.cli.main")
READY = b"Ctrl-C stops the server; started again, it finds everything again.\n"
# No command takes so long; only a failure waits for it.
PATIENCE_S = 60.0
START_S = 20.0
# What a person at a terminal waits for.
STOP_S = 5.0
# No table is folded.
WIDE = {"COLUMNS": "200"}


@dataclass(frozen=True, slots=True)
class Ran:
    """A command's exit code and what it printed."""

    code: int | None
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed for machines."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Serving:
    """A `headscale serve` that said that it is ready."""

    process: asyncio.subprocess.Process
    welcome: str

    async def logs(self, wanted: str) -> None:
        """Wait until the log has this."""
        assert self.process.stderr is not None
        async with asyncio.timeout(STOP_S):
            await self.process.stderr.readuntil(wanted.encode())

    async def stop(self, number: int) -> int:
        """Signal it; returns its exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()


Headscale = Callable[..., Awaitable[Ran]]
Serve = Callable[..., Awaitable[Serving]]


def environment(*given: Mapping[str, str]) -> dict[str, str]:
    """This process's, where nothing but these variables configures a headscale."""
    kept = {name: value for name, value in environ(WIDE).items() if not name.startswith("HEADSCALE_")}
    return kept | {name: value for each in given for name, value in each.items()}


@asynccontextmanager
async def started(
    *words: str, given: Mapping[str, str], folder: Path | None = None, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command with these variables, in this folder; if it still runs at the end, it is killed."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(given, variables),
        cwd=folder,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(
    *words: str,
    given: Mapping[str, str],
    folder: Path | None = None,
    typed: str = "",
    within_s: float = PATIENCE_S,
    **variables: str,
) -> Ran:
    """Run the command to its end; `typed` is all that its standard input has."""
    async with started(*words, given=given, folder=folder, **variables) as process:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate(typed.encode())
    return Ran(process.returncode, out.decode(), err.decode())


async def headscale(settings: LocalSettings, *words: str) -> Ran:
    """Run the command to its end, where the server of these settings is."""
    return await run(*words, given=ProcessServer(settings).variables)


async def headscale_inside(settings: LocalSettings, *words: str) -> Ran:
    """As `headscale`, but in this process, because it is quicker. An error comes without the word before it."""
    runner = CliRunner(env={**WIDE, **ProcessServer(settings).variables})
    async with asyncio.timeout(PATIENCE_S):
        ran = await asyncio.to_thread(runner.invoke, root, words)
    said_why = str(ran.exception) if isinstance(ran.exception, Failed) else ran.stderr
    return Ran(ran.exit_code, ran.stdout, said_why)


@asynccontextmanager
async def serving(*, given: Mapping[str, str], folder: Path, **variables: str) -> AsyncIterator[Serving]:
    """A server from the moment when it says that it is ready."""
    async with started("serve", given=given, folder=folder, **variables) as process:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            welcome = await process.stdout.readuntil(READY)
        yield Serving(process, welcome.decode())
