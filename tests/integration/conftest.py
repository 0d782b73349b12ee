"""The real server on loopback, and clients that move no packets."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.backends.choose import choose
from harness.backends.network import Network
from harness.errors import BuildFailed, Missing
from harness.servers.inprocess import InProcessServer
from harness.servers.local import LocalSettings, local_settings, remove_data
from harness.servers.postgres import Postgres
from harness.servers.process import ProcessServer
from harness.strict import unavailable
from headscale.config.file import load_config
from headscale.config.settings import Config
from tests.integration.chromium import Chromium
from tests.integration.commands import START_S, Headscale, Serve, Serving, run, serving
from tests.integration.fakes import EPHEMERAL_TIMEOUT, GRACE, Enrolled, Join, Tailnet
from tests.integration.people import Place, place


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --database=postgres only what may be another with it: tests whose server keeps its records there."""
    if config.getoption("--database") == "sqlite":
        return
    same = {item for item in items if _is_here(item) and "somewhere" not in getattr(item, "fixturenames", ())}
    if same:
        config.hook.pytest_deselected(items=[*same])
        items[:] = [item for item in items if item not in same]


def _is_here(item: pytest.Item) -> bool:
    return item.path.is_relative_to(Path(__file__).parent)


@pytest.fixture
def somewhere(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """With --database=postgres the variables of a server that has its records there, in a new database."""
    if request.config.getoption("--database") == "sqlite":
        yield {}
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    variables = postgres.variables_of_new()
    yield variables
    postgres.drop(variables["HEADSCALE_DATABASE_POSTGRES_NAME"])


@pytest.fixture
def in_a_file(request: pytest.FixtureRequest) -> None:
    """For tests that look into SQLite's file or break it."""
    if request.config.getoption("--database") != "sqlite":
        pytest.skip("the records are in no file")


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Config]:
    """A configuration with this text, and data in a folder of its own."""

    def loaded(text: str = "") -> Config:
        file = tmp_path / "config.yaml"
        file.write_text(f"data_dir: {tmp_path}/data\nserver_url: https://vpn.example.com\n{text}\n")
        return load_config(file, {})

    return loaded


@pytest.fixture
def settings() -> Iterator[LocalSettings]:
    """Of a new server, which a test starts itself; its records are in a file."""
    made = local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT)
    yield made
    remove_data(made)


@pytest.fixture
def headscale(settings: LocalSettings, tmp_path: Path) -> Headscale:
    """The command where that server is, in a folder of the test's."""
    given = ProcessServer(settings).variables
    return partial(run, given=given, folder=tmp_path, within_s=START_S)


@pytest.fixture
async def serve(settings: LocalSettings, tmp_path: Path) -> AsyncIterator[Serve]:
    """Start that server; those that still run at the end are killed."""
    async with AsyncExitStack() as stack:

        async def served(**variables: str) -> Serving:
            given = ProcessServer(settings).variables
            return await stack.enter_async_context(serving(given=given, folder=tmp_path, **variables))

        yield served


@pytest.fixture
async def server(somewhere: Mapping[str, str]) -> AsyncIterator[InProcessServer]:
    """A server of our own with an empty database; a client counts as gone after 0.3 s."""
    settings = local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT, elsewhere=somewhere)
    made = InProcessServer(settings, grace=GRACE)
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
def join(tailnet: Tailnet) -> Join:
    """Let a new fake client in."""

    async def joined(name: str = "fake", **kind: Any) -> Enrolled:
        return await tailnet.join(name, **kind)

    return joined


@pytest.fixture
async def here() -> AsyncIterator[Place]:
    """A server whose people log in at an identity provider."""
    async with place() as made:
        yield made


@pytest.fixture(params=("container", "netns"))
async def segmented(request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    """A network that may have LANs, of each backend that has them and works here."""
    try:
        backend = choose(request.param)
        await backend.prepare([])
    except (Missing, BuildFailed) as error:
        unavailable(f"{request.param} backend: {error}")
    async with backend.network(uuid.uuid4().hex[:6]) as network:
        yield network
    await backend.close()


@pytest.fixture
async def chromium() -> AsyncIterator[Chromium]:
    """A browser's window."""
    made = await asyncio.to_thread(Chromium)
    yield made
    await asyncio.to_thread(made.driver.quit)
