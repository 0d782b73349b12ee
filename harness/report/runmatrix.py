"""The page of all scenarios: a row each, a column for each setup, with how long it takes and how often it fails."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup

from harness.report.drawing import from_json
from harness.report.failure import PAGE as FAILURE_PAGE
from harness.report.pages import write_page
from harness.report.results import OUTCOMES, Record, Result, Setup, records

PAGE: Final = "matrix.html"


def write_matrix(path: Path, results: Sequence[Result], *, run: str = "") -> None:
    """Write the page of all these results. `run` is the one whose counts stand at its head; the last unless told."""
    found = records(results)
    newest = run or (results[-1].run if results else "")
    of_run = [result for result in results if result.run == newest]
    setups = sorted(
        {setup for _, setup in found}, key=lambda s: (s.versions, s.server, s.database, s.backend)
    )
    scenarios = sorted({scenario for scenario, _ in found})
    counts = Counter(result.outcome for result in of_run)
    rows = [_row(scenario, setups, found) for scenario in scenarios]
    write_page(
        path,
        "matrix.html",
        setups=setups,
        rows=rows,
        counts=[(outcome, counts[outcome]) for outcome in reversed(OUTCOMES) if counts[outcome]],
        worst=[(each, n) for each in OUTCOMES if (n := sum(row["outcome"] == each for row in rows))],
        run=newest,
        commit=next((result.commit for result in of_run if result.commit), ""),
        runs=len({result.run for result in results}),
        took=sum(result.seconds for result in of_run),
        flaky=[row["scenario"] for row in rows if row["flaky"]],
    )


def _row(scenario: str, setups: Sequence[Setup], found: Mapping[tuple[str, Setup], Record]) -> dict[str, Any]:
    cells = [_cell(found.get((scenario, setup))) for setup in setups]
    there = [found[scenario, setup] for setup in setups if (scenario, setup) in found]
    outcomes = [record.last.outcome for record in there]
    file, _, name = scenario.partition("::")
    reach = next((record.last.reach for record in there if record.last.reach), None)
    return {
        "scenario": scenario,
        "file": file,
        "name": name.replace("::", " ") or file,
        "cells": cells,
        "outcome": next(each for each in OUTCOMES if each in outcomes),
        "flaky": any(record.is_flaky for record in there),
        "drawing": Markup(from_json(reach)) if reach else "",  # noqa: S704 - it escapes what it is given
    }


def _cell(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    last, counted = record.last, record.counted
    times = [result.seconds for result in counted if result.outcome == "passed"]
    return {
        "outcome": last.outcome,
        "seconds": last.seconds,
        "usual": statistics.median(times) if times else None,
        "failures": record.failures,
        "counted": len(counted),
        "flaky": record.is_flaky,
        "bad_since": record.bad_since,
        "reason": last.reason,
        "link": f"{quote(last.evidence)}/{FAILURE_PAGE}" if last.evidence else "",
        "at": last.at,
    }
