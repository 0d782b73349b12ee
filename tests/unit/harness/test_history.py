"""One line of time for everybody who has something to tell."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.history import History, Source
from headscale.clock import ManualClock

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_line_has_both_times_and_who_it_was() -> None:
    """Seconds since the start for the order, wall time for other logs."""
    clock = ManualClock(START)
    history = History(clock)
    clock.advance(timedelta(seconds=1.5))
    history.add(Source.CLIENT, "a", "notified", {"state": "Running"})
    assert json.loads(history.entries[0].line()) == {
        "at": 1.5,
        "wall": "2026-01-01T00:00:01.500+00:00",
        "source": "client",
        "who": "a",
        "event": "notified",
        "state": "Running",
    }


def test_a_field_does_not_hide_ours(tmp_path: Path) -> None:
    """An administrator's `at` is no time of the history."""
    history = History(ManualClock(START))
    history.add(Source.ADMIN, "s", "expire node", {"at": "tomorrow", "event": "x"})
    history.write(tmp_path / "history.jsonl")
    line = json.loads((tmp_path / "history.jsonl").read_text())
    assert (line["at"], line["_at"], line["event"], line["_event"]) == (0.0, "tomorrow", "expire node", "x")


def test_secrets_do_not_come_in() -> None:
    """Whoever records an argument need not think of it."""
    history = History(ManualClock(START))
    history.record("up", argv="tailscale up --auth-key=hskey-auth-abc-0123456789abcdef")
    assert history.entries[0].fields == {"argv": "tailscale up --auth-key=…"}


def test_what_was_noticed_late_is_told_at_its_time() -> None:
    """A log is read after the fact."""
    clock = ManualClock(START)
    history = History(clock)
    clock.advance(timedelta(seconds=10))
    history.add(Source.MAP, "a", "map delta", wall=START + timedelta(seconds=4))
    assert (history.entries[0].at, history.entries[0].wall) == (4.0, START + timedelta(seconds=4))


def test_a_fault_ends_even_when_the_scenario_fails_in_it() -> None:
    """Else everything after would seem to have happened during it."""
    history = History(ManualClock(START))
    with pytest.raises(ValueError, match="x"), history.during(Source.FAULT, "a", "cable is pulled"):
        raise ValueError("x")
    assert [entry.event for entry in history.entries] == ["cable is pulled", "cable is pulled: over"]
