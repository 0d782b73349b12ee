"""Servers that rows of the bar may break."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from benchmarks.load.processes import open_files
from harness.servers.configuration import Configuration
from harness.servers.local import local_settings
from harness.servers.postgres import Postgres
from tests.faults.stand import HOST, HOUR, ForkedServer, Nursery, Stand

Stands = Callable[..., contextlib.AbstractAsyncContextManager[Stand]]
ENOUGH_FILES = 8192


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    open_files(ENOUGH_FILES)
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="session")
def shared_postgres(request: pytest.FixtureRequest) -> Postgres | None:
    """For servers of `--database=postgres`; None for SQLite."""
    if request.config.getoption("--database") != "postgres":
        return None
    started: Postgres = request.getfixturevalue("postgres")
    return started


@pytest.fixture
def stands(nursery: Nursery, shared_postgres: Postgres | None) -> Stands:
    """Servers with the configuration that a row wants, on the database of this run or on a given PostgreSQL."""

    @asynccontextmanager
    async def made(
        keys: dict[str, Any] | None = None,
        *,
        postgres: Postgres | None = None,
        files: dict[str, str] | None = None,
    ) -> AsyncIterator[Stand]:
        database = postgres or shared_postgres
        elsewhere = None if database is None else await asyncio.to_thread(database.variables_of_new)
        settings = local_settings(
            HOST,
            ephemeral_timeout=HOUR,
            elsewhere=elsewhere,
            configuration=Configuration(keys or {}, files or {}),
        )
        server = ForkedServer(settings, nursery)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.close)
            await server.start()
            yield Stand(server, stack, await server.create_user("alice"))

    return made


@pytest.fixture
async def stand(stands: Stands) -> AsyncIterator[Stand]:
    """A server as it comes. It has to live to the end of the test (O5)."""
    async with stands() as made:
        pid = made.server.pid
        yield made
        assert made.server.pid == pid
        assert not made.complaints(), made.server.output[-4000:]
