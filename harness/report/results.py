"""One line of JSON for each scenario of each run, and what earlier runs say of it.

A line's key is what it ran on: scenario, client versions, server, database, backend. Files only grow, so that a run
that was killed has left what it had found out.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

FILE: Final = "results.jsonl"

OUTCOMES: Final = ("failed", "error", "unsupported", "skipped", "passed")
"""The worst first. An error is the harness's or a fixture's, not the scenario's."""

RUNS_COUNTED: Final = 20
"""For how often something fails: older runs were of another server."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a scenario ran on."""

    versions: str
    """Releases of clients, with commas."""
    server: str
    database: str
    backend: str

    @property
    def words(self) -> str:
        """For a heading."""
        where = f"{self.server} server" + (f" with {self.database}" if self.database != "sqlite" else "")
        return f"{where}, {self.backend}"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one scenario in one run."""

    run: str
    """The same for all results of a run; sorts by time."""
    at: str
    scenario: str
    outcome: str
    seconds: float
    setup: Setup
    reason: str = ""
    commit: str = ""
    evidence: str = ""
    """The folder of a failure, relative to the results."""
    reach: Mapping[str, Any] | None = None
    """Who reached whom at the end; see `harness.report.drawing`."""

    def line(self) -> str:
        """As one line of JSON; the setup's parts stand beside the rest."""
        told = asdict(self)
        told |= told.pop("setup")
        return json.dumps({name: value for name, value in told.items() if value not in ("", None)})


def parse(line: str) -> Result | None:
    """What `line` wrote; None for anything else, such as a line that a killed run had begun."""
    try:
        told = json.loads(line)
        setup = Setup(*(str(told.get(each.name, "")) for each in fields(Setup)))
        known = {each.name for each in fields(Result)} - {"setup"}
        made = Result(setup=setup, **{name: value for name, value in told.items() if name in known})
    except (ValueError, TypeError, AttributeError):
        return None
    return made if made.outcome in OUTCOMES and isinstance(made.seconds, int | float) else None


def append(path: Path, result: Result) -> None:
    """Add a line, in one write: several runs may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{result.line()}\n")


def read(path: Path, *, history: Path | None = None) -> list[Result]:
    """The results of a file, and of all such files below a folder with earlier ones; by run, without doubles."""
    files = {path.resolve()} | {each.resolve() for each in (history.rglob("*.jsonl") if history else ())}
    lines = {line: None for file in sorted(files) if file.is_file() for line in file.read_text().splitlines()}
    found = [result for line in lines if (result := parse(line)) is not None]
    return sorted(found, key=lambda result: (result.run, result.at))


@dataclass(frozen=True, slots=True)
class Record:
    """The results of one scenario on one setup, oldest first."""

    results: Sequence[Result]

    @property
    def last(self) -> Result:
        """The newest."""
        return self.results[-1]

    @property
    def counted(self) -> Sequence[Result]:
        """Those of the last runs that say whether it works."""
        return [r for r in self.results if r.outcome in ("passed", "failed", "error")][-RUNS_COUNTED:]

    @property
    def failures(self) -> int:
        """How many of those that count failed."""
        return sum(result.outcome != "passed" for result in self.counted)

    @property
    def bad_since(self) -> str:
        """The commit at which it began to fail and has not passed since; empty when it passes, or never did."""
        passed = [number for number, result in enumerate(self.counted) if result.outcome == "passed"]
        after = self.counted[passed[-1] + 1 :] if passed else ()
        return after[0].commit if after else ""

    @property
    def is_flaky(self) -> bool:
        """Whether it did both."""
        return 0 < self.failures < len(self.counted)


def records(results: Iterable[Result]) -> dict[tuple[str, Setup], Record]:
    """By scenario and setup."""
    grouped: dict[tuple[str, Setup], list[Result]] = {}
    for result in results:
        grouped.setdefault((result.scenario, result.setup), []).append(result)
    return {key: Record(found) for key, found in grouped.items()}


def usual_seconds(results: Iterable[Result]) -> dict[str, float]:
    """How long each scenario takes, the middle of the times that it passed in, whatever it ran on."""
    times: dict[str, list[float]] = {}
    for result in results:
        if result.outcome == "passed":
            times.setdefault(result.scenario, []).append(result.seconds)
    return {scenario: statistics.median(found[-RUNS_COUNTED:]) for scenario, found in times.items()}
