"""The bar for faults and abuse, row by row: which tests prove a row, with which figures, in one table.

A test names its row by the marker `bar("F6")`; `nox -s faults` selects all that have it. A test that measures takes the
fixture `row` and leaves its figures there; one that does not counts as a case. Every outcome is a line of JSON in the
file that `--figures` names, and `python -m tests.bar FILE` prints such a file as a table.
"""

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

LEVELS = ("commit", "nightly")
ROWS = pytest.StashKey[dict[str, "Row"]]()
RESULTS = pytest.StashKey[list["Result"]]()


class Void(AssertionError):
    """The load that the row is about was not reached: the run shows nothing."""


@dataclass
class Row:
    """What one run of one test is to do, and what it found. All chance comes from `chance`."""

    level: str
    seed: int
    figures: dict[str, Any] = field(default_factory=dict)
    what: str = ""
    """What is done, where the test's docstring says less."""
    held: bool | None = None
    """Of a row that ran beside others in one test: whether it passed. None: as its test."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def count(self, commit: int, nightly: int) -> int:
        """How many, at this level."""
        return commit if self.level == "commit" else nightly

    def found(self, **figures: Any) -> None:
        """Figures for the table, by name; a later one of the same name takes the place of an earlier one."""
        self.figures |= {
            name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()
        }

    def reached(self, what: str, got: float, *, at_least: float) -> None:
        """The validity floor; raises Void."""
        if got < at_least:
            raise Void(
                f"void: {what}: {got} and not {at_least}, so that this run shows nothing (seed {self.seed})"
            )


@dataclass(frozen=True, slots=True)
class Result:
    """One test's outcome, as it is written down."""

    row: str
    what: str
    level: str
    database: str
    figures: dict[str, Any]
    passed: bool
    seconds: float
    seed: int
    test: str


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> dict[str, Row]:
    """Where a test leaves its figures, by row."""
    config = request.config
    names = [mark.args[0] for mark in request.node.iter_markers("bar")]
    made = {name: Row(config.getoption("--level"), config.getoption("--fault-seed")) for name in names}
    request.node.stash[ROWS] = made
    return made


@pytest.fixture
def row(rows: dict[str, Row]) -> Row:
    """Where the test of one row leaves its figures."""
    (only,) = rows.values()
    return only


async def side_by_side(rows: dict[str, Row], work: Mapping[str, Callable[[Row], Awaitable[None]]]) -> None:
    """Rows that wait more than they work, at the same time; each passes or fails by itself."""

    async def one(name: str) -> None:
        rows[name].held = False
        await work[name](rows[name])
        rows[name].held = True

    results = await asyncio.gather(*map(one, work), return_exceptions=True)
    problems = [result for result in results if isinstance(result, Exception)]
    if problems:
        raise ExceptionGroup("rows that did not hold", problems)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bar", "faults and abuse (docs/testing/faults.md)")
    group.addoption("--level", choices=LEVELS, default="commit", help="how much of it (default: %(default)s)")
    group.addoption(
        "--fault-seed",
        type=int,
        default=random.SystemRandom().randrange(2**32),
        help="what a failing run printed, to see it again",
    )
    group.addoption("--rows", metavar="LIST", help="only what proves one of these rows, such as F1,H2")
    group.addoption(
        "--figures", type=Path, metavar="FILE", help="add the results to this file, as lines of JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "bar(row): proves this row of docs/testing/faults.md")
    config.addinivalue_line(
        "markers", "both: a row that the database has a part in, so that it is run on each"
    )
    config.stash[RESULTS] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what proves none of the rows that are wanted."""
    if config.getoption("--rows"):
        wanted = set(config.getoption("--rows").split(","))
        chosen = [item for item in items if wanted & {mark.args[0] for mark in item.iter_markers("bar")}]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Note the outcome of what has a row: its run, or that it never came to one."""
    report: pytest.TestReport = yield
    counts = report.when == "call" or (report.when == "setup" and report.failed)
    if counts and not report.skipped:
        level, seed = (item.config.getoption(name) for name in ("--level", "--fault-seed"))
        names = [mark.args[0] for mark in item.iter_markers("bar")]
        made = item.stash.get(ROWS, {})
        results = [_result(item, name, made.get(name) or Row(level, 0), report) for name in names]
        item.config.stash[RESULTS] += results
        if made and report.failed:
            report.sections.append(("seed", f"--fault-seed={seed} --level={level}"))
        path = item.config.getoption("--figures")
        if results and path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.writelines(json.dumps(asdict(result)) + "\n" for result in results)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    measured = [result for result in config.stash[RESULTS] if result.figures]
    if measured:
        terminalreporter.section("the bar")
        terminalreporter.write_line(table(config.stash[RESULTS]))


def _result(item: pytest.Item, name: str, made: Row, report: pytest.TestReport) -> Result:
    doc = getattr(getattr(item, "obj", None), "__doc__", None) or item.name
    fixtures = set(getattr(item, "fixturenames", ()))
    database = item.config.getoption("--database") if {"stand", "stands"} & fixtures else "-"
    return Result(
        row=name,
        what=made.what or " ".join(doc.split("\n\n")[0].split()),
        level=made.level,
        database="postgres" if "own" in fixtures else database,
        figures=made.figures,
        passed=report.passed if made.held is None else made.held,
        seconds=round(report.duration, 2),
        seed=made.seed,
        test=item.nodeid,
    )


def table(results: Sequence[Result]) -> str:
    """One line a measured test, and one for all others of a row together."""
    lines = [("row", "database", "passed", "seconds", "what, and what was found")]
    names = sorted({result.row for result in results}, key=lambda name: (name[0], int(name[1:])))
    for name in names:
        mine = [result for result in results if result.row == name]
        for one in (result for result in mine if result.figures):
            found = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in one.figures.items())
            lines.append(_line(name, one.database, one.passed, one.seconds, f"{one.what} {found}"))
        cases = [result for result in mine if not result.figures]
        if cases:
            good = sum(result.passed for result in cases)
            files = sorted({result.test.partition("::")[0] for result in cases})
            seconds = sum(result.seconds for result in cases)
            text = f"{good} of {len(cases)} cases passed ({', '.join(files)})"
            lines.append(_line(name, "-", good == len(cases), seconds, text))
    widths = [max(len(line[at]) for line in lines) for at in range(4)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[4]])
        for line in lines
    )


def _line(
    name: str, database: str, passed: bool, seconds: float, text: str
) -> tuple[str, str, str, str, str]:
    return name, database, "yes" if passed else "NO", f"{seconds:.1f}", text


def main(path: Path) -> int:
    """Print a file of results; 1 when there are none, or one of them did not pass."""
    results = [Result(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    print(table(results))  # noqa: T201
    return 0 if results and all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
