"""Who is here: arriving, leaving, and a restart of the server in between."""

from dataclasses import replace

from headscale.records import Update
from headscale.state.presence import arrive, leave, stay_away
from headscale.state.restore import restore
from headscale.state.users import create_user
from headscale.tailcfg.derpmap import DERPMap
from tests.builders import HOUR, NOW, SETTINGS, moment, node, router, tailnet, with_nodes


def test_arriving_and_leaving_are_seen_and_kept() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1))
    here = arrive(snapshot, moment(), node_id=1)
    assert (here.result.online, here.touched, here.writes) == (True, {1}, (Update(here.result),))
    gone = leave(here.snapshot, moment(NOW + HOUR), node_id=1)
    assert (gone.result.online, gone.result.last_seen) == (False, NOW + HOUR)


def test_what_is_so_already_changes_nothing() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1))
    assert leave(snapshot, moment(), node_id=1).snapshot is snapshot
    assert arrive(snapshot, moment(), node_id=2).result is None


def test_who_does_not_come_back_was_seen_until_the_server_went() -> None:
    """Its time of being away begins there, however long ago its client had connected."""
    nodes = node(1, online=True, last_seen=NOW), node(2), node(3, online=True)
    snapshot = replace(with_nodes(tailnet("alice"), *nodes), started_at=NOW + HOUR)
    effect = stay_away(snapshot, moment(NOW + 2 * HOUR), node_ids=frozenset({1, 2, 9}))
    assert effect.result == (replace(snapshot.nodes[1], online=False, last_seen=NOW + HOUR),)
    assert (effect.touched, effect.writes) == ({1}, (Update(effect.result[0]),))
    assert effect.snapshot.nodes[3].online is True


def test_a_restart_leaves_a_route_with_a_router_that_is_there() -> None:
    routers = [router(1, "10.1.0.0/16"), router(2, "10.1.0.0/16", online=True)]
    snapshot = restore(
        settings=SETTINGS,
        derp_map=DERPMap(regions={}),
        users=[create_user(tailnet(), moment(), name="alice").result],
        pre_auth_keys=[],
        nodes=routers,
        last_ids={},
        now=NOW,
    )
    assert list(snapshot.primaries.values()) == [2]
