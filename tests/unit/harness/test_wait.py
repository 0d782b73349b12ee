"""Waiting for conditions."""

import asyncio

import pytest

from harness.errors import HarnessError, NotAnswering, NotReached
from harness.wait import BUDGETS, Budget, Condition, holds, time_scale, until

AT_LEAST_TWO: Condition[int] = Condition("at least two", lambda n: None if n >= 2 else f"only {n}")


class Script:
    """A source that gives its values in turn, the last for ever, and changes at once."""

    name = "script"

    def __init__(self, *values: int | Exception) -> None:
        self.values = list(values)
        self.reads = 0

    async def read(self) -> int:
        value = self.values[min(self.reads, len(self.values) - 1)]
        self.reads += 1
        if isinstance(value, Exception):
            raise value
        return value

    async def changed(self, within: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TIME_SCALE", "0.01")


async def test_the_facts_that_satisfied_are_returned() -> None:
    """Not earlier and not later ones."""
    script = Script(0, 1, 2, 3)
    assert await until(script, AT_LEAST_TWO, Budget.SYNC) == 2
    assert script.reads == 3


async def test_a_source_that_does_not_answer_yet_is_waited_for() -> None:
    """A daemon may be starting."""
    assert await until(Script(NotAnswering("starting"), 2), AT_LEAST_TWO, Budget.SYNC) == 2


async def test_a_timeout_names_condition_reason_budget_and_source() -> None:
    """All that a reader of a failed run needs."""
    with pytest.raises(
        NotReached, match=r"script: 'at least two' is not so after .* s \(budget HOLD\).*only 1"
    ):
        await until(Script(0, 1), AT_LEAST_TWO, Budget.HOLD)


async def test_a_condition_that_breaks_is_told() -> None:
    """`holds` fails at the first counter-example."""
    with pytest.raises(NotReached, match=r"at least two held only .*only 1"):
        await holds(Script(2, 2, 1), AT_LEAST_TWO)


async def test_a_condition_that_lasts_is_read_to_the_end() -> None:
    """`holds` reads more than once, and once more at the end."""
    script = Script(2)
    assert await holds(script, AT_LEAST_TWO) == 2
    assert script.reads > 1


async def test_both_conditions_must_hold() -> None:
    """`&` reports the first that fails."""
    both = AT_LEAST_TWO & Condition("odd", lambda n: None if n % 2 else f"{n} is even")
    assert both.name == "at least two and odd"
    assert [both.why_not(n) for n in (1, 2, 3)] == ["only 1", "2 is even", None]


@pytest.mark.parametrize(("text", "scale"), [(None, 1.0), ("", 1.0), ("2.5", 2.5), ("100", 100.0)])
def test_the_time_scale_is_a_factor(text: str | None, scale: float) -> None:
    """One unless the variable says otherwise, 100 at most."""
    assert time_scale(text) == scale


@pytest.mark.parametrize("text", ["0", "-1", "100.1", "nan", "fast"])
def test_a_senseless_time_scale_is_refused(text: str) -> None:
    """A scale of 0 would make every wait fail, one of 10,000 none ever."""
    with pytest.raises(HarnessError, match="HARNESS_TIME_SCALE"):
        time_scale(text)


def test_every_budget_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """One table; the scale applies to all of it."""
    assert set(BUDGETS) == set(Budget)
    monkeypatch.setenv("HARNESS_TIME_SCALE", "2")
    assert Budget.HOLD.seconds == 2 * BUDGETS[Budget.HOLD]
