"""What every folder of tests knows: the rows of the bar (tests/bar.py), and PostgreSQL (tests/postgres.py)."""

from tests.bar import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_terminal_summary,
    row,
    rows,
)
from tests.postgres import own, postgres

__all__ = [
    "own",
    "postgres",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_makereport",
    "pytest_terminal_summary",
    "row",
    "rows",
]
