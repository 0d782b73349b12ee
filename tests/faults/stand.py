"""What the rows share: a server as a process on either database, clients in this one, and what the kernel says."""

import asyncio
import json
import os
import select
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.load import processes
from harness.clients.fake import FakeClient
from harness.errors import HarnessError
from harness.runs import environ
from harness.servers.base import ServerNode
from harness.servers.local import LocalSettings
from harness.servers.process import ProcessServer, Program

HOST = "127.0.0.1"
HOUR = timedelta(hours=1)


class Nursery:
    """A process that has imported the server, and forks it. See tests.faults.nursery."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environ()),
        )

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """One line there and back."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise HarnessError(f"the nursery of servers has ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it, and what it started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


class Forked:
    """See Program: a server that the nursery started."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._nursery = nursery
        self._handle = os.pidfd_open(pid)

    def send_signal(self, number: int, /) -> None:
        os.kill(self.pid, number)

    @property
    def returncode(self) -> int | None:
        """How it ended, if it has."""
        if self._code is None and select.select([self._handle], [], [], 0)[0]:
            self._code = int(self._nursery.ask({"wait": self.pid})["code"])
            os.close(self._handle)
        return self._code

    async def wait(self) -> int:
        if self.returncode is None:
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._handle, lambda: ended.done() or ended.set_result(None))
            try:
                await ended
            finally:
                loop.remove_reader(self._handle)
        code = self.returncode
        assert code is not None
        return code


class ForkedServer(ProcessServer):
    """See ProcessServer. `failpoint` and `umask` are for its next start."""

    def __init__(self, settings: LocalSettings, nursery: Nursery) -> None:
        super().__init__(settings)
        self.failpoint = ""
        self.umask: int | None = None
        self._nursery = nursery

    async def _launched(self) -> Program:
        self.settings.socket.unlink(missing_ok=True)  # what a killed one left would pass for an open door
        asked = {
            "env": dict(environ(self.variables, self.environment)),
            "log": str(self._log),
            "failpoint": self.failpoint,
            "umask": self.umask,
        }
        return Forked(self._nursery, self._nursery.ask(asked)["pid"])

    async def died(self, within_s: float = 10.0) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None
        code = await asyncio.wait_for(self._process.wait(), within_s)
        self._process = None
        return code

    @property
    def log_path(self) -> Path:
        """Where it writes what it prints."""
        return self._log


@dataclass
class Stand:
    """A server that runs, with the user alice, and the clients of a test; all end with it."""

    server: ForkedServer
    stack: AsyncExitStack
    user: str = "1"
    server_is_gone: bool = False
    """Whether whoever uses it has to put up with its being away."""
    _key: Any = None

    async def client(self, name: str = "fake", **more: Any) -> FakeClient:
        """One that has not registered."""
        made = FakeClient(self.server.url, hostname=name, **more)
        made.server_key = self._key
        client = await self.stack.enter_async_context(made)
        if self._key is None:
            self._key = await client.fetch_server_key()
        return client

    async def key(self, *, reusable: bool = True, tags: tuple[str, ...] = (), user: str = "") -> str:
        """A pre-auth key's text."""
        made = await self.server.create_key(
            user or self.user, reusable=reusable, ephemeral=False, lifetime=HOUR, tags=tags
        )
        return made.text

    async def join(self, name: str = "fake", key: str = "") -> FakeClient:
        """One that has registered."""
        client = await self.client(name)
        answer = await client.register(auth_key=key or await self.key())
        assert answer["MachineAuthorized"], answer["Error"]
        return client

    async def node(self, client: FakeClient) -> ServerNode:
        """What the server has of it."""
        return next(node for node in await self.server.nodes() if node.node_key == client.node_key)

    async def health(self) -> int:
        """The status of /health."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.server.url}/health") as answer:
            return answer.status

    def vitals(self) -> "Vitals":
        """Its figures of this moment."""
        return Vitals.of(self.server.pid)

    async def settled(self, base: "Vitals", *, within_s: float = 60.0) -> "Vitals":
        """Wait until its file descriptors are back at what they were, give or take ten (O4); its figures then."""
        await until(lambda: abs(self.vitals().files - base.files) <= 10, within_s=within_s)
        return self.vitals()

    def complaints(self) -> list[str]:
        """Tracebacks in its log (O5)."""
        return [line for line in self.server.output.splitlines() if line.startswith("Traceback")]


@dataclass(frozen=True, slots=True)
class Vitals:
    """Of a process: resident memory in MiB, open files, CPU seconds so far."""

    memory_mib: float
    files: int
    cpu_s: float

    @classmethod
    def of(cls, pid: int) -> "Vitals":
        """As the kernel has them."""
        return cls(processes.memory_mib(pid), len(os.listdir(f"/proc/{pid}/fd")), processes.cpu_seconds(pid))


async def until(holds: Callable[[], Any], *, within_s: float, every_s: float = 0.05) -> None:
    """Wait until something about a process or a socket is so; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110  (the kernel tells nobody)
            await asyncio.sleep(every_s)


async def ended_well(*work: Awaitable[Any]) -> list[Any]:
    """All of it at once; exceptions among the results."""
    return list(await asyncio.gather(*work, return_exceptions=True))


def percentile(values: list[float], of_hundred: float) -> float:
    """The value below which so many of a hundred lie; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * of_hundred / 100))] if ordered else 0.0
