"""A process of clients: reads one command a line, answers each with one line, and ends with its driver.

A command is a JSON object with `do`; the answer has what it found, or `error`. Waits are bounded by `seconds`
and answer which clients are left.
"""

import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from benchmarks.load.link import LinkBroken
from benchmarks.load.node import LoadNode, Where
from benchmarks.load.watches import KnowsPeers, SeesEndpoint, SeesFilter, SeesName, Waiting
from headscale.keys import parse_machine_key

# After a restart the listener may be there a moment later than the health page of the process before.
DIALS: Final = 5
DIAL_AGAIN_SECONDS: Final = 0.2
LINE_BYTES: Final = 4 * 1024 * 1024

Json = dict[str, Any]


class Worker:
    """The clients of one process."""

    def __init__(self) -> None:
        self._nodes: dict[int, LoadNode] = {}
        self._where: Where | None = None
        self._waiting: Waiting | None = None
        self._open: list[asyncio.Future[float]] = []

    async def setup(self, *, host: str, port: int, key: str, nodes: list[Json]) -> Json:
        """Make clients; each has `index`, `hostname` and `auth_key`."""
        self._where = Where(host, port, parse_machine_key(key))
        for node in nodes:
            self._add(**node)
        gc.collect()
        gc.freeze()  # a collection over all clients would look like a slow server
        return {}

    async def register(self, *, concurrency: int) -> Json:
        """All of them, so many at once."""
        gate = asyncio.Semaphore(concurrency)

        async def one(node: LoadNode) -> None:
            async with gate:
                await node.register()

        began = time.monotonic()
        await _all(one(node) for node in self._nodes.values())
        return {"began": began, "ended": time.monotonic()}

    async def open(self, *, expected: dict[str, int]) -> Json:
        """Every client begins a poll; wait for so many peers each."""
        self._watch(KnowsPeers({int(index): count for index, count in expected.items()}))
        began = time.monotonic()
        await _all(self._opened(node) for node in self._nodes.values())
        return {"began": began}

    async def reconnect(self, *, indices: list[int]) -> Json:
        """These lose their connections and come back at once: how long each waited for its first map."""
        nodes = [self._nodes[index] for index in indices]
        for node in nodes:
            node.cut()

        async def one(node: LoadNode) -> float:
            began = time.monotonic()
            return await (await self._opened(node)) - began

        return {"seconds": await _all(one(node) for node in nodes)}

    async def expect_endpoint(self, *, endpoint: str, changing: list[int] | None) -> Json:
        """Watch for this endpoint of these nodes, by number."""
        self._watch(SeesEndpoint(self._nodes.values(), endpoint, None if changing is None else set(changing)))
        return {}

    async def expect_name(self, *, indices: list[int], name: str) -> Json:
        """Watch for a peer of this name."""
        self._watch(SeesName(self._ours(indices), name))
        return {}

    async def expect_filter(self, *, indices: list[int], port: int) -> Json:
        """Watch for a filter with this port."""
        self._watch(SeesFilter(self._ours(indices), port))
        return {}

    async def report(self, *, indices: list[int], endpoint: str) -> Json:
        """These tell a new endpoint; answers when the first began to."""
        began = time.monotonic()
        await _all(self._nodes[index].report(endpoint) for index in indices)
        return {"began": began}

    async def join(self, *, node: Json) -> Json:
        """One more client registers and opens its map."""
        added = self._add(**node)
        began = time.monotonic()
        await added.register()
        first = await self._opened(added)
        await first
        return {"began": began, "first_map": first.result()}

    async def leave(self, *, index: int) -> Json:
        """One client goes, and is counted no more."""
        self._nodes.pop(index).cut()
        return {}

    async def wait(self, *, seconds: float) -> Json:
        """When the last of the watched clients had seen it (0 when there was none), and who has not."""
        assert self._waiting is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._waiting.done)
        waiting = self._waiting
        return {"at": waiting.done.result() if waiting.done.done() else None, "left": sorted(waiting.left)}

    async def stats(self) -> Json:
        """What has arrived so far."""
        nodes = self._nodes.values()
        return {
            "messages": sum(node.messages for node in nodes),
            "bytes": sum(node.wire_bytes for node in nodes),
            "last": max((node.last_message for node in nodes), default=0.0),
            "ids": {node.index: node.id for node in nodes},
            "troubles": sorted({node.trouble for node in nodes if node.trouble})[:5],
        }

    async def hang_up(self) -> Json:
        """Every client loses its connection: their server is about to stop."""
        for node in self._nodes.values():
            node.cut()
        return {}

    def _add(self, *, index: int, hostname: str, auth_key: str) -> LoadNode:
        assert self._where is not None
        node = self._nodes[index] = LoadNode(index, hostname, auth_key, self._where)
        return node

    def _ours(self, indices: list[int]) -> Iterable[int]:
        return (index for index in indices if index in self._nodes)

    def _watch(self, waiting: Waiting) -> None:
        self._waiting = waiting
        for node in self._nodes.values():
            node.watch = waiting

    async def _opened(self, node: LoadNode) -> "asyncio.Future[float]":
        """Begin a poll, and try again when nobody answers the call."""
        node.watch = self._waiting
        for _ in range(DIALS - 1):
            try:
                return await node.open()
            except (LinkBroken, OSError):
                await asyncio.sleep(DIAL_AGAIN_SECONDS)
        return await node.open()


async def _all(work: Iterable[Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*work))


async def _serve(commands: asyncio.StreamReader, answer: Callable[[Json], None]) -> None:
    worker = Worker()
    while line := await commands.readline():
        command: Json = msgspec.json.decode(line)
        name = command.pop("do")
        try:
            answer(await getattr(worker, name)(**command))
        except Exception as problem:  # the driver says what it means for the figures
            answer({"error": f"{name}: {type(problem).__name__}: {problem}"})


async def main() -> None:
    """Serve until the driver closes our standard input."""
    commands = asyncio.StreamReader(limit=LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)

    def answer(said: Json) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()

    await _serve(commands, answer)


if __name__ == "__main__":
    asyncio.run(main())
