"""Long commands and what people see of them."""

import sys
from pathlib import Path

import pytest

from harness.errors import BuildFailed
from harness.progress import TAIL_LINES, run_long, silent, tail


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_failure_shows_the_tail_of_its_log(tmp_path: Path) -> None:
    """The message has the exit code and the last lines of both streams."""
    code = "import sys; print('step'); sys.stderr.write('broke'); sys.exit(3)"
    with pytest.raises(BuildFailed, match=r"(?s)making it: exit code 3.*step.*broke|broke.*step"):
        run_long("making it", python(code), log=tmp_path / "log", report=silent)


def test_start_and_end_are_reported(tmp_path: Path) -> None:
    """A person sees what runs and how long it took."""
    said: list[str] = []
    run_long("making it", python("pass"), log=tmp_path / "log", report=said.append)
    assert said[0] == "making it …"
    assert said[1].startswith("making it: done in ")


def test_the_tail_is_short(tmp_path: Path) -> None:
    """Exactly TAIL_LINES of a longer log are shown, the last ones."""
    log = tmp_path / "log"
    log.write_text("".join(f"{n}\n" for n in range(TAIL_LINES + 1)))
    shown = tail(log).split()
    assert len(shown) == TAIL_LINES
    assert shown[0] == "1"


def test_an_empty_log_says_so(tmp_path: Path) -> None:
    """Silence is a finding too."""
    (tmp_path / "log").touch()
    assert "(no output)" in tail(tmp_path / "log")
