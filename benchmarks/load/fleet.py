"""The driver's side of the workers: one command to all, answers merged."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from subprocess import PIPE
from sys import executable
from typing import Any, Final

import msgspec

from benchmarks.load import processes

# Beyond what a command may take itself: then the worker is broken.
SPARE_SECONDS: Final = 30.0

Json = dict[str, Any]


class WorkerFailed(Exception):
    """A worker could not do what it was told; the text is its own."""


class Fleet:
    """All workers. Client `i` lives in worker `i % len(workers)`."""

    def __init__(self, workers: list[asyncio.subprocess.Process]) -> None:
        self._workers = workers

    def __len__(self) -> int:
        return len(self._workers)

    def home(self, index: int) -> int:
        """The worker of a client."""
        return index % len(self._workers)

    def split(self, indices: Iterable[int]) -> list[list[int]]:
        """These clients by worker."""
        parts: list[list[int]] = [[] for _ in self._workers]
        for index in indices:
            parts[self.home(index)].append(index)
        return parts

    async def tell(self, worker: int, do: str, *, within: float, **fields: object) -> Json:
        """One worker's answer; raises WorkerFailed."""
        process = self._workers[worker]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode({"do": do, **fields}) + b"\n")
        try:
            async with asyncio.timeout(within + SPARE_SECONDS):
                line = await process.stdout.readline()
        except TimeoutError:
            raise WorkerFailed(f"{do}: not within {within + SPARE_SECONDS:.0f} s") from None
        said: Json = msgspec.json.decode(line) if line else {"error": f"{do}: the worker has ended"}
        if "error" in said:
            raise WorkerFailed(said["error"])
        return said

    async def tell_all(self, do: str, *, within: float, **fields: object) -> list[Json]:
        """Every worker's answer to the same command."""
        return await self.tell_each(do, [fields] * len(self), within=within)

    async def tell_each(self, do: str, each: list[Json], *, within: float) -> list[Json]:
        """Every worker's answer to its own command."""
        return await asyncio.gather(
            *(self.tell(at, do, within=within, **fields) for at, fields in enumerate(each))
        )

    async def wait(self, *, within: float) -> float | None:
        """When the last client of all had seen what is watched for; None when somebody had not in time."""
        said = await self.tell_all("wait", within=within, seconds=within)
        times = [one["at"] for one in said]
        return None if None in times else max(times)


@asynccontextmanager
async def workers(count: int) -> AsyncIterator[Fleet]:
    """So many worker processes; they end with the context, or with this process."""
    started: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(count):
            argv = [executable, "-m", "benchmarks.load.worker"]
            started.append(await processes.start(argv, stdin=PIPE, stdout=PIPE))
        yield Fleet(started)
    finally:
        for process in started:
            await processes.end(process)
