"""The reachability matrix and its assertion, with probers that follow a script."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from harness.errors import HarnessError
from harness.history import History, Source
from harness.reach import (
    ROWS_SHOWN,
    SURPRISES_SHOWN,
    Probe,
    Target,
    Unreached,
    assert_exactly,
    assert_reach,
    probe_matrix,
    table,
)
from harness.wait import Budget

YES = Probe(answered=True, reason=None, seconds=0.002, source="100.64.0.1")
NO = Probe(answered=False, reason="timeout: nothing came")
WRONG = Probe(answered=True, reason="mallory answered instead of b")

TARGET = Target("b", "tcp", "100.64.0.2", 80)


class Scripted:
    """Answers by the number of the try."""

    def __init__(self, name: str, script: Callable[[int], Probe]) -> None:
        self.name = name
        self.script = script
        self.tries = 0

    async def probe(self, target: Target, *, within: float) -> Probe:
        self.tries += 1
        return self.script(self.tries)


def always(probe: Probe) -> Callable[[int], Probe]:
    return lambda number: probe


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TIME_SCALE", "0.01")


async def test_a_yes_is_waited_for() -> None:
    """Two lost tries do not fail an expected reach."""
    a = Scripted("a", lambda n: NO if n < 3 else YES)
    seen = await assert_reach({(a, TARGET): True})
    assert seen[a, TARGET] == YES


async def test_a_missing_yes_shows_the_matrix_and_the_reason() -> None:
    """The table has all pairs; the surprise is in capitals and explained."""
    a, c = Scripted("a", always(NO)), Scripted("c", always(YES))
    with pytest.raises(Unreached) as caught:
        await assert_reach({(a, TARGET): True, (c, TARGET): True}, budget=Budget.HOLD)
    text = str(caught.value)
    assert "1 of 2 pairs are not as expected within 0.03 s (budget HOLD)" in text
    assert "  b tcp 100.64.0.2:80  NO  yes" in text
    assert "a → b tcp 100.64.0.2:80: expected yes, timeout: nothing came" in text


async def test_a_no_needs_a_yes_to_the_same_target() -> None:
    """A dead network must not pass for a closed one."""
    a = Scripted("a", always(NO))
    with pytest.raises(HarnessError, match="nothing in the matrix shows that target alive"):
        await assert_reach({(a, TARGET): False})
    assert a.tries == 0


async def test_another_port_of_the_same_node_is_no_control() -> None:
    """The yes must be to the very target."""
    a, c = Scripted("a", always(NO)), Scripted("c", always(YES))
    with pytest.raises(HarnessError):
        await assert_reach({(a, TARGET): False, (c, Target("b", "tcp", "100.64.0.2", 81)): True})


async def test_a_no_beside_a_yes_holds() -> None:
    """The denied pair is tried again and again, the control before and after."""
    a, c = Scripted("a", always(NO)), Scripted("c", always(YES))
    await assert_reach({(a, TARGET): False, (c, TARGET): True})
    assert a.tries > 1
    assert c.tries == 2


async def test_a_control_may_stand_beside_the_matrix() -> None:
    """`controls` are expected to reach without being part of the claim."""
    a, c = Scripted("a", always(NO)), Scripted("c", always(YES))
    await assert_reach({(a, TARGET): False}, controls=[(c, TARGET)])


async def test_a_no_may_take_time_to_come_but_must_then_last() -> None:
    """Open at first is fine; open again later is a leak."""
    a, c = Scripted("a", lambda n: YES if n == 1 else NO), Scripted("c", always(YES))
    await assert_reach({(a, TARGET): False, (c, TARGET): True})
    leaky = Scripted("a", lambda n: NO if n == 1 else YES)
    with pytest.raises(Unreached, match=r"expected no, was answered in 2 ms with source 100.64.0.1"):
        await assert_reach({(leaky, TARGET): False, (c, TARGET): True})


async def test_a_target_that_dies_meanwhile_makes_the_no_worthless() -> None:
    """The control is tried again after the denials."""
    a, c = Scripted("a", always(NO)), Scripted("c", lambda n: YES if n == 1 else NO)
    with pytest.raises(Unreached, match="tried again after the denials"):
        await assert_reach({(a, TARGET): False, (c, TARGET): True}, budget=Budget.HOLD)


async def test_an_answer_by_the_wrong_one_is_neither_yes_nor_no() -> None:
    """It does not count as reached, and not as denied."""
    a, c = Scripted("a", always(WRONG)), Scripted("c", always(YES))
    for want in (True, False):
        with pytest.raises(Unreached, match="mallory answered"):
            await assert_reach({(a, TARGET): want, (c, TARGET): True}, budget=Budget.HOLD)


async def test_a_matrix_probes_every_pair_once() -> None:
    """More pairs than may run at once are all done."""
    probers = [Scripted(f"p{n}", always(YES)) for n in range(40)]
    seen = await probe_matrix([(p, TARGET) for p in probers], within=1)
    assert len(seen) == 40
    assert all(p.tries == 1 for p in probers)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target("b", "tcp", "fd7a::2", 80), "b tcp [fd7a::2]:80"),
        (Target("b", "icmp", "fd7a::2"), "b icmp fd7a::2"),
        (Target("b", "udp", "b.tail.test", 53), "b udp b.tail.test:53"),
    ],
)
def test_a_target_prints_as_people_write_it(target: Target, text: str) -> None:
    """Addresses with colons get brackets before a port; ICMP has no port."""
    assert str(target) == text


async def test_a_denial_is_shown_alive_once_everything_is_open() -> None:
    """No pair of the matrix needs to be reached before."""
    is_open = False

    async def open_everything() -> None:
        nonlocal is_open
        is_open = True

    a = Scripted("a", lambda n: YES if is_open else NO)
    await assert_exactly({(a, TARGET): False}, open_everything=open_everything)
    assert is_open


async def test_a_denial_whose_target_is_dead_is_worthless() -> None:
    """Opened, it must be reached."""

    async def open_everything() -> None:
        pass

    a = Scripted("a", always(NO))
    with pytest.raises(Unreached, match="when everything was opened to show them alive"):
        await assert_exactly({(a, TARGET): False}, open_everything=open_everything, budget=Budget.HOLD)


async def test_a_leak_is_told_before_anything_is_opened() -> None:
    """What is open afterwards must not hide it."""

    async def open_everything() -> None:
        raise AssertionError("the leak was not noticed")

    a = Scripted("a", lambda n: NO if n == 1 else YES)
    with pytest.raises(Unreached, match="on end"):
        await assert_exactly({(a, TARGET): False}, open_everything=open_everything)


async def test_two_machines_do_not_begin_with_each_other_at_once() -> None:
    """One pair of the two is answered before the other begins: they could both lose their handshake."""
    order: list[str] = []

    class Slow(Scripted):
        async def probe(self, target: Target, *, within: float) -> Probe:
            order.append(f"{self.name} begins")
            await asyncio.sleep(0)
            order.append(f"{self.name} ends")
            return YES

    a, b = Slow("a", always(YES)), Slow("b", always(YES))
    await assert_reach(
        {(a, Target("b", "tcp", "100.64.0.2", 80)): True, (b, Target("a", "tcp", "100.64.0.1", 80)): True}
    )
    first, second = ("a", "b") if order[0].startswith("a") else ("b", "a")
    assert order == [f"{first} begins", f"{first} ends", f"{second} begins", f"{second} ends"]


async def test_of_a_large_matrix_the_rows_with_a_surprise_are_shown() -> None:
    """And how many others there are."""
    a = Scripted("a", always(YES))
    wanted = {(a, Target("b", "tcp", "100.64.0.2", port)): port != 7 for port in range(1, ROWS_SHOWN + 2)}
    text = table(wanted, await probe_matrix(wanted, within=1))
    assert text.count("b tcp 100.64.0.2:7") == 2
    assert "b tcp 100.64.0.2:8" not in text
    assert f"and {ROWS_SHOWN} targets, to which all is as expected" in text


async def test_surprises_are_explained_up_to_a_number() -> None:
    """The rest is counted."""
    a = Scripted("a", always(NO))
    wanted = {(a, Target("b", "tcp", "100.64.0.2", port)): True for port in range(SURPRISES_SHOWN + 2)}
    text = table(wanted, await probe_matrix(wanted, within=1))
    assert text.count("expected yes") == SURPRISES_SHOWN
    assert text.endswith("and 2 more surprises")


async def test_a_denied_udp_probe_may_hit_an_old_flow_once_but_not_twice() -> None:
    """By chance it leaves from a port that the receiver still knows; a path that is open answers the next one too."""
    udp = Target("b", "udp", "100.64.0.2", 80)
    witness = Scripted("c", always(YES))
    once = Scripted("a", lambda n: YES if n == 2 else NO)
    await assert_reach({(once, udp): False, (witness, udp): True})
    assert once.tries > 2
    twice = Scripted("a", lambda n: YES if n in (2, 3) else NO)
    with pytest.raises(Unreached, match="expected no"):
        await assert_reach({(twice, udp): False, (witness, udp): True})
    tcp = Scripted("a", lambda n: YES if n == 2 else NO)
    with pytest.raises(Unreached, match="expected no"):
        await assert_reach({(tcp, TARGET): False, (witness, TARGET): True})


async def test_probes_are_told_with_what_was_expected_of_them() -> None:
    """Each once, and again when it changes; a new matrix forgets the last."""
    history = History()
    a, c = Scripted("a", lambda n: NO if n < 3 else YES), Scripted("c", always(YES))
    for prober in (a, c):
        prober.machine = SimpleNamespace(history=history)  # type: ignore[attr-defined]
    await assert_reach({(a, TARGET): True, (c, TARGET): True})
    told = [(entry.who, entry.fields["expected"], entry.fields["actual"]) for entry in history.entries]
    assert [each for each in told if each[0] == "a"] == [("a", "yes", "no"), ("a", "yes", "yes")]
    assert [each for each in told if each[0] == "c"] == [("c", "yes", "yes")]
    assert all(entry.source is Source.PROBE for entry in history.entries)
    await assert_reach({(c, TARGET): True})
    assert [way.prober for way in history.ways.values()] == ["c"]


async def test_the_last_matrix_is_kept_with_its_surprises() -> None:
    """For the table of a failure's page."""
    history = History()
    a, c = Scripted("a", always(YES)), Scripted("c", always(YES))
    for prober in (a, c):
        prober.machine = SimpleNamespace(history=history)  # type: ignore[attr-defined]
    with pytest.raises(Unreached):
        await assert_reach({(a, TARGET): False, (c, TARGET): True})
    ways = {way.prober: (way.want, way.got, way.as_wanted) for way in history.ways.values()}
    assert ways == {"a": (False, True, False), "c": (True, True, True)}
