"""Ephemeral nodes: when they are deleted, and that a restart of the server neither hastens nor hinders it."""

from dataclasses import replace
from datetime import timedelta

from headscale.records import Delete
from headscale.state.nodes import COMING_BACK, delete_idle_ephemeral
from headscale.state.snapshot import Snapshot
from tests.builders import NOW, SETTINGS, moment, node, tailnet, with_nodes

TIMEOUT = timedelta(minutes=30)
MINUTE = timedelta(minutes=1)


def away(*, started: timedelta = 10 * TIMEOUT, timeout: timedelta = TIMEOUT, **more: object) -> Snapshot:
    """An ephemeral node that was seen until NOW; the server has run for `started` then."""
    settings = replace(SETTINGS, ephemeral_timeout=timeout)
    values = {"ephemeral": True, "last_seen": NOW, **more}
    snapshot = with_nodes(tailnet("alice", settings=settings), node(1, **values), node(2, last_seen=NOW))
    return replace(snapshot, started_at=NOW - started)


def test_it_goes_when_its_time_is_over_and_not_before() -> None:
    snapshot = away()
    assert delete_idle_ephemeral(snapshot, moment(NOW + TIMEOUT - MINUTE)).snapshot is snapshot
    effect = delete_idle_ephemeral(snapshot, moment(NOW + TIMEOUT))
    assert (set(effect.snapshot.nodes), effect.touched) == ({2}, {1})
    assert effect.writes == (Delete(snapshot.nodes[1]),)


def test_one_that_is_here_or_not_ephemeral_stays() -> None:
    for kept in (away(online=True), away(ephemeral=False)):
        assert delete_idle_ephemeral(kept, moment(NOW + 9 * TIMEOUT)).snapshot is kept


def test_one_that_never_polled_counts_from_its_creation() -> None:
    snapshot = away(last_seen=None)
    assert 1 not in delete_idle_ephemeral(snapshot, moment(NOW + TIMEOUT)).snapshot.nodes


def test_restarts_do_not_keep_it_alive() -> None:
    """Away for long enough, whatever the server did meanwhile."""
    restarted = away(started=-(TIMEOUT - COMING_BACK))
    assert 1 not in delete_idle_ephemeral(restarted, moment(NOW + TIMEOUT)).snapshot.nodes


def test_right_after_a_start_nobody_goes() -> None:
    """It may have been the server that was away."""
    restarted = away(started=-2 * TIMEOUT)
    started = NOW + 2 * TIMEOUT
    assert delete_idle_ephemeral(restarted, moment(started + COMING_BACK - MINUTE)).snapshot is restarted
    assert 1 not in delete_idle_ephemeral(restarted, moment(started + COMING_BACK)).snapshot.nodes


def test_a_short_time_is_waited_for_after_a_start_too() -> None:
    snapshot = away(started=timedelta(), timeout=MINUTE)
    assert delete_idle_ephemeral(snapshot, moment(NOW + MINUTE / 2)).snapshot is snapshot
    assert 1 not in delete_idle_ephemeral(snapshot, moment(NOW + MINUTE)).snapshot.nodes
