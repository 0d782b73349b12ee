"""Numbers go into a bit set and come out in order."""

import pytest

from headscale.policy.bits import bits_of, lowest, numbers_of


@pytest.mark.parametrize(
    "numbers", [[], [0], [7, 8], [0, 1, 2, 3, 4, 5, 6], [3, 1_000], list(range(0, 999, 3))]
)
def test_a_set_of_numbers(numbers: list[int]) -> None:
    """Few and many, and the least of them."""
    bits = bits_of(reversed(numbers), 1_001)
    assert list(numbers_of(bits)) == numbers
    assert lowest(bits) == min(numbers, default=None)
