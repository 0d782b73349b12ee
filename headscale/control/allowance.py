"""How often a node may ask for something that costs others more than itself."""

from collections import Counter
from typing import Final

from headscale.clock import Clock

WINDOW_S: Final = 3600.0


class Allowance:
    """So many times in an hour; the hours are the same for all nodes."""

    def __init__(self, clock: Clock, *, at_most: int) -> None:
        self._clock = clock
        self._at_most = at_most
        self._taken: Counter[int] = Counter()
        self._began = clock.monotonic()

    def takes(self, node_id: int) -> bool:
        """Whether the node may once more, which then counts."""
        now = self._clock.monotonic()
        if now - self._began >= WINDOW_S:
            self._taken.clear()
            self._began = now
        self._taken[node_id] += 1
        return self._taken[node_id] <= self._at_most
