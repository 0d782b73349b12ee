"""The part of the pytest plugin that reports: what a scenario ran on and what became of it, for results and for JUnit.

A scenario is a test that has a tailnet of the harness. Its properties travel on pytest's own reports, so that this also
works where tests run in other processes; only the process that talks to people writes files.
"""

import contextlib
import re
import subprocess
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from harness.again import LEAKS
from harness.errors import Unsupported
from harness.masking import masked

FIXTURES: Final = frozenset({"make_tailnet", "lasting_tailnet"})
FAILURE: Final = pytest.StashKey[pytest.TestReport]()
"""The report that made a test fail, for the page of its evidence."""
REACH: Final = pytest.StashKey[Mapping[str, Any]]()
"""Who reached whom at the end of a test."""
EVIDENCE: Final = pytest.StashKey[Path]()
ON_REPORTS: Final = "harness"
"""The attribute of pytest's reports in which all this travels."""
LEAKED: Final = "leaked"
"""The same for whether a packet passed that should not: what harness.reach and others raise has this attribute."""
REASON_SHOWN: Final = 400


def add_options(group: pytest.OptionGroup) -> None:
    """The options of reports."""
    group.addoption(
        "--results-history",
        type=Path,
        metavar="DIR",
        help="a folder with results.jsonl of earlier runs, for how often something fails",
    )


def is_scenario(item: pytest.Item) -> bool:
    """Whether the test has a tailnet of the harness."""
    return bool(FIXTURES & set(getattr(item, "fixturenames", ())))


class Reporter:
    """Registered as a plugin of its own."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder: Path = config.getoption("--artifacts")
        began = datetime.now(UTC)
        self._run = f"{began:%Y%m%dT%H%M%S.}{began.microsecond // 1000:03}Z"
        self._commit = ""
        self._seconds: dict[str, float] = {}
        self._worst: dict[str, tuple[str, str]] = {}
        self._counted = 0
        self._leaks: set[str] = set()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put on the report what this scenario ran on, and why it could not."""
        report = yield
        if report.failed:
            item.stash.setdefault(FAILURE, report)
            setattr(report, LEAKED, call.excinfo is not None and getattr(call.excinfo.value, "leaked", False))
        if not is_scenario(item):
            return report
        if call.when == "setup":
            item.user_properties += [(f"harness.{name}", value) for name, value in _setup_of(item).items()]
        told: dict[str, Any] = {"setup": _setup_of(item)}
        if (unsupported := _unsupported(report, call)) is not None:
            told["unsupported"] = unsupported
            item.user_properties.append(("harness.outcome", "unsupported"))
        if call.when == "teardown":
            told["reach"] = item.stash.get(REACH, None)
            evidence = item.stash.get(EVIDENCE, None)
            told["evidence"] = str(evidence) if evidence else ""
        setattr(report, ON_REPORTS, told)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """When the last part of a scenario is over, write its line."""
        if getattr(report, LEAKED, False):
            self._leaks.add(report.nodeid)
        told: Mapping[str, Any] | None = getattr(report, ON_REPORTS, None)
        if told is None or hasattr(self._config, "workerinput"):
            return
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        outcome = outcome_of(report, told)
        if outcome is not None:
            self._worst.setdefault(report.nodeid, outcome)
        if report.when == "teardown":
            self._write(report.nodeid, told)

    def _write(self, nodeid: str, told: Mapping[str, Any]) -> None:
        from harness.report.results import FILE, Result, Setup, append

        if not self._counted:
            self._commit = _commit(self._config.rootpath)
        self._counted += 1
        outcome, reason = self._worst.pop(nodeid, ("passed", ""))
        evidence = told.get("evidence") or ""
        if evidence:
            with contextlib.suppress(ValueError):  # left elsewhere, so named in full
                evidence = Path(evidence).relative_to(self._folder).as_posix()
        result = Result(
            run=self._run,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            scenario=nodeid,
            outcome=outcome,
            seconds=round(self._seconds.pop(nodeid), 3),
            setup=Setup(**told["setup"]),
            reason=masked(reason)[:REASON_SHOWN],
            commit=self._commit,
            evidence=evidence,
            reach=told.get("reach"),
        )
        append(self._folder / FILE, result)

    def pytest_sessionfinish(self) -> None:
        """Keep which tests saw a packet pass that should not, for harness.again."""
        cache = getattr(self._config, "cache", None)
        if self._leaks and cache is not None and not hasattr(self._config, "workerinput"):
            cache.set(LEAKS, sorted(self._leaks))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the matrix, and say where it is."""
        if not self._counted:
            return
        from harness.report.results import FILE, read
        from harness.report.runmatrix import PAGE, write_matrix

        results = read(self._folder / FILE, history=self._config.getoption("--results-history"))
        write_matrix(self._folder / PAGE, results, run=self._run)
        terminalreporter.write_line(f"harness: {self._counted} results in {self._folder / FILE}")
        terminalreporter.write_line(f"harness: scenarios × versions in {self._folder / PAGE}")


def _setup_of(item: pytest.Item) -> dict[str, str]:
    """What it runs on, as far as that is known: a run that is skipped early has only its options."""
    config, built = item.config, getattr(item, "funcargs", {})
    releases, backend = built.get("releases"), built.get("backend")
    needed = {marker.args[0] for marker in item.iter_markers("server")}
    server = "image" if config.getoption("--control-image") else config.getoption("--server")
    return {
        "versions": ",".join(map(str, releases)) if releases else config.getoption("--client-versions"),
        "server": "process" if "process" in needed and server == "inprocess" else server,
        "database": config.getoption("--database"),
        "backend": backend.name if backend is not None else config.getoption("--backend") or "none",
    }


def _unsupported(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str | None:
    """Why the server, the clients or the backend cannot do it; None when they can."""
    declared = getattr(report, "unsupported", None)
    if declared:
        return str(declared)
    problem = call.excinfo.value if call.excinfo is not None else None
    return str(problem) if isinstance(problem, Unsupported) and report.skipped else None


def outcome_of(report: pytest.TestReport, told: Mapping[str, Any]) -> tuple[str, str] | None:
    """The outcome and its reason, when this part decides it."""
    if told.get("unsupported"):
        return "unsupported", told["unsupported"]
    if report.failed:
        return ("failed" if report.when == "call" else "error"), brief(report)
    if report.skipped:
        where = report.longrepr
        return "skipped", str(where[2]).removeprefix("Skipped: ") if isinstance(where, tuple) else ""
    return None


def brief(report: pytest.TestReport) -> str:
    """What was raised, in its own words, without the code around it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message) if crash is not None else report.longreprtext


def _commit(folder: Path) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", folder, "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def seed_of(report: pytest.TestReport) -> str | None:
    """The option that has hypothesis draw the same again, where it said so."""
    for _, text in [*report.sections, ("", report.longreprtext)]:
        if found := re.search(r"--hypothesis-seed=\d+", text):
            return found[0]
    return None
