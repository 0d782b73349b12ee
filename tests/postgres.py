"""PostgreSQL for tests: one that all share, and one of a test's own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from harness.errors import Missing
from harness.servers.postgres import Postgres, start_postgres
from harness.strict import unavailable


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """For all tests that want a database of their own on it."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            started = runner.run(start_postgres(stack))
        except Missing as problem:
            unavailable(str(problem))
        yield started
        runner.run(stack.aclose())


@pytest.fixture
async def own() -> AsyncIterator[Postgres]:
    """One that this test may break."""
    async with AsyncExitStack() as stack:
        try:
            started = await start_postgres(stack)
        except Missing as problem:
            unavailable(str(problem))
        yield started
        started.resume()
