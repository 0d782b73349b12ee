"""The process backend: a client is a few processes of the current user on this host, with tailscaled's own
network stack in place of a kernel interface. Needs neither root nor Docker.

What it cannot do follows from that: programs reach the tailnet only through tailscaled's SOCKS5 server, all
machines share loopback and its ports, and a listener sees loopback as the source (tailscaled knows better,
and the agent asks it). The outside of the tailnet is the real host, so egress is not closed.
"""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from harness.backends.base import Capability
from harness.backends.machine import AGENT_SOCKET, TAILSCALED_SOCKET, Layout, Machine
from harness.backends.segment import INTERNET, Segment, Version
from harness.errors import HarnessError, Unsupported
from harness.history import History
from harness.provision import Provisioner
from harness.runs import new_folder
from harness.versions import Release

HOST = "127.0.0.1"

CAPABILITIES: frozenset[Capability] = frozenset()

NO_SEGMENTS = f"the process backend lacks {Capability.SEGMENTS}: its machines share the host's network"

STOP_SECONDS = 10.0
"""The agent gives its programs 3 s twice before it ends."""


class ProcessLauncher:
    """Runs an agent as a child process that cannot outlive us: it ends when its standard input does, and its
    programs are killed by the kernel when it dies."""

    def __init__(self, argv: Sequence[str | Path], log: Path) -> None:
        self._argv = argv
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - fork and exec, a few milliseconds
                self._argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    async def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await self._reap(self._process)

    async def end_of_input(self) -> None:
        """As `stop`, where a signal would not come through to the agent."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._reap(self._process)

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._reap(self._process)

    async def _reap(self, process: subprocess.Popen[bytes]) -> None:
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        if process.stdin is not None:
            process.stdin.close()
        self._process = None


class ProcessNetwork:
    """Machines on loopback, their folders in one temporary directory."""

    def __init__(self, name: str, provisioner: Provisioner) -> None:
        self.name = name
        self.history = History()
        self.capabilities = CAPABILITIES
        self.host_address = HOST
        self.internet = Segment(INTERNET, IPv4Network("127.0.0.0/8"), None)
        self._provisioner = provisioner
        self._folder: Path | None = None
        self._machines: list[Machine] = []

    async def __aenter__(self) -> "ProcessNetwork":
        # Not below pytest's tmp_path: a Unix socket's path is short.
        self._folder = new_folder("process")
        return self

    async def __aexit__(self, *_: object) -> None:
        for machine in self._machines:
            with contextlib.suppress(HarnessError, OSError):  # one that cannot end must not keep the others
                await machine.stop()
        self._machines.clear()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def machine(self, name: str, release: Release, *, on: Sequence[Segment] = ()) -> Machine:
        if on:
            raise Unsupported(NO_SEGMENTS)
        if self._folder is None:
            raise HarnessError(f"network {self.name} is not entered")
        programs = await asyncio.to_thread(self._provisioner.programs, release)
        agent = await asyncio.to_thread(self._provisioner.agent)
        data = self._folder / name
        data.mkdir()
        layout = Layout(
            name,
            data,
            inside=str(data),
            programs={program: str(path) for program, path in programs.items()},
            host_address=HOST,
            capabilities=CAPABILITIES,
        )
        argv: list[str | Path] = [
            agent,
            "-name",
            name,
            "-socket",
            data / AGENT_SOCKET,
            "-until-eof",
            "-whois",
            data / TAILSCALED_SOCKET,
        ]
        machine = Machine(layout, ProcessLauncher(argv, data / "agent.log"), self.history)
        self._machines.append(machine)
        await machine.start()
        return machine

    async def machine_of(self, name: str, image: str) -> Machine:
        raise Unsupported(f"the process backend cannot run the image {image}: it needs a Docker engine")

    async def segment(
        self, name: str, *, ipv4: IPv4Network | None = None, ipv6: IPv6Network | None = None
    ) -> Segment:
        raise Unsupported(NO_SEGMENTS)

    async def host(self, name: str, *, on: Sequence[Segment] = ()) -> Machine:
        raise Unsupported(NO_SEGMENTS)

    async def attach(self, machine: Machine, segment: Segment) -> None:
        raise Unsupported(NO_SEGMENTS)

    async def detach(self, machine: Machine, segment: Segment) -> None:
        raise Unsupported(NO_SEGMENTS)

    async def route(self, prefix: IPv4Network | IPv6Network, *, via: str) -> None:
        raise Unsupported(NO_SEGMENTS)

    async def address_of(
        self, machine: Machine, segment: Segment | None = None, *, version: Version = 4
    ) -> str:
        return HOST


class ProcessBackend:
    """See Backend."""

    name = "process"
    capabilities = CAPABILITIES

    def __init__(self, provisioner: Provisioner, *, why: str) -> None:
        self.why = why
        self.provisioner = provisioner

    async def prepare(self, releases: Sequence[Release]) -> None:
        await asyncio.to_thread(self.provisioner.agent)
        for release in releases:
            await asyncio.to_thread(self.provisioner.programs, release)

    def network(self, name: str) -> ProcessNetwork:
        return ProcessNetwork(name, self.provisioner)

    async def close(self) -> None:
        """Nothing is held between networks."""
