"""A server's log on the line of time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.history import History, Source
from harness.report.timeline import entries_of_log, timeline
from headscale.clock import ManualClock

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def local(seconds: float, form: str) -> str:
    """A time as a log of this machine writes it."""
    return (START + timedelta(seconds=seconds)).astimezone().strftime(form)


@pytest.mark.parametrize(
    ("line", "at", "event"),
    [
        (
            f"{local(2, '%Y-%m-%d %H:%M:%S')},250 INFO    x node online node=7",
            2.25,
            "INFO    x node online node=7",
        ),
        (f"{local(3, '%H:%M:%S')} INFO    node online node=7", 3.0, "INFO    node online node=7"),
        (
            '{"time": "2026-01-01T12:00:04.500+00:00", "level": "info", "message": "node online"}',
            4.5,
            "INFO node online",
        ),
        ("2026-01-01T12:00:05Z INF node online", 5.0, "INF node online"),
        ("2026-01-01T13:00:06.5+01:00 INF node online", 6.5, "INF node online"),
    ],
)
def test_times_of_any_server_are_read(line: str, at: float, event: str) -> None:
    """Ours in the test process, as a command and as JSON, and the Go headscale's."""
    (entry,) = entries_of_log([line], History(ManualClock(START)), who="server")
    assert (entry.at, entry.event, entry.source, entry.who) == (
        pytest.approx(at),
        event,
        Source.SERVER,
        "server",
    )


def test_midnight_does_not_throw_a_line_a_day_off() -> None:
    """A log that tells no date is read for the day that is closest."""
    begun = History(ManualClock(START.astimezone().replace(hour=23, minute=59, second=58).astimezone(UTC)))
    (entry,) = entries_of_log(["00:00:01 INFO late"], begun, who="server")
    assert entry.at == pytest.approx(3.0)


def test_a_traceback_belongs_to_its_line() -> None:
    """It has no time of its own; nothing before the first time is an event."""
    lines = [
        "garbage",
        "2026-01-01T12:00:01Z ERR failed",
        "Traceback",
        "  ValueError",
        "2026-01-01T12:00:02Z INF on",
    ]
    first, second = entries_of_log(lines, History(ManualClock(START)), who="server")
    assert (first.event, first.fields) == ("ERR failed", {"more": "Traceback\n  ValueError"})
    assert second.fields == {}


def test_the_log_lies_between_what_the_harness_saw(tmp_path: Path) -> None:
    """In order of time, secrets masked."""
    clock = ManualClock(START)
    history = History(clock)
    history.record("first")
    clock.advance(timedelta(seconds=10))
    history.record("last")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "server.log").write_text(
        "2026-01-01T12:00:05Z INF key hskey-auth-abc-0123456789abcdef\n"
    )
    events = [entry.event for entry in timeline(tmp_path, history)]
    assert events[::2] == ["first", "last"]
    assert "0123" not in events[1]
