"""The pytest plugin of one run with a mutant: `pytest -p harness.mutants.plugin --mutant=NAME --mutant-report=FILE …`.

It puts the mistake into the server of this process, so the server must be the one in process, and writes down what
became of each test, for whoever started the run to judge.
"""

import json
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.mutants.catalogue import named
from harness.mutants.patches import DoesNotApply, Record, applied
from harness.outcomes import reason_of

RUN = pytest.StashKey["Run"]()


class Run:
    """What is kept of the run until it is written down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack = ExitStack()
        self.record = Record()
        self.results: list[dict[str, Any]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """The run's options."""
    group = parser.getgroup("mutants", "a server with one mistake")
    group.addoption("--mutant", default="", metavar="NAME", help="the mistake; none for a sound server")
    group.addoption("--mutant-report", type=Path, required=True, metavar="FILE", help="where results go")


def pytest_configure(config: pytest.Config) -> None:
    """Put the mistake in before anything of the server runs."""
    if config.getoption("--server") != "inprocess" or config.getoption("--control-image"):
        raise pytest.UsageError("a mutant is a server in the test process: leave --server and the like away")
    run = config.stash[RUN] = Run(config.getoption("--mutant-report"))
    if name := config.getoption("--mutant"):
        try:
            run.record = run.stack.enter_context(applied(named(name)))
        except DoesNotApply as problem:
            raise pytest.UsageError(str(problem)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take it out again."""
    if RUN in config.stash:
        config.stash[RUN].stack.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep each part's outcome, and by what it failed."""
    kinds = [each.__name__ for each in type(call.excinfo.value).__mro__] if call.excinfo else []
    told = str(call.excinfo.value).partition("\n")[0] if call.excinfo else ""
    report = yield
    outcome = "unsupported" if reason_of(report) is not None else report.outcome
    entry = {"test": item.nodeid, "when": call.when, "outcome": outcome, "kinds": kinds, "told": told}
    item.config.stash[RUN].results.append(entry)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write it down."""
    run = session.config.stash[RUN]
    written = {"calls": run.record.calls, "problems": run.record.problems, "results": run.results}
    run.path.write_text(json.dumps(written, indent=1))
