"""What belongs to a run that goes on, what to one that ended, and what to nobody that we know."""

import os

import pytest

from harness.backends import namespaces

NO_PROCESS = 2**22 + 1
"""One more than the kernel ever gives (PID_MAX_LIMIT)."""


@pytest.mark.parametrize("suffix", [".network", ".network.machine", "-abcdef"])
def test_our_own_is_in_use(suffix: str) -> None:
    """Namespaces and folders alike."""
    assert not namespaces.is_dead(f"{namespaces.run_name()}{suffix}")


def test_a_run_that_ended_is_dead() -> None:
    """Also when a later process got its number."""
    assert namespaces.is_dead(f"hsh-{NO_PROCESS}-1.network")
    assert namespaces.is_dead(f"hsh-{os.getpid()}-1.network")


@pytest.mark.parametrize("name", ["hsh-lan-123-abcdefgh", "hsh-123456-a", "hsh-1-2x", "docker", ""])
def test_what_no_run_named_is_left_alone(name: str) -> None:
    """Such as the folders of other backends."""
    assert not namespaces.is_dead(name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may make namespaces")
def test_without_root_they_are_missing() -> None:
    """And the reason is given."""
    with pytest.raises(namespaces.Missing, match="need root"):
        namespaces.check_usable()
