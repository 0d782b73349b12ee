"""Watching pairs: when a path closed or opened, from what the probes saw."""

import asyncio

import pytest

from harness.reach import Pair, Probe, Target
from harness.watch import Look, Watch, watched

YES = Probe(answered=True, reason=None)
NO = Probe(answered=False, reason="timeout")
WRONG = Probe(answered=True, reason="mallory answered")
TARGET = Target("b", "tcp", "100.64.0.2", 80)


class Answering:
    """Answers each probe with the same."""

    name = "a"

    def __init__(self, probe: Probe | None = None) -> None:
        self.answer = probe
        self.asked = asyncio.Event()

    async def probe(self, target: Target, *, within: float) -> Probe:
        self.asked.set()
        if self.answer is None:
            raise ValueError("the agent is gone")
        return self.answer


PAIR: Pair = (Answering(), TARGET)


def seen(*looks: tuple[float, float, Probe]) -> Watch:
    watch = Watch([PAIR])
    for began, ended, probe in looks:
        watch.add(PAIR, Look(began, ended, probe))
    return watch


def test_a_path_was_open_until_the_last_answered_probe_began() -> None:
    """A probe that was answered late still began while the path was open."""
    watch = seen((1.0, 1.1, YES), (2.0, 2.1, YES), (2.2, 3.2, NO), (2.5, 2.6, YES), (2.7, 3.7, NO))
    assert watch.open_for(PAIR, since=2.0) == pytest.approx(0.5)
    assert seen((1.0, 1.1, YES)).open_for(PAIR, since=2.0) == 0


def test_an_answer_by_the_wrong_one_keeps_a_path_open_and_never_opens_one() -> None:
    """Neither a denial nor a reach."""
    watch = seen((2.5, 2.6, WRONG))
    assert watch.open_for(PAIR, since=2.0) == pytest.approx(0.5)
    assert watch.opened_after(PAIR, since=2.0) is None


def test_a_path_opened_when_the_first_answer_came() -> None:
    """Also to a probe that began before the moment; what came before the moment does not count."""
    watch = seen((1.0, 1.1, YES), (1.9, 2.9, YES), (2.0, 3.0, NO), (3.1, 3.2, YES))
    assert watch.opened_after(PAIR, since=2.0) == pytest.approx(0.9)
    assert seen((2.0, 3.0, NO)).opened_after(PAIR, since=2.0) is None


async def test_the_longest_silence_is_between_answers_or_after_the_last() -> None:
    """A path that died and never came back is silent until now."""
    watch = seen()
    now = watch.now
    for ago in (9.0, 8.9, 8.8, 6.8, 6.7):
        watch.add(PAIR, Look(now - ago, now - ago + 0.01, YES))
    assert watch.longest_silence(PAIR, since=now - 9.1) == pytest.approx(
        5.7, abs=0.1
    )  # the last second may come yet
    for tenths in range(66, 0, -1):
        watch.add(PAIR, Look(now - tenths / 10, now, YES))
    assert watch.longest_silence(PAIR, since=now - 9.1) == pytest.approx(2.0, abs=0.1)


def test_the_story_of_a_pair_is_a_line() -> None:
    """Reached, wrong and silent are told apart."""
    watch = seen((1, 1, YES), (2, 2, WRONG), (3, 4, NO))
    assert watch.told(PAIR) == "a → b tcp 100.64.0.2:80, every 0.1 s: #?."


async def test_pairs_are_probed_until_the_context_ends() -> None:
    """And what was seen stays."""
    prober = Answering(YES)
    async with watched([(prober, TARGET)]) as watch:
        begin = watch.now
        await prober.asked.wait()
        await asyncio.sleep(0)
    assert watch.opened_after((prober, TARGET), since=begin) is not None


async def test_a_probe_that_breaks_is_not_taken_for_silence() -> None:
    """The harness's own failure fails the test."""
    prober = Answering(None)

    async def watch() -> None:
        async with watched([(prober, TARGET)]):
            await prober.asked.wait()
            await asyncio.sleep(0.01)

    with pytest.raises(ExceptionGroup):
        await watch()
