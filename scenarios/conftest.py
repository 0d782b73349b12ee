"""A scenario may take ten minutes at the most; most take less than one."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIMIT_SECONDS = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))
