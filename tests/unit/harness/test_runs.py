"""Names of runs, and whose something is."""

import os

import pytest

from harness.runs import VARIABLE, environ, here, is_dead, is_named, new_folder, run_name

NO_PROCESS = 2**22 + 1
"""One more than the kernel ever gives (PID_MAX_LIMIT)."""


@pytest.mark.parametrize("suffix", [".network", ".network.machine", "-abcdef"])
def test_our_own_is_in_use(suffix: str) -> None:
    """Namespaces and folders alike."""
    assert not is_dead(f"{run_name()}{suffix}")


def test_a_run_that_ended_is_dead() -> None:
    """Also when a later process got its number."""
    assert is_dead(f"hsh-{NO_PROCESS}-1.network")
    assert is_dead(f"hsh-{os.getpid()}-1.network")


@pytest.mark.parametrize("name", ["hsh-lan-123-abcdefgh", "hsh-123456-a", "hsh-1-2x", "docker", ""])
def test_what_no_run_named_is_left_alone(name: str) -> None:
    """Whatever it looks like."""
    assert not is_dead(name)
    assert not is_named(name)


def test_folders_and_programs_carry_the_name() -> None:
    """And a path has room for a socket below it."""
    folder = new_folder("server")
    folder.rmdir()
    assert is_named(folder.name)
    assert len(str(folder)) < 70
    assert environ({"A": "b"}) == {**os.environ, "A": "b", VARIABLE: f"{run_name()}-"}
    assert is_named(environ()[VARIABLE])


def test_the_place_is_this_host_since_its_boot() -> None:
    """Three parts, the same each time."""
    assert here() == here()
    assert len(here().split("/")) == 3
