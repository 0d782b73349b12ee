"""`headscale serve` under something that speaks systemd's protocol: this test."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from harness.servers.local import LocalSettings, local_settings, remove_data

PATIENCE_S = 20.0
SERVE = f"LISTEN_PID=$$ exec {sys.executable} -m headscale.cli.main serve"


class Systemd:
    """Hears what the server says, and starts it as systemd does."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self.settings: LocalSettings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5))
        stack.callback(remove_data, self.settings)
        self._notify = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._address = str(folder / "notify")
        self._notify.bind(self._address)
        self._notify.setblocking(False)
        self._stack = stack

    async def start(
        self, *, listening: socket.socket | None = None, more: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        """The server; with a socket it is the descriptor 3."""
        passed = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "headscale"} if listening else {}
        script = SERVE
        if listening is not None:
            script = f"exec 3<&{listening.fileno()}; {SERVE}"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            env={
                **os.environ,
                **self.settings.variables,
                "NOTIFY_SOCKET": self._address,
                **passed,
                **(more or {}),
            },
            pass_fds=[listening.fileno()] if listening else [],
            stdout=asyncio.subprocess.DEVNULL,
        )
        self._stack.push_async_callback(end, process)
        return process

    async def hears(self, wanted: str) -> list[str]:
        """All lines up to this one."""
        heard: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            while wanted not in heard:
                data = await asyncio.get_running_loop().sock_recv(self._notify, 4096)
                heard += data.decode().split("\n")
        return heard

    def waiting(self) -> int:
        """How many messages were not read yet; they are thrown away."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self._notify.recv(4096):
                count += 1
        return count


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask it to stop, and wait for it."""
    if process.returncode is None:
        process.terminate()
    await asyncio.wait_for(process.wait(), PATIENCE_S)


@pytest.fixture
async def systemd(tmp_path: Path) -> AsyncIterator[Systemd]:
    async with AsyncExitStack() as stack:
        yield Systemd(stack, tmp_path)


async def test_it_is_ready_when_it_answers_and_says_that_it_stops(systemd: Systemd) -> None:
    process = await systemd.start()
    assert f"STATUS=serving {systemd.settings.url}" in await systemd.hears("READY=1")
    async with aiohttp.ClientSession() as http, http.get(f"{systemd.settings.url}/health") as answer:
        assert answer.status == 200
    process.terminate()
    await systemd.hears("STOPPING=1")
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


async def test_a_reload_has_a_beginning_and_an_end(systemd: Systemd) -> None:
    """With the moment of its beginning, as Type=notify-reload wants it."""
    process = await systemd.start()
    await systemd.hears("READY=1")
    process.send_signal(signal.SIGHUP)
    heard = await systemd.hears("RELOADING=1")
    heard += await systemd.hears("READY=1")
    assert any(line.startswith("MONOTONIC_USEC=") for line in heard)


async def test_the_watchdog_is_fed_while_the_loop_runs(systemd: Systemd) -> None:
    """Twice in its time; a server that stands still says nothing."""
    process = await systemd.start(more={"WATCHDOG_USEC": "400000"})
    await systemd.hears("READY=1")
    for _ in range(3):
        await systemd.hears("WATCHDOG=1")
    process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(0.5)
        systemd.waiting()  # what was said before it stood still
        await asyncio.sleep(1)
        assert systemd.waiting() == 0
    finally:
        process.send_signal(signal.SIGCONT)


async def test_nobody_is_refused_while_it_is_started_anew(systemd: Systemd) -> None:
    """Who connects between two lives of the server waits, and is answered by the second one."""
    with socket.create_server((systemd.settings.host, systemd.settings.port)) as listening:
        first = await systemd.start(listening=listening)
        await systemd.hears("READY=1")
        await end(first)
        reader, writer = await asyncio.open_connection(systemd.settings.host, systemd.settings.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")
        await writer.drain()
        await systemd.start(listening=listening)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_socket_of_no_use_is_named(systemd: Systemd) -> None:
    with socket.create_server((systemd.settings.host, 0)) as listening:
        process = await systemd.start(listening=listening, more={"LISTEN_FDNAMES": "grpc"})
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) != 0
