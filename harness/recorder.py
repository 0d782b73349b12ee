"""A recorder of SSH sessions: it takes what a client uploads (asciicast), and can be away or break off.

It runs here and not on a client's machine; the machine of the client that offers it passes on what comes for port 80.
Source: tailscale v1.102.4, sessionrecording/connect.go (POST /record with Expect: 100-continue, where a recorder does
not speak HTTP/2).
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from harness.clients.tailscaled import TailscaledClient
from harness.errors import HarnessError

PORT: Final = 80
_PATIENCE: Final = timedelta(seconds=20)


class SessionRecorder:
    """`recordings` are the sessions so far, each as far as it has come. `refuses` answers new ones with a 500."""

    def __init__(self) -> None:
        self.recordings: list[bytearray] = []
        self.refuses = False
        self.port = 0
        self._open: list[web.Request] = []

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Take one session, until it ends."""
        recording = bytearray()
        self.recordings.append(recording)
        self._open.append(request)
        async for chunk in request.content.iter_any():
            recording += chunk
        return web.Response()

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Whether a session is taken is said before it begins."""
        if self.refuses:
            return web.Response(status=500)
        if request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    def break_off(self) -> None:
        """Hang up on every session that is being recorded."""
        for request in self._open:
            if request.transport is not None:
                request.transport.abort()
        self._open.clear()


async def offer(recorder: SessionRecorder, client: TailscaledClient) -> None:
    """The client's machine passes on what comes through its tunnel for port 80."""
    target = f"{client.machine.host_address}:{recorder.port}"
    passed_on = ("PREROUTING -i tailscale0 -p tcp --dport", str(PORT), "-j DNAT --to-destination", target)
    for rule in (" ".join(passed_on), "POSTROUTING -o eth0 -j MASQUERADE"):
        done = await client.machine.exec(["iptables", "-t", "nat", "-A", *rule.split()], timeout=_PATIENCE)
        if done.code != 0:
            raise HarnessError(f"{client.name} does not pass on: {done.output}")


def header_of(recording: bytes | bytearray) -> dict[str, Any]:
    """What a recording says of its session."""
    found = json.loads(bytes(recording).partition(b"\n")[0])
    if not isinstance(found, dict):
        raise HarnessError(f"no recording begins like this: {bytes(recording[:200])!r}")
    return found


def output_of(recording: bytes | bytearray) -> str:
    """What the session's user saw."""
    frames = [json.loads(line) for line in bytes(recording).splitlines()[1:] if line.strip()]
    return "".join(text for _, kind, text in frames if kind == "o")


@asynccontextmanager
async def start_recorder(host: str) -> AsyncIterator[SessionRecorder]:
    """One that listens on this host's address."""
    recorder = SessionRecorder()
    app = web.Application(client_max_size=0)
    app.router.add_post("/record", recorder.take, expect_handler=recorder.expect)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, 0)
        await site.start()
        recorder.port = runner.addresses[0][1]
        yield recorder
    finally:
        await runner.cleanup()
