"""How late the event loop is, measured where it is late."""

import asyncio
import time
from datetime import timedelta

from headscale.clock import ManualClock, SystemClock
from headscale.counts import LoopCounts
from headscale.monitoring.lag import LoopLag
from tests.builders import NOW


async def test_a_loop_that_stands_still_is_late() -> None:
    """A tenth of a second of work in one piece shows in the histogram and as the worst; idling does not."""
    counts = LoopCounts()
    lag = LoopLag(counts, SystemClock())
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0.05)
    time.sleep(0.4)  # noqa: ASYNC251  (the point)
    async with asyncio.timeout(5):
        while not counts.lag.number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    assert lag.worst_s >= 0.3
    assert counts.lag.total >= 0.3


def test_the_worst_is_forgotten_after_a_minute() -> None:
    """And what was worst after it takes its place."""
    clock = ManualClock(NOW)
    lag = LoopLag(LoopCounts(), clock)
    seen = []
    for late in (0.5, 0.1, 0.3, 0.2):
        lag.note(late)
        clock.advance(timedelta(seconds=20))
        seen.append(lag.worst_s)
    assert seen == [0.5, 0.5, 0.5, 0.3]
    clock.advance(timedelta(seconds=40))
    assert lag.worst_s == 0.2
    clock.advance(timedelta(seconds=30))
    assert lag.worst_s == 0.0


def test_a_loop_that_is_early_is_not_late() -> None:
    counts = LoopCounts()
    LoopLag(counts, ManualClock(NOW)).note(-0.01)
    assert (counts.lag.number, counts.lag.total) == (1, 0.0)
