"""A real PostgreSQL on the host, with an empty data directory of its own, for as long as a test needs it."""

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, Missing
from harness.ports import free_port
from harness.progress import tail
from harness.runs import environ, prefix
from harness.wait import RECHECK_SECONDS, Budget

USER = "headscale"
# It refuses to run as root; this is the user that the package makes.
SERVICE_USER = "postgres"
LOG = "postgres.log"


@dataclass(slots=True)
class Postgres:
    """One that runs, or did. Its user needs the password, on the socket too."""

    host: str
    port: int
    socket: Path
    password: str
    _process: asyncio.subprocess.Process | None = None

    def url(self, database: str = "postgres") -> str:
        """Of a database on it."""
        return f"postgresql://{USER}:{self.password}@{self.host}:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new empty database; its URL."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.url(database)

    def drop(self, database: str) -> None:
        """Away with it, whoever is connected. Many that lie idle cost: PostgreSQL looks after each by turns."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)'.encode())

    def variables(self, database: str) -> Mapping[str, str]:
        """What a server of ours needs in its environment to keep its records there."""
        return {
            "HEADSCALE_DATABASE_TYPE": "postgres",
            "HEADSCALE_DATABASE_POSTGRES_HOST": self.host,
            "HEADSCALE_DATABASE_POSTGRES_PORT": str(self.port),
            "HEADSCALE_DATABASE_POSTGRES_NAME": database,
            "HEADSCALE_DATABASE_POSTGRES_USER": USER,
            "HEADSCALE_DATABASE_POSTGRES_PASS": self.password,
        }

    def variables_of_new(self) -> Mapping[str, str]:
        """Of a server whose records are in a new database of its own."""
        name = f"hs{uuid.uuid4().hex}"
        self.create(name)
        return self.variables(name)

    async def start(self) -> None:
        """Run it with the data that it has; returns when it answers."""
        settings = {"listen_addresses": self.host, "unix_socket_directories": self.socket, "fsync": "off"}
        log = self.socket / LOG
        self._process = await _start(
            *(log, _owner(), _programs() / "postgres", "-D", self.socket / "data", "-p", str(self.port)),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        )
        await _answers(self._process, self, log)

    async def stop(self) -> None:
        """SIGINT is its fast way out: it waits for no client."""
        if (process := self._process) is not None and process.returncode is None:
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), Budget.DAEMON.seconds)

    async def kill(self) -> None:
        """All of its processes at once, as if the machine had gone."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await asyncio.wait_for(self._process.wait(), Budget.DAEMON.seconds)

    def pause(self) -> None:
        """Nothing of it runs: connections stay open and say nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """After a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """To the process that makes the others first, and then to those, which are in sessions of their own."""
        if self._process is None or self._process.returncode is not None:
            return
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


async def start_postgres(stack: AsyncExitStack, host: str = "127.0.0.1") -> Postgres:
    """Run it on this address until the stack unwinds. Raises Missing where it is not installed."""
    programs = _programs()
    owner = _owner()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix("postgres"))))
    postgres = Postgres(host, free_port(host), folder, secrets.token_urlsafe(16))
    password = folder / "password"
    password.write_text(postgres.password)
    if owner is not None:
        for path in (folder, password):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    log = folder / LOG
    made = await _start(
        log,
        owner,
        programs / "initdb",
        "-D",
        folder / "data",
        "-U",
        USER,
        "--auth=scram-sha-256",
        f"--pwfile={password}",
    )
    if await made.wait() != 0:
        raise HarnessError(f"initdb ended with {made.returncode}:\n{tail(log)}")
    stack.push_async_callback(postgres.stop)
    await postgres.start()
    return postgres


def _owner() -> pwd.struct_passwd | None:
    return pwd.getpwnam(SERVICE_USER) if os.geteuid() == 0 else None


def _programs() -> Path:
    """The folder with the server's programs, which Debian keeps out of the path: of the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    program = found[-1] if found else shutil.which("postgres")
    if program is None:
        raise Missing("there is no PostgreSQL server: install it (Debian: apt-get install postgresql)")
    return Path(program).parent


async def _start(log: Path, owner: pwd.struct_passwd | None, *words: Any) -> asyncio.subprocess.Process:
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *map(str, words),
            stdout=output,
            stderr=output,
            cwd=log.parent,
            user=owner.pw_uid if owner is not None else None,
            group=owner.pw_gid if owner is not None else None,
            extra_groups=[] if owner is not None else None,
            env=environ(),
        )


async def _answers(process: asyncio.subprocess.Process, postgres: Postgres, log: Path) -> None:
    import psycopg

    async with asyncio.timeout(Budget.DAEMON.seconds):
        while process.returncode is None:
            try:
                connection = await psycopg.AsyncConnection.connect(postgres.url())
            except psycopg.OperationalError:
                await asyncio.sleep(RECHECK_SECONDS / 5)
                continue
            await connection.close()
            return
    raise HarnessError(f"postgres ended with {process.returncode}:\n{tail(log)}")
