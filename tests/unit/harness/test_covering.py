"""Few tailnets in which all releases meet."""

from itertools import combinations, permutations

import pytest

from harness.covering import covering
from harness.versions import RELEASES, RUST


@pytest.mark.parametrize(("count", "size"), [(2, 2), (3, 4), (5, 3), (13, 4), (13, 5)])
def test_every_ordered_pair_stands_in_some_row(count: int, size: int) -> None:
    """And no row is longer than asked for, or has anything twice."""
    rows = covering(range(count), size)
    met = {pair for row in rows for pair in combinations(row, 2)}
    assert met == set(permutations(range(count), 2))
    assert all(len(row) == len(set(row)) <= size for row in rows)


def test_the_oldest_meets_the_newest_at_once() -> None:
    """Who runs the first tailnet alone has that pair."""
    assert {0, 12} <= set(covering(range(13), 4)[0])


def test_it_is_few_tailnets() -> None:
    """Of four clients at least 26 are needed for 13 releases, for each has six ordered pairs of the 156."""
    assert 26 <= len(covering((*RELEASES, RUST), 4)) <= 40


def test_it_is_always_the_same() -> None:
    """A test's name says which releases it ran with."""
    assert covering(RELEASES, 4) == covering(RELEASES, 4)


@pytest.mark.parametrize(("count", "size"), [(1, 4), (0, 2), (5, 1)])
def test_who_meets_nobody_is_an_error(count: int, size: int) -> None:
    """One release, or tailnets of one client, would test nothing."""
    with pytest.raises(ValueError, match="do not meet"):
        covering(range(count), size)
