"""What was measured beside what should have been."""

from collections.abc import Collection
from dataclasses import replace

import pytest

from harness.generated.plans import NodePlan, Plan
from harness.generated.search import Figures
from harness.generated.verdicts import Expected, Outcome, Question
from harness.reach import Probe, Target

PLAN = Plan((NodePlan("n1", 0, "alice"), NodePlan("n2", 1, "bob")), {"acls": []}, opened_first=False)
QUESTION: Question = ("n1", Target("n2", "tcp", "100.64.0.2", 22))
SILENT = Probe(answered=False, reason="timeout")
ANSWERED = Probe(answered=True, reason=None, seconds=0.01, source="100.64.0.1")
STRANGER = Probe(answered=True, reason="n3 answered instead of n2")


def outcome(*, want: bool, probe: Probe, dead: Collection[Question] = ()) -> Outcome:
    expected = Expected({QUESTION: want}, {"n1": ["n2"], "n2": ["n1"]})
    return Outcome(PLAN, expected, {QUESTION: probe}, {"n1": ["n2"], "n2": ["n1"]}, dead)


@pytest.mark.parametrize(("want", "probe"), [(True, ANSWERED), (False, SILENT)])
def test_as_expected_is_not_wrong(want: bool, probe: Probe) -> None:
    """Nothing surprises."""
    assert not outcome(want=want, probe=probe).wrong


@pytest.mark.parametrize(
    ("want", "probe", "said"),
    [
        (True, SILENT, "n1 → n2 tcp 100.64.0.2:22: expected yes, timeout"),
        (True, STRANGER, "expected yes, n3 answered instead of n2"),
        (False, ANSWERED, "expected no, was answered in 10 ms with source 100.64.0.1"),
        (False, STRANGER, "expected no, n3 answered instead of n2"),
    ],
)
def test_a_surprise_is_told_with_the_plan(want: bool, probe: Probe, said: str) -> None:
    """The table, the sentence, the nodes and the policy."""
    told = outcome(want=want, probe=probe)
    assert told.wrong
    assert "1 of 1 pairs are not as the policy says" in told.told()
    assert said in told.told()
    assert "n1: alice, release 0" in told.told()
    assert '"acls": []' in told.told()


@pytest.mark.parametrize(
    ("want", "probe", "silent"),
    [
        (True, SILENT, True),
        (True, ANSWERED, False),
        (False, SILENT, False),
        (False, ANSWERED, False),
        (True, STRANGER, False),
    ],
)
def test_what_passed_is_not_only_silent(want: bool, probe: Probe, silent: bool) -> None:
    """Nor is what is right, nor an answer of somebody else."""
    assert outcome(want=want, probe=probe).only_silent is silent


def test_whom_nobody_should_see_is_a_stranger() -> None:
    """Even when no packet passes."""
    leaky = replace(outcome(want=False, probe=SILENT), peers={"n1": ["n2", "n3"], "n2": ["n1"]})
    assert not leaky.only_silent
    assert leaky.strangers == ["n1 sees ['n2', 'n3'], and is to see ['n2']"]
    assert leaky.wrong


def test_a_denial_of_the_dead_shows_nothing() -> None:
    """A pair that does not get through when everything is open either is a failure."""
    dead = outcome(want=False, probe=SILENT, dead=[QUESTION])
    assert dead.wrong
    assert "n1 does not reach n2 tcp 100.64.0.2:22 when everything is open" in dead.told()


def test_figures_are_told_in_a_few_lines() -> None:
    """Tailnets, time, pairs, and whatever was tried again."""
    figures = Figures()
    figures.add(outcome(want=True, probe=ANSWERED), 2.0)
    figures.add(outcome(want=False, probe=SILENT), 4.0)
    figures.mended += ["1.92.5 on p1 was started anew: x", "1.92.5 on p2 was started anew: x"]
    told = figures.told()
    assert "2 generated tailnets on real clients, in 6 s" in told
    assert "p50 2.00 s, p95 4.00 s, max 4.00 s of 2" in told
    assert "2 pairs by packets, 1 of them answered" in told
    assert "2 clients were started anew for a known fault of theirs: 1.92.5 2" in told
