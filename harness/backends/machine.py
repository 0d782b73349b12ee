"""A machine: a data directory shared with the host, a client's programs, and an agent that runs them.

Programs, commands and probes all go through the agent over a Unix socket in the data directory, so a machine
is the same on every backend; only its Launcher differs.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from harness.agent.connection import AgentConnection, Event, connect
from harness.backends.base import Capability, Completed, Launcher
from harness.errors import AgentFailed, ExecTimedOut, HarnessError, Unsupported
from harness.history import History, Source

AGENT_START_SECONDS = 20.0
"""Ten times a container's start on a busy machine with two cores."""

SOCKET_PATH_LIMIT = 107
"""sockaddr_un holds 108 bytes, the closing NUL among them."""

AGENT_SOCKET = "agent.sock"

TAILSCALED_SOCKET = "tailscaled.sock"

PACKETS = "packets.pcap"

ARGV_SHOWN = 400
"""Characters of a command that a history keeps."""


Setting = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are: on the host, and as programs on the machine see them."""

    name: str
    data: Path
    inside: str
    programs: Mapping[str, str]
    host_address: str
    capabilities: frozenset[Capability]
    enter: tuple[str, ...] = ()
    """What to put before a command on the host, so that it runs in the machine's network."""


class Machine:
    """One machine, from its first start to its last stop. What happens to it is recorded in `history`."""

    def __init__(self, layout: Layout, launcher: Launcher, history: History | None = None) -> None:
        self.layout = layout
        self.history = history if history is not None else History()
        self._launcher = launcher
        self._connection: AgentConnection | None = None
        self._running: dict[str, asyncio.Future[int]] = {}
        self._settings: list[Setting] = []

    @property
    def name(self) -> str:
        """Unique within its network; every echo of this machine carries it."""
        return self.layout.name

    @property
    def data(self) -> Path:
        """The data directory on the host. Logs lie directly in it and end in .log."""
        return self.layout.data

    @property
    def host_address(self) -> str:
        """The address under which programs on the machine reach services of the host."""
        return self.layout.host_address

    def can(self, capability: Capability) -> bool:
        """Whether the backend gave this machine that capability."""
        return capability in self.layout.capabilities

    def require(self, capability: Capability) -> None:
        """Raise Unsupported unless the machine has the capability."""
        if not self.can(capability):
            raise Unsupported(f"{self.name} cannot do this: its backend lacks {capability}")

    def path(self, *parts: str) -> str:
        """A path in the data directory as programs on the machine see it."""
        return "/".join((self.layout.inside, *parts))

    def program(self, name: str) -> str:
        """The path of `tailscale` or `tailscaled` as programs on the machine see it."""
        return self.layout.programs[name]

    async def start(self) -> None:
        """Bring the machine up with its agent; programs are spawned one by one afterwards."""
        socket = self.data / AGENT_SOCKET
        check_socket_path(socket)
        socket.unlink(missing_ok=True)  # of an earlier life: connecting to it would not wait for the new one
        await self._launcher.start()
        self._connection = await connect(socket, self._on_event, within=AGENT_START_SECONDS)
        for setting in self._settings:
            await setting()

    def at_each_start(self, setting: Setting) -> None:
        """From now on do this whenever the machine comes up, before programs are spawned: its routes, for example."""
        self._settings.append(setting)

    async def stop(self) -> None:
        """End everything in good order. The data directory stays; `start` may follow."""
        await self.resume()
        self._happens("machine stops")
        await self._launcher.stop()
        await self._detach()

    async def kill(self) -> None:
        """End everything at once, as a power cut would. `start` may follow."""
        self._happens("machine is cut off its power")
        await self._launcher.kill()
        await self._detach()

    async def pause(self) -> None:
        """Freeze every program (SIGSTOP) without closing its connections."""
        self._happens("programs are frozen")
        await self._signal_all(signal.SIGSTOP)

    async def resume(self) -> None:
        """Let paused programs go on."""
        await self._signal_all(signal.SIGCONT)

    async def exec(
        self,
        argv: Sequence[str],
        *,
        timeout: timedelta,  # noqa: ASYNC109 - enforced by the agent, which can kill the command
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> Completed:
        """Run a command to its end. Raises ExecTimedOut after killing it with all that it started."""
        start = time.monotonic()
        limit = max(1, round(timeout.total_seconds() * 1000))
        done = await self.agent("exec", argv=list(argv), env=dict(env or {}), stdin=stdin, timeout_ms=limit)
        if done["timed_out"]:
            said = f"{done['stdout']}{done['stderr']}".strip()
            raise ExecTimedOut(
                f"{' '.join(argv)} was killed after {timeout.total_seconds():g} s; it said: {said}"
            )
        seconds = time.monotonic() - start
        told = {"argv": " ".join(argv)[:ARGV_SHOWN], "code": done["code"], "seconds": round(seconds, 3)}
        self.history.add(Source.CLIENT, self.name, "command ended", told)
        return Completed(tuple(argv), done["code"], done["stdout"], done["stderr"], seconds)

    async def spawn(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
        """Start a long-running program; its output goes to `<name>.log` in the data directory."""
        if self.is_running(name):
            raise HarnessError(f"{name} is already running on {self.name}")
        self._running[name] = asyncio.get_running_loop().create_future()
        try:
            log = self.path(f"{name}.log")
            await self.agent("start", name=name, argv=list(argv), env=dict(env or {}), log=log)
            self.history.add(Source.CLIENT, self.name, "program started", {"name": name})
        except AgentFailed:
            del self._running[name]
            raise

    async def signal(self, name: str, number: int) -> None:
        """Send a signal to a spawned program and all its children."""
        self._happens("signal", name=name, signal=signal.Signals(number).name)
        await self.agent("signal", name=name, signal=number)

    async def ended(self, name: str) -> int:
        """Wait for a spawned program's end; its exit code, or minus the signal that ended it."""
        if name not in self._running:
            raise HarnessError(f"{name} was never started on {self.name}")
        return await asyncio.shield(self._running[name])

    def is_running(self, name: str) -> bool:
        """Whether a program was spawned and has not ended."""
        return name in self._running and not self._running[name].done()

    async def agent(self, op: str, **arguments: Any) -> Any:
        """A command of the agent: listen, probe, resolve, or one of those above."""
        if self._connection is None:
            raise AgentFailed(f"{self.name} is not started; cannot {op}")
        return await self._connection.call(op, **arguments)

    async def packets(self) -> Path:
        """A pcap file of the last packets that the machine saw on all its interfaces, tunnel included, 4 MB at most.

        Raises AgentFailed where there are none: on a machine without a network of its own.
        """
        await self.agent("capture", path=self.path(PACKETS))
        return self.data / PACKETS

    async def _signal_all(self, number: int) -> None:
        for name in [name for name in self._running if self.is_running(name)]:
            with contextlib.suppress(AgentFailed):  # what ended meanwhile needs no signal
                await self.signal(name, number)

    async def _detach(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        for ended in self._running.values():
            if not ended.done():
                ended.set_result(-signal.SIGKILL)

    def _happens(self, event: str, **fields: Any) -> None:
        self.history.add(Source.FAULT, self.name, event, fields)

    def _on_event(self, event: Event) -> None:
        if event["event"] == "exited":
            self.history.add(Source.CLIENT, self.name, "program ended", event["result"])
            ended = self._running.get(event["result"]["name"])
            if ended is not None and not ended.done():
                ended.set_result(event["result"]["code"])


def check_socket_path(socket: Path) -> None:
    """Say in words what connect() would call an invalid argument."""
    size = len(str(socket).encode())
    if size > SOCKET_PATH_LIMIT:
        raise HarnessError(f"{socket} has {size} bytes; a Unix socket's path may have {SOCKET_PATH_LIMIT}")
