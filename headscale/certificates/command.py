"""A program of the operator's that publishes and removes records, called without a shell."""

import asyncio
import contextlib
import os
import signal
from typing import Final

from headscale.certificates.publisher import PublishFailed
from headscale.config.settings import DNSCommand

OUTPUT_MAX_BYTES: Final = 4096
_CHUNK_BYTES: Final = 4096


class CommandNameserver:
    """See `publisher.Nameserver`. Calls `COMMAND… add|remove NAME VALUE`; the exit code says whether it worked.

    A call that is cancelled, as when its time is over, ends with all that it started.
    """

    def __init__(self, settings: DNSCommand) -> None:
        self._command = settings.command

    async def add(self, name: str, value: str) -> None:
        """Raises PublishFailed with what the program said."""
        await self._run("add", name, value)

    async def remove(self, name: str, value: str) -> None:
        """Raises PublishFailed with what the program said."""
        await self._run("remove", name, value)

    async def _run(self, action: str, name: str, value: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *(*self._command, action, name, value),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env=_environment(),
            )
        except OSError as problem:
            reason = problem.strerror or problem
            raise PublishFailed(f"{self._command[0]} cannot be run: {reason}") from problem
        try:
            said = await _output(process)
            code = await process.wait()
        finally:
            await _end(process)
        if code != 0:
            text = said.replace(value, "VALUE").strip() or "and said nothing"
            raise PublishFailed(f"{self._command[0]} {action} ended with {code}: {text}")


def _environment() -> dict[str, str]:
    """Ours without our own settings, which may hold secrets that the program does not need."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADSCALE_")}


async def _output(process: asyncio.subprocess.Process) -> str:
    """The beginning of what it says; the rest is read and dropped, so that it never waits for us."""
    assert process.stdout is not None
    kept = b""
    while chunk := await process.stdout.read(_CHUNK_BYTES):
        kept = (kept + chunk)[:OUTPUT_MAX_BYTES]
    return kept.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of it goes on, not what it left behind either: the group is its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()
