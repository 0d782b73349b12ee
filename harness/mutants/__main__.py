"""Runs mutants, and says which of them the scenarios notice.

    python -m harness.mutants                        all of them
    python -m harness.mutants primary-flaps …        these
    python -m harness.mutants --list

Exit code 0: all were noticed; 1: one survived, so a scenario is missing; 2: a run shows nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from harness.mutants.catalogue import ALL, UnknownMutant, named
from harness.mutants.patches import Mutant
from harness.mutants.verdict import Fate, Verdict, judge, passes

RUN_SECONDS = 900
"""One mutant's scenarios; each has a limit of its own below that."""

SCALE = "0.5"
"""Of budgets, unless HARNESS_TIME_SCALE says otherwise: a mistake is noticed when a wait is over. Whether a sound
server is in time on this machine, the first run shows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A mutant, what became of it, and how long that took."""

    mutant: Mutant
    verdict: Verdict
    seconds: float


def run(
    tests: Sequence[str], options: Sequence[str], *, mutant: str = "", log: Path, seconds: float = RUN_SECONDS
) -> Any:
    """Pytest with these tests in a process of its own; the report it wrote, None without one."""
    environ = {"HARNESS_TIME_SCALE": SCALE, **os.environ}
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-p", "harness.mutants.plugin", *tests, *options]
        command += [f"--mutant-report={report}", *([f"--mutant={mutant}", "-x"] if mutant else [])]
        with log.open("w") as file:
            try:
                subprocess.run(command, env=environ, stdout=file, stderr=file, timeout=seconds, check=False)
            except subprocess.TimeoutExpired:
                return None
        return json.loads(report.read_text()) if report.exists() else None


@click.command()
@click.argument("names", nargs=-1)
@click.option("--backend", default="netns", show_default=True, help="Where the scenarios' clients run.")
@click.option("--client-versions", default="oldest,newest", show_default=True, help="Which clients.")
@click.option(
    "--artifacts", default="artifacts/mutants", show_default=True, help="For logs and results.json."
)
@click.option("--no-baseline", is_flag=True, help="Trust that the scenarios pass with a sound server.")
@click.option("--list", "listed", is_flag=True, help="Only say which there are.")
def main(
    names: Sequence[str], backend: str, client_versions: str, artifacts: str, no_baseline: bool, listed: bool
) -> None:
    """Put one mistake after the other into the server, and see whether the scenarios notice."""
    try:
        chosen = [named(name) for name in names] or list(ALL)
    except UnknownMutant as problem:
        raise click.UsageError(str(problem)) from None
    if listed:
        for mutant in chosen:
            click.echo(f"{mutant.name}: {mutant.mistake}")
        return
    folder = Path(artifacts)
    folder.mkdir(parents=True, exist_ok=True)
    options = [f"--backend={backend}", f"--client-versions={client_versions}", f"--artifacts={folder}"]
    if not no_baseline:
        _baseline(chosen, options, folder)
    outcomes = [_tried(mutant, options, folder) for mutant in chosen]
    _show(outcomes)
    (folder / "results.json").write_text(json.dumps([_plain(each) for each in outcomes], indent=1) + "\n")
    fates = {each.verdict.fate for each in outcomes}
    sys.exit(2 if Fate.BROKEN in fates else 1 if Fate.SURVIVED in fates else 0)


def _baseline(chosen: Sequence[Mutant], options: Sequence[str], folder: Path) -> None:
    """A scenario that fails with a sound server notices nothing."""
    tests = sorted({test for mutant in chosen for test in mutant.killed_by})
    click.echo(f"{len(tests)} scenarios with a sound server …")
    wrong = passes(run(tests, options, log=folder / "sound.log", seconds=RUN_SECONDS * 4))
    for test, why in wrong.items():
        click.echo(f"{test} does not pass with a sound server: {why}", err=True)
    if wrong:
        sys.exit(2)


def _tried(mutant: Mutant, options: Sequence[str], folder: Path) -> Outcome:
    begun = time.monotonic()
    log = folder / f"{mutant.name}.log"
    verdict = judge(run(mutant.killed_by, options, mutant=mutant.name, log=log))
    seconds = time.monotonic() - begun
    click.echo(f"{mutant.name}: {verdict.fate} in {seconds:.0f} s ({verdict.told[:120]})")
    return Outcome(mutant, verdict, seconds)


def _show(outcomes: Sequence[Outcome]) -> None:
    table = Table("Mutant", "Fate", "By", "Seconds")
    for each in outcomes:
        by = each.verdict.by.rpartition("::")[2] or each.verdict.told
        table.add_row(each.mutant.name, each.verdict.fate, by, f"{each.seconds:.0f}")
    Console().print(table)


def _plain(outcome: Outcome) -> dict[str, Any]:
    mutant = {"name": outcome.mutant.name, "mistake": outcome.mutant.mistake}
    return {**mutant, **asdict(outcome.verdict), "seconds": round(outcome.seconds, 1)}


if __name__ == "__main__":
    main()
