"""What a measurement says in a few lines."""

import pytest

from harness.durations import Durations, summary
from harness.versions import RELEASES


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ([], "nothing was measured"),
        ([0.5], "p50 0.50 s, p95 0.50 s, max 0.50 s of 1"),
        ([0.3, 0.1, 0.2], "p50 0.20 s, p95 0.30 s, max 0.30 s of 3"),
        ([n / 10 for n in range(1, 101)], "p50 5.00 s, p95 9.50 s, max 10.00 s of 100"),
    ],
)
def test_percentiles_are_values_that_occurred(seconds: list[float], said: str) -> None:
    """In whatever order they came."""
    assert summary(seconds) == said


def test_each_release_has_a_line_and_all_together_have_one() -> None:
    """So that a slow release is seen."""
    durations = Durations("closed after")
    durations.add(RELEASES[0], 0.1)
    durations.add(RELEASES[-1], 0.4)
    lines = str(durations).splitlines()
    assert lines[-1] == "closed after, all: p50 0.10 s, p95 0.40 s, max 0.40 s of 2"
    assert len(lines) == 3
