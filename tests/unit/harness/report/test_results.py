"""Lines of results, what earlier runs say, and the matrix."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.report.results import (
    RUNS_COUNTED,
    Record,
    Result,
    Setup,
    append,
    parse,
    read,
    records,
    usual_seconds,
)
from harness.report.runmatrix import write_matrix

OLD = Setup("1.80.3", "inprocess", "sqlite", "netns")
NEW = Setup("1.102.4", "process", "postgres", "container")


def result(outcome: str = "passed", *, run: str = "r1", seconds: float = 1.0, **more: Any) -> Result:
    return Result(
        **{"scenario": "s.py::test_a", "setup": OLD, "at": run, **more},
        run=run,
        outcome=outcome,
        seconds=seconds,
    )


def test_a_line_is_read_as_it_was_written() -> None:
    """All of it, and with the setup beside the rest for other programs."""
    full = result(
        "failed", reason="why\nnot", commit="abc", evidence="s-test", reach={"nodes": {}, "edges": []}
    )
    assert parse(full.line()) == full
    assert json.loads(full.line())["backend"] == "netns"
    assert "\n" not in full.line()


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "5", '{"outcome": "passed"}', result().line().replace("passed", "ok")]
)
def test_what_is_no_result_is_left_out(line: str) -> None:
    """A run that was killed may have left half a line."""
    assert parse(line) is None


def test_results_of_earlier_runs_are_joined(tmp_path: Path) -> None:
    """By run; a file that lies in both places counts once."""
    own, earlier = tmp_path / "artifacts" / "results.jsonl", tmp_path / "history"
    append(own, result(run="r2"))
    append(earlier / "x" / "one.jsonl", result(run="r1"))
    append(earlier / "copy.jsonl", result(run="r2"))
    assert [each.run for each in read(own, history=earlier)] == ["r1", "r2"]
    assert [each.run for each in read(own)] == ["r2"]
    assert read(tmp_path / "none.jsonl") == []


def test_a_scenario_that_does_both_is_flaky() -> None:
    """What could not run says nothing, and old runs are forgotten."""

    def of(*outcomes: str) -> Record:
        found = records([result(each, run=f"r{number:03}") for number, each in enumerate(outcomes)])
        return found["s.py::test_a", OLD]

    assert of("failed", "passed", "skipped", "unsupported").failures == 1
    assert of("failed", "passed").is_flaky
    assert not of("failed", "failed").is_flaky
    assert not of("skipped", "passed").is_flaky
    assert not of("failed", *["passed"] * RUNS_COUNTED).is_flaky


def test_since_when_it_fails() -> None:
    """The first commit after the last that passed; skips between say nothing."""

    def since(*outcomes: str) -> str:
        made = [result(each, run=f"r{n}", commit=f"c{n}") for n, each in enumerate(outcomes)]
        return records(made)["s.py::test_a", OLD].bad_since

    assert since("passed", "failed", "passed", "skipped", "failed", "error") == "c4"
    assert since("failed", "passed") == ""
    assert since("failed", "failed") == ""


def test_how_long_it_takes_is_the_middle_of_what_passed() -> None:
    """A failure takes as long as its budget."""
    times = [result(seconds=1), result(seconds=3), result(seconds=2), result("failed", seconds=99)]
    assert usual_seconds(times) == {"s.py::test_a": 2}


def test_the_matrix_shows_each_setup_and_the_rate(tmp_path: Path) -> None:
    """The counts are the last run's; reasons are text; a failure links to its page."""
    results = [
        result("failed", run="r1"),
        result("passed", run="r2", seconds=2.5),
        result("failed", run="r2", setup=NEW, evidence="s test", reason="<why>"),
        result("unsupported", run="r2", scenario="s.py::test_b", reason="no POLICY"),
    ]
    write_matrix(tmp_path / "matrix.html", results, run="r2")
    page = (tmp_path / "matrix.html").read_text()
    for words in (
        "1 passed",
        "1 failed",
        "1 unsupported",
        "1 of 2 failed (50 %)",
        "process server with postgres",
    ):
        assert words in page, words
    assert 'href="s%20test/report.html"' in page
    assert "&lt;why&gt;" in page
    assert page.count('<tr data-group="failed">') == page.count('<tr data-group="unsupported">') == 1


def test_a_matrix_of_nothing_says_so(tmp_path: Path) -> None:
    """A file of results may be empty."""
    write_matrix(tmp_path / "matrix.html", [])
    assert "Nothing ran." in (tmp_path / "matrix.html").read_text()
