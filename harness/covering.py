"""Few tailnets in which all releases meet: every ordered pair of them stands in some tailnet, in that order.

Scenarios tell clients apart by their place (the first is the router, the last the visitor), so that order matters.
Libraries for pairwise testing cover every pair of values of every two columns, which are as many tailnets as there are
ordered pairs however large a tailnet is; here any two places will do.
"""

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import TypeVar

T = TypeVar("T")


def covering(things: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Sequences of at most `size` different things that hold every ordered pair; the first has the first and the last.

    Always the same for the same things. Raises ValueError for fewer than two things or places.
    """
    count = len(things)
    if count < 2 or size < 2:
        raise ValueError(f"{count} things in {size} places do not meet")
    left = set(permutations(range(count), 2))
    chosen = [_grown((0, count - 1), left, size, count)]
    left -= set(combinations(chosen[0], 2))
    while left:
        best = max(
            (_grown(pair, left, size, count) for pair in sorted(left)),
            key=lambda row: len(left & set(combinations(row, 2))),
        )
        chosen.append(best)
        left -= set(combinations(best, 2))
    return [tuple(things[number] for number in row) for row in chosen]


def _grown(row: tuple[int, ...], left: set[tuple[int, int]], size: int, count: int) -> tuple[int, ...]:
    """The row with, one by one, whatever meets most of the others anew, at its best place."""
    while len(row) < min(size, count):
        others = [number for number in range(count) if number not in row]
        rows = [(*row[:at], number, *row[at:]) for number in others for at in range(len(row) + 1)]
        row = max(rows, key=lambda grown: len(left & set(combinations(grown, 2))))
    return row
