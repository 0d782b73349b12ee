"""Releases and the capability versions that they announce."""

import pytest

from headscale.control.register import too_old
from headscale.tailcfg.capver import OLDEST, OLDEST_RELEASE, RELEASES, release_of


def test_releases_are_in_order() -> None:
    assert list(RELEASES.values()) == sorted(RELEASES.values())
    assert RELEASES[OLDEST_RELEASE] == OLDEST


@pytest.mark.parametrize(
    ("version", "release"),
    [(0, "older than 1.80"), (112, "older than 1.80"), (113, "1.80"), (131, "1.94"), (999, "1.102")],
)
def test_a_version_is_named_by_a_release(version: int, release: str) -> None:
    assert release_of(version) == release


def test_the_oldest_version_is_spoken_to_and_the_one_before_it_not() -> None:
    assert too_old(OLDEST) is None
    assert "update Tailscale to 1.80" in (too_old(OLDEST - 1) or "")
