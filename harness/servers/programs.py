"""Servers that other people wrote, as programs on the host: until they answer, and until they have ended."""

import asyncio
from pathlib import Path

from harness.errors import HarnessError
from harness.progress import tail
from harness.wait import RECHECK_SECONDS, Budget


async def until_listening(
    process: asyncio.subprocess.Process, name: str, host: str, port: int, log: Path
) -> None:
    """Wait until somebody accepts there. Raises HarnessError with the log's end when the program ends before that."""
    async with asyncio.timeout(Budget.DAEMON.seconds):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(RECHECK_SECONDS / 5)
                continue
            writer.close()
            return
    raise HarnessError(f"{name} ended with {process.returncode}:\n{tail(log)}")


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask it to stop, if it runs, and wait for it."""
    if process.returncode is None:
        process.terminate()
        await asyncio.wait_for(process.wait(), Budget.DAEMON.seconds)
