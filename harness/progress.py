"""Runs long commands where people wait: a line on standard error when one starts, every so often, and at its
end with the time taken; on failure the tail of its log.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.errors import BuildFailed

Report = Callable[[str], None]

INTERVAL_SECONDS = 15.0
"""Between two signs of life: long enough to keep a CI log short, short enough not to look hung."""

TAIL_LINES = 25


def to_stderr(line: str) -> None:
    """Report to people: one line on standard error, past any capture of standard output."""
    sys.stderr.write(f"harness: {line}\n")
    sys.stderr.flush()


def silent(line: str) -> None:
    """Report to nobody."""


def run_long(
    what: str, argv: Sequence[str | Path], *, log: Path, report: Report, env: Mapping[str, str] | None = None
) -> None:
    """Run a command to its end with its output in `log`. Raises BuildFailed with the log's tail."""
    start = time.monotonic()
    report(f"{what} …")
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env
        )
        try:
            code = _wait(process, lambda: report(f"{what}: {_elapsed(start)}"))
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code != 0:
        raise BuildFailed(f"{what}: exit code {code} after {_elapsed(start)}\n{tail(log)}")
    report(f"{what}: done in {_elapsed(start)}")


def tail(log: Path) -> str:
    """The last lines of a log, indented for a message."""
    lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"    {line}" for line in lines) or "    (no output)"


def _wait(process: subprocess.Popen[bytes], sign_of_life: Callable[[], None]) -> int:
    while True:
        try:
            return process.wait(INTERVAL_SECONDS)
        except subprocess.TimeoutExpired:
            sign_of_life()


def _elapsed(start: float) -> str:
    return f"{time.monotonic() - start:.0f} s"
