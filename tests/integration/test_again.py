"""What failed is asked once more: when, and when not. Each case is a real run of pytest on a folder of its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FIRST_TIME_ONLY = """
import pathlib
def once(name):
    place = pathlib.Path(name)
    seen = place.exists()
    place.touch()
    return not seen
"""
FLAKY = "def test_flaky(): assert not once('flaky')\n"
SOUND = "def test_sound(): pathlib.Path('sound').open('a').write('x')\n"
BROKEN = "def test_broken(): assert False\n"
LEAK = """
from harness.reach import Unreached
def test_leak():
    if once('leak'):
        raise Unreached("an answer", leaked=True)
"""


Again = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Again:
    """Runs the command on these tests; gives its code, and the lines that are its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HARNESS_AGAIN", raising=False)

    def run(*tests: str, options: tuple[str, ...] = ()) -> tuple[int, list[str]]:
        (tmp_path / "test_them.py").write_text(FIRST_TIME_ONLY + "\n".join(tests))
        command = [sys.executable, "-m", "harness.again", "test_them.py", "-q", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        return done.returncode, [
            line.removeprefix("again: ") for line in done.stdout.splitlines() if line.startswith("again: ")
        ]

    return run


def test_a_bad_moment_passes_and_is_named(again: Again, tmp_path: Path) -> None:
    """Only what failed runs a second time."""
    code, said = again(FLAKY, SOUND)
    assert code == 0
    assert said == [
        "asked again, alone: test_them.py::test_flaky",
        "FLAKY test_them.py::test_flaky: failed, and passed when it was asked again",
    ]
    assert (tmp_path / "sound").read_text() == "x"


def test_a_fault_stays_one(again: Again) -> None:
    """One that is there again fails the run, whatever else passed."""
    assert again(FLAKY, BROKEN) == (
        1,
        ["asked again, alone: test_them.py::test_broken, test_them.py::test_flaky"],
    )


def test_workers_are_asked_one_by_one(again: Again) -> None:
    """Where the first run had processes side by side."""
    code, said = again(FLAKY, options=("-n", "2"))
    assert (code, len(said)) == (0, 2)


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_a_leak_is_once_too_often(again: Again, options: tuple[str, ...]) -> None:
    """It would pass the second time."""
    code, said = again(LEAK, FLAKY, options=options)
    assert code == 1
    assert said == ["nothing is asked again: packets passed against the policy in test_them.py::test_leak"]


def test_many_are_no_chance(again: Again) -> None:
    """Four are not asked again, though each would pass."""
    many = [f"def test_{n}(): assert not once('many{n}')\n" for n in range(4)]
    assert again(*many) == (1, ["nothing is asked again: 4 failed, and at most 3 are asked again"])


def test_nobody_is_asked_where_flakes_are_hunted(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    """HARNESS_AGAIN=0."""
    monkeypatch.setenv("HARNESS_AGAIN", "0")
    assert again(FLAKY) == (1, ["nothing is asked again: 1 failed, and at most 0 are asked again"])


def test_other_ends_are_pytests_own(again: Again) -> None:
    """Everything passed, nothing was chosen, an option that there is not, a test that ends the process."""
    assert again(SOUND) == (0, [])
    assert again(SOUND, options=("-k", "nothing")) == (5, [])
    assert again(SOUND, options=("--no-such-option",)) == (4, [])
    killed = again("import os\ndef test_ends(): os._exit(1)\n")
    assert killed == (1, ["nothing is asked again: the run did not come to its end"])
