"""Runs pytest, and asks once more, alone, what failed: `python -m harness.again PYTEST-ARGUMENTS`.

Real clients on a busy machine now and then miss their time for reasons that are nobody's fault. A second look tells
that from a fault, which is there again. Both tries are among the results, so the first one is not forgotten: it counts
in the flake rates of the matrix (harness/report/results.py), its evidence stays, and the last lines name it.

Not asked again: a packet that passed against the policy, for once is too often; many failures, which are no chance;
and a run that did not come to its end. HARNESS_AGAIN says how many may be asked again; 0 is for runs that hunt flakes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

AT_MOST: Final = 3
LEAKS: Final = "harness/leaks"
"""The key of pytest's cache under which the plugin keeps the tests that saw one."""
LAST_FAILED: Final = "cache/lastfailed"
SOME_FAILED, NOTHING_RUN = 1, 5
"""Codes of pytest."""


class NotAgain(Exception):
    """What failed is not asked again; the text says why."""


def candidates(cache: Path, at_most: int) -> Sequence[str]:
    """The tests that failed, by pytest's cache. Raises NotAgain when they are not to be asked again."""
    failed, leaks = sorted(_kept(cache, LAST_FAILED)), sorted(_kept(cache, LEAKS))
    if not failed:
        raise NotAgain("the run did not come to its end")
    if leaks:
        raise NotAgain(f"packets passed against the policy in {', '.join(leaks)}")
    if len(failed) > at_most:
        raise NotAgain(f"{len(failed)} failed, and at most {at_most} are asked again")
    return failed


def run(arguments: Sequence[str], at_most: int) -> int:
    """pytest's code, of the second run where there was one. What is decided goes to the standard output."""
    with tempfile.TemporaryDirectory(prefix="again-") as name:
        code = _pytest([*arguments, "-o", f"cache_dir={name}"])
        if code != SOME_FAILED:
            return code
        try:
            failed = candidates(Path(name), at_most)
        except NotAgain as why:
            _say(f"nothing is asked again: {why}")
            return code
        _say(f"asked again, alone: {', '.join(failed)}")
        alone = ["-n", "0"] if "-n" in arguments else []
        last = ["--last-failed", "--last-failed-no-failures=none", "-o", f"cache_dir={name}"]
        code = _pytest([*arguments, *alone, *last])
    if code == 0:
        for each in failed:
            _say(f"FLAKY {each}: failed, and passed when it was asked again")
    return SOME_FAILED if code == NOTHING_RUN else code


def _pytest(arguments: Sequence[str]) -> int:
    process = subprocess.Popen([sys.executable, "-m", "pytest", *arguments])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # pytest has it, too, and ends in its own time
            continue


def _kept(cache: Path, key: str) -> list[str]:
    try:
        return list(json.loads((cache / "v" / key).read_text()))
    except (OSError, ValueError):
        return []


def _say(text: str) -> None:
    sys.stdout.write(f"again: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], int(os.environ.get("HARNESS_AGAIN", AT_MOST))))
