"""`harness run`: pytest, with a line for each scenario and how long the rest will take."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import click
import pytest

from harness.report.results import FILE, OUTCOMES, read, usual_seconds
from harness.reporting import ON_REPORTS, is_scenario, outcome_of

SCENARIOS = Path("scenarios")
GUESS_SECONDS = 20.0
"""For a scenario that never ran, when none did."""


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGUMENTS]...")
def run(words: tuple[str, ...]) -> None:
    """Run scenarios: all of ./scenarios unless paths are given. All arguments are pytest's.

    --client-versions=LIST, --backend=NAME, --server=KIND and the others are listed by `pytest --help`.
    """
    if any(word in ("-h", "--help") for word in words):
        context = click.get_current_context()
        click.echo(context.get_help())
        return
    paths = [word for word in words if not word.startswith("-") and Path(word.split("::")[0]).exists()]
    chosen = [*words] if paths or not SCENARIOS.is_dir() else [str(SCENARIOS), *words]
    quiet = [
        "-q",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]  # the harness is imported: it is running this
    raise SystemExit(int(pytest.main([*quiet, *chosen], plugins=[Progress()])))


class Progress:
    """In place of pytest's dots."""

    def __init__(self) -> None:
        self._usual: dict[str, float] = {}
        self._left: dict[str, float] = {}
        self._counts = dict.fromkeys(OUTCOMES, 0)
        self._seconds: dict[str, float] = {}
        self._outcomes: dict[str, str] = {}
        self._total = 0
        self._terminal: Any = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Say how many there are, and how long they took last."""
        config = session.config
        self._terminal = config.pluginmanager.get_plugin("terminalreporter")
        folder: Path = config.getoption("--artifacts")
        self._usual = usual_seconds(read(folder / FILE, history=config.getoption("--results-history")))
        typical = sum(self._usual.values()) / len(self._usual) if self._usual else GUESS_SECONDS
        items = [item for item in session.items if is_scenario(item)]
        self._left = {item.nodeid: self._usual.get(item.nodeid, typical) for item in items}
        self._total = len(items)
        known = sum(item.nodeid in self._usual for item in items)
        versions = config.getoption("--client-versions")
        expected = f"about {span(sum(self._left.values()))}" if known else "how long is not known yet"
        self._say(f"harness: {self._total} scenarios × clients {versions}: {expected}")

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> Generator[None, Any, Any]:
        """No letters for scenarios: their lines follow. The words are for the summary."""
        status = yield
        return (
            (status[0], "", status[2]) if getattr(report, ON_REPORTS, None) is not None and status else status
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A line when a scenario is over."""
        told = getattr(report, ON_REPORTS, None)
        if told is None:
            return
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if (outcome := outcome_of(report, told)) is not None:
            self._outcomes.setdefault(report.nodeid, outcome[0])
        if report.when != "teardown":
            return
        outcome_word = self._outcomes.pop(report.nodeid, "passed")
        self._counts[outcome_word] += 1
        self._left.pop(report.nodeid, None)
        done = self._total - len(self._left)
        left = f", about {span(sum(self._left.values()))} left" if self._left else ""
        took = self._seconds.pop(report.nodeid)
        self._say(f"[{done}/{self._total}] {outcome_word:11} {took:6.1f} s  {report.nodeid}{left}")

    def _say(self, line: str) -> None:
        if self._terminal is not None:
            self._terminal.ensure_newline()
            self._terminal.write_line(line)


def span(seconds: float) -> str:
    """Roughly, as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
