"""The lines at the end of a run: what it ran on, what could not be run, what scenarios found out.

Where pytest-xdist has tests run in processes of their own, each hands its lines to the one that talks to people.
"""

from typing import Any, Final

import pytest

from harness import outcomes

ON_NODES: Final = "harness-lines"
"""Under which name the lines travel between processes."""


class Summary:
    """Registered as a plugin of its own."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lines: list[str] = []

    def add(self, *lines: str) -> None:
        """To be said at the end. What was said already is left out, for each process says the same of the machine."""
        self._lines += [line for line in lines if not (line.startswith("harness: ") and line in self._lines)]

    @property
    def left_out(self) -> list[str]:
        """What the run did without."""
        return [line for line in self._lines if "NOT RUN" in line]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """The end of a process that only runs tests."""
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[ON_NODES] = self._lines

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Its lines arrive where they are said."""
        self.add(*getattr(node, "workeroutput", {}).get(ON_NODES, ()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say them, after what could not be asked."""
        outcomes.summarize(terminalreporter)
        for line in self._lines:
            terminalreporter.write_line(line)


SUMMARY = pytest.StashKey[Summary]()
