"""Processes of a run: started so that they cannot outlive it, and what the kernel says of them."""

import asyncio
import ctypes
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
END_SECONDS: Final = 15.0
_libc = ctypes.CDLL(None, use_errno=True)


def dies_with_us() -> None:
    """In a child: be killed when the process that started it ends, however that ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def start(
    argv: Sequence[str], *, stdin: int | None, stdout: int | IO[bytes], env: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    """A child that ends with us."""
    return await asyncio.create_subprocess_exec(
        *argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stdout if stdin is None else None,
        env=env,
        limit=4 * 1024 * 1024,
        preexec_fn=dies_with_us,
    )


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL when that does not do it."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def open_files(wanted: int) -> None:
    """Let this process and its children have so many files open; raises OSError when that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        if 0 <= hard < wanted:
            raise OSError(f"{wanted} open files are needed, {hard} are allowed: raise `ulimit -n`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all its threads, past ones too, in nanosecond steps (Linux's clock of a process)."""
    return time.clock_gettime((~pid << 3) | 2)


def memory_mib(pid: int, *, peak: bool = False) -> float:
    """Resident memory now, or at its peak."""
    name = "VmHWM:" if peak else "VmRSS:"
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(name)[1].split()[0]) / 1024
