"""What scenarios share. One may take ten minutes at the most; most take less than one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from harness.servers.identity import IdentityProvider

HERE = Path(__file__).parent
LIMIT_SECONDS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))


@pytest_asyncio.fixture(loop_scope="session")
async def provider() -> AsyncIterator[IdentityProvider]:
    """With alice, who comes first, and bob."""
    made = IdentityProvider()
    await made.start()
    for name in ("bob", "alice"):
        made.knows(f"sub-{name}", email=f"{name}@example.com", email_verified=True, preferred_username=name)
    yield made
    await made.close()
