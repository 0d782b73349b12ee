"""Every mutant applies to the server as it is, and names scenarios that there are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.mutants.catalogue import ALL, UnknownMutant, named
from harness.mutants.patches import Mutant, applied

ROOT = Path(__file__).parents[4]
NAME = re.compile(r"[a-z]+(-[a-z]+)*")


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_it_applies_to_the_server_as_it_is(mutant: Mutant) -> None:
    assert NAME.fullmatch(mutant.name)
    assert mutant.patches
    assert mutant.killed_by
    with applied(mutant):
        pass


def test_the_scenarios_that_must_notice_are_there() -> None:
    """Each with its parameters: pytest finds them all."""
    tests = sorted({test for mutant in ALL for test in mutant.killed_by})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in ALL}) == len(ALL) >= 20
    assert named(ALL[0].name) is ALL[0]
    with pytest.raises(UnknownMutant, match=f"there are {ALL[0].name}, "):
        named("nothing")
