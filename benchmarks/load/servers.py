"""The server under load, as an operator runs it: a process, a configuration file, SQLite, the administrator's door.

Ours by default; any other by its command, a template of its configuration, and the `headscale` command line that it
has for administrators. In commands and templates `{config}`, `{data}`, `{port}`, `{stun_port}`, `{relay_port}` stand
for what the run chose.
"""

import asyncio
import contextlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from benchmarks.load import processes
from harness.backends.base import Completed
from harness.ports import free_port
from harness.servers.base import Admin
from harness.servers.command import CommandAdmin
from harness.servers.health import answers
from harness.servers.rest import RestAdmin

HOST: Final = "127.0.0.1"
COMMAND_SECONDS: Final = 60.0
DOOR_SECONDS: Final = 0.02
# So many times the harness's budget for a start.
STARTS: Final = 4
OURS: Final = """\
server_url: http://127.0.0.1:{port}
listen_addr: 127.0.0.1:{port}
data_dir: {data}
unix_socket: {data}/headscale.sock
derp:
  server:
    tls_listen_addr: 127.0.0.1:{relay_port}
    stun_listen_addr: 127.0.0.1:{stun_port}
"""
# What the Go headscale (0.26 and newer) wants to be told, with its own defaults for the rest.
PEER: Final = """\
server_url: http://127.0.0.1:{port}
listen_addr: 127.0.0.1:{port}
metrics_listen_addr: ""
grpc_listen_addr: 127.0.0.1:{relay_port}
noise:
  private_key_path: {data}/noise.key
prefixes:
  v4: 100.64.0.0/10
  v6: fd7a:115c:a1e0::/48
derp:
  server:
    enabled: true
    region_id: 999
    region_code: headscale
    region_name: embedded
    stun_listen_addr: 127.0.0.1:{stun_port}
    private_key_path: {data}/derp.key
    automatically_add_embedded_derp_region: true
  urls: []
  paths: []
disable_check_updates: true
database:
  type: sqlite
  sqlite:
    path: {data}/db.sqlite
policy:
  mode: database
dns:
  magic_dns: true
  base_domain: load.test
  override_local_dns: false
unix_socket: {data}/headscale.sock
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """Which server. Without `admin_command` the administrator's door is REST on the Unix socket."""

    name: str
    command: tuple[str, ...]
    template: str
    admin_command: tuple[str, ...] = ()


OUR_KIND: Final = Kind(
    "ours", (sys.executable, "-m", "headscale.cli.main", "serve", "-c", "{config}"), template=OURS
)


def kind_of(command: str, *, template: Path | None, admin_command: str) -> Kind:
    """Another server: its command ends in `serve`, or the administrator's command is given, too."""
    words = tuple(shlex.split(command))
    admin = tuple(shlex.split(admin_command)) or tuple(word for word in words if word != "serve")
    return Kind(Path(words[0]).name, words, template.read_text() if template else PEER, admin)


class LoadServer:
    """One server and its data, through restarts."""

    def __init__(self, kind: Kind, data: Path) -> None:
        self.kind = kind
        self.port = free_port(HOST)
        self._fields = {
            "data": str(data),
            "config": str(data / "config.yaml"),
            "port": str(self.port),
            "relay_port": str(free_port(HOST)),
            "stun_port": str(free_port(HOST, udp=True)),
        }
        (data / "config.yaml").write_text(self._filled(kind.template))
        self._log = data / "server.log"
        self._process: asyncio.subprocess.Process | None = None
        self._socket = data / "headscale.sock"
        self.admin: Admin = CommandAdmin(self._run) if kind.admin_command else RestAdmin(self._socket)

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process that serves; raises when it has ended, with the end of its log."""
        if self._process is None or self._process.returncode is not None:
            raise RuntimeError(f"{self.kind.name} has ended:\n{self._tail()}")
        return self._process.pid

    async def start(self) -> float:
        """Start it, and how many seconds it took until it answered."""
        began = time.monotonic()
        argv = [self._filled(word) for word in self.kind.command]
        with self._log.open("ab") as log:
            process = self._process = await processes.start(argv, stdin=None, stdout=log)
        for _ in range(STARTS):  # a busy machine takes its time
            with contextlib.suppress(TimeoutError):
                if await answers(self.url, alive=lambda: process.returncode is None):
                    took = time.monotonic() - began
                    await self._has_door()
                    return took
                break
        raise RuntimeError(f"{self.kind.name} does not answer:\n{self._tail()}")

    async def stop(self) -> None:
        """End it in good order; the data stays."""
        if self._process is not None:
            await processes.end(self._process)
            self._process = None

    async def key(self) -> str:
        """Its Noise key."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.url}/key", params={"v": "142"}) as answer,
        ):
            return str(msgspec.json.decode(await answer.read())["publicKey"])

    async def _has_door(self) -> None:
        """The administrator's socket may open a moment after the rest."""
        for _ in range(round(COMMAND_SECONDS / DOOR_SECONDS)):
            if self.kind.admin_command or self._socket.exists():
                return
            await asyncio.sleep(DOOR_SECONDS)

    def _filled(self, text: str) -> str:
        for name, value in self._fields.items():
            text = text.replace("{" + name + "}", value)
        return text

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    async def _run(self, args: Sequence[str], *, stdin: str = "") -> Completed:
        argv = (*map(self._filled, self.kind.admin_command), *args)
        began = time.monotonic()
        done = await asyncio.to_thread(
            subprocess.run, argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
        return Completed(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - began)


@asynccontextmanager
async def running(kind: Kind) -> AsyncIterator[LoadServer]:
    """A server with nothing in it; its data goes with it."""
    data = Path(tempfile.mkdtemp(prefix="load-"))
    server = LoadServer(kind, data)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        shutil.rmtree(data, ignore_errors=True)
