"""Watching pairs without a pause, to measure when a path closed or opened.

Each probe is a fresh flow: a client's packet filter lets a flow that it knows go on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass

from harness.history import Source
from harness.reach import NO_SECONDS, Pair, Probe, history_of
from harness.wait import Budget

EVERY_SECONDS = 0.1
"""Between the starts of two probes of a pair: how exact a measurement is."""


@dataclass(frozen=True, slots=True)
class Look:
    """One probe, when it began and when it ended, in the loop's time."""

    began: float
    ended: float
    probe: Probe


class Watch:
    """What was seen so far. Made by `watched`."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._looks: dict[Pair, list[Look]] = {pair: [] for pair in pairs}

    @property
    def pairs(self) -> Collection[Pair]:
        """What is watched."""
        return self._looks.keys()

    @property
    def now(self) -> float:
        """This moment, for the questions below."""
        return asyncio.get_running_loop().time()

    def open_for(self, pair: Pair, *, since: float) -> float:
        """Seconds from the moment to the start of the last probe that was answered; 0 when none was."""
        answered = [look.began - since for look in self._looks[pair] if look.probe.answered]
        return max([0.0, *answered])

    def opened_after(self, pair: Pair, *, since: float) -> float | None:
        """Seconds from the moment to the first answer of the right one; None while there is none."""
        reached = [
            look.ended - since for look in self._looks[pair] if look.probe.reached and look.ended >= since
        ]
        return min(reached, default=None)

    def longest_silence(self, pair: Pair, *, since: float) -> float:
        """The longest time between starts of answered probes, from the moment until now."""
        answered = [
            since,
            *(each.began for each in self._looks[pair] if each.probe.reached and each.began > since),
        ]
        ends = [*answered[1:], max(answered[-1], self.now - NO_SECONDS)]  # the last second's may be under way
        return max(end - start for start, end in zip(answered, ends, strict=True))

    async def go_on(self, budget: Budget) -> None:
        """Watch for the whole budget."""
        await asyncio.sleep(budget.seconds)

    def told(self, pair: Pair) -> str:
        """The pair's probes for people, in order: `#` reached, `?` wrongly answered, `.` not answered."""
        prober, target = pair
        signs = (
            "#" if each.probe.reached else "?" if each.probe.answered else "." for each in self._looks[pair]
        )
        return f"{prober.name} → {target}, every {EVERY_SECONDS} s: {''.join(signs)}"

    def add(self, pair: Pair, look: Look) -> None:
        """One more."""
        looks = self._looks[pair]
        looks.append(look)
        history = history_of(pair[0])
        if history is not None and (len(looks) == 1 or looks[-2].probe.reached != look.probe.reached):
            told = {"to": str(pair[1]), "actual": "yes" if look.probe.reached else "no"}
            history.add(Source.PROBE, pair[0].name, "watched path", told)


@contextlib.asynccontextmanager
async def watched(pairs: Iterable[Pair]) -> AsyncIterator[Watch]:
    """Probe the pairs again and again until the context ends."""
    watch = Watch(pairs)
    watching = [asyncio.create_task(_watch(watch, pair)) for pair in watch.pairs]
    try:
        yield watch
    finally:
        for task in watching:
            task.cancel()
        ends = await asyncio.gather(*watching, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):  # a probe that broke, not the cancelling
            raise end


async def _watch(watch: Watch, pair: Pair) -> None:
    prober, target = pair

    async def look() -> None:
        began = watch.now
        probe = await prober.probe(target, within=NO_SECONDS)
        watch.add(pair, Look(began, watch.now, probe))

    async with asyncio.TaskGroup() as looking:
        while True:
            looking.create_task(look())
            await asyncio.sleep(EVERY_SECONDS)
