"""Other people's programs against our server in this process: built or installed once, then kept."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from harness.cache import Cache, cache_root
from harness.errors import BuildFailed, Missing
from harness.progress import to_stderr
from harness.provision import Provisioner
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.strict import unavailable
from tests.integration.doors import Door, doors_of
from tests.integration.fakes import Tailnet
from tests.thirdparty.programs import Program
from tests.thirdparty.sdk import GO, POLICY, SOURCE, Sdk, caller

HERE = Path(__file__).parent
# The first run builds Go programs.
LIMIT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="session")
def provisioner() -> Provisioner:
    """What builds programs."""
    return Provisioner(Cache(cache_root(os.environ), report=to_stderr), report=to_stderr)


@pytest.fixture
async def server() -> AsyncIterator[InProcessServer]:
    """Our server."""
    made = InProcessServer(local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5)))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def tailnet(server: InProcessServer) -> AsyncIterator[Tailnet]:
    """The server with users alice and bob (1 and 2), and ways to let clients in."""
    async with AsyncExitStack() as stack:
        made = Tailnet(server, stack)
        for name in ("alice", "bob"):
            await server.create_user(name)
        yield made


@pytest.fixture
async def admin(server: InProcessServer) -> AsyncIterator[Door]:
    """REST v1 for administrators."""
    async with doors_of(server) as (socket, _):
        yield socket


@pytest.fixture
async def api_key(admin: Door) -> str:
    """An API key."""
    return str((await admin("POST", "apikey", {}))[1]["apiKey"])


@pytest.fixture
def program(server: InProcessServer, tmp_path: Path) -> Callable[[Path], Program]:
    """A program that trusts the server's authority, if it has one."""
    authority = tmp_path / "authority.pem"
    authority.write_bytes(server.authority or b"")
    return partial(Program, environment={"SSL_CERT_FILE": str(authority), "HOME": str(tmp_path)})


@pytest.fixture
async def gosdk(
    provisioner: Provisioner, program: Callable[[Path], Program], server: InProcessServer, admin: Door
) -> Program:
    """Our program around the official Go client, for the server with a policy."""
    path = await built(lambda: provisioner.go_program(SOURCE, minimum=GO))
    assert (await admin("PUT", "policy", {"policy": POLICY}))[0] == 200
    return Program(path, {**program(path).environment, "TS_BASE_URL": server.url})


@pytest.fixture
def sdk(gosdk: Program, api_key: str) -> Sdk:
    """Call a method of the official Go client with an API key; its result."""
    return caller(gosdk, TS_API_KEY=api_key)


async def built(make: Callable[[], Path]) -> Path:
    """What the provisioner makes; a machine that cannot is a skip by name, or a failure where all must run."""
    try:
        return await asyncio.to_thread(make)
    except (Missing, BuildFailed) as problem:
        unavailable(str(problem))
