"""Figures that pytest-benchmark's table has no column for."""

from collections.abc import Iterator

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Print each benchmark's extra figures below the table."""
    yield
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    found = [(b.name, b.extra_info) for b in getattr(session, "benchmarks", ()) if b.extra_info]
    for name, figures in found:
        terminalreporter.write_line(
            f"{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items())
        )
