"""How long something took, again and again, of each release: what a measurement says in a few lines."""

import math
from collections import defaultdict
from collections.abc import Sequence

from harness.versions import Release


class Durations:
    """Seconds by release; as text a line for each, and one for all, with p50, p95 and the longest."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._by_release: dict[str, list[float]] = defaultdict(list)

    def add(self, release: Release, seconds: float) -> None:
        """One more."""
        self._by_release[str(release)].append(seconds)

    def __str__(self) -> str:
        everything = [each for seconds in self._by_release.values() for each in seconds]
        rows = [*sorted(self._by_release.items()), ("all", everything)]
        return "\n".join(f"{self._what}, {name}: {summary(seconds)}" for name, seconds in rows)


def summary(seconds: Sequence[float]) -> str:
    """`p50 0.1 s, p95 0.4 s, max 0.5 s of 20`; percentiles are values that occurred (nearest rank)."""
    if not seconds:
        return "nothing was measured"
    ordered = sorted(seconds)
    p50, p95 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    return f"p50 {p50:.2f} s, p95 {p95:.2f} s, max {ordered[-1]:.2f} s of {len(ordered)}"
