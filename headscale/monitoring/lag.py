"""How late the event loop is: what every client feels when something keeps it busy."""

import asyncio
from collections import deque
from typing import Final

from headscale.clock import Clock
from headscale.counts import LoopCounts

# Often enough that a hitch of a tenth of a second shows, seldom enough to cost nothing.
EVERY_S: Final = 0.1
# What `worst` looks back on.
MINUTE_S: Final = 60.0


class LoopLag:
    """Sleeps, and notes how much too late it is woken."""

    def __init__(self, counts: LoopCounts, clock: Clock) -> None:
        self._counts = counts
        self._clock = clock
        self._recent: deque[tuple[float, float]] = deque()

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            began = self._clock.monotonic()
            await asyncio.sleep(EVERY_S)
            self.note(self._clock.monotonic() - began - EVERY_S)

    def note(self, late_s: float) -> None:
        """It was woken so late."""
        late_s, now = max(late_s, 0.0), self._clock.monotonic()
        self._counts.lag.add(late_s)
        # Only those that nothing worse has followed: the first of them is the worst.
        while self._recent and self._recent[-1][1] <= late_s:
            self._recent.pop()
        self._recent.append((now, late_s))
        self._forget(now)

    @property
    def worst_s(self) -> float:
        """The most of the last minute."""
        self._forget(self._clock.monotonic())
        return self._recent[0][1] if self._recent else 0.0

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] < now - MINUTE_S:
            self._recent.popleft()
