"""What is remembered of a node's last stream."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from headscale.clock import ManualClock
from headscale.mapper import sessions as module
from headscale.mapper.sessions import Sessions
from headscale.mapper.stream import Ending
from headscale.state.writer import Writer
from tests.builders import NOW, node, tailnet, with_nodes


def made(*numbers: int) -> tuple[Sessions, ManualClock]:
    clock = ManualClock(NOW)
    writer: Any = SimpleNamespace(snapshot=with_nodes(tailnet("alice"), *map(node, numbers)))
    return Sessions(cast(Writer, writer), clock), clock


def test_the_end_of_a_visit_is_remembered_with_its_reason() -> None:
    sessions, clock = made(1)
    visit = sessions.began(1, remote="192.0.2.1", version=142)
    assert sessions.of(1) is visit
    clock.advance(timedelta(minutes=5))
    sessions.ended(1, visit, Ending.LOST)
    assert sessions.of(1) == replace(visit, ended=NOW + timedelta(minutes=5), ending=Ending.LOST)
    assert [event.ending for event in sessions.events] == [None, Ending.LOST]


def test_the_end_of_an_older_stream_says_nothing_of_the_newer() -> None:
    """Streams overlap when a client changes networks."""
    sessions, _ = made(1)
    older = sessions.began(1, remote="192.0.2.1", version=142)
    newer = sessions.began(1, remote="192.0.2.2", version=142)
    sessions.ended(1, older, Ending.REPLACED)
    assert sessions.of(1) is newer


def test_nodes_that_are_gone_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEFTOVERS_MAX", 3)
    sessions, _ = made(1)
    for number in (1, 2, 3, 4, 5):
        sessions.began(number, remote="", version=142)
    assert [number for number in range(1, 6) if sessions.of(number)] == [1]
