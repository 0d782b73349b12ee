"""Laws of the state: what holds after anything that may happen to a tailnet."""

from dataclasses import replace

from hypothesis import given

from headscale.records import Delete, Insert, Node, PreAuthKey, Preferences, Record, Update, User
from headscale.state.routes import standing_of
from headscale.state.snapshot import Snapshot, put_key, put_node, put_user, with_subjects
from tests.builders import tailnet
from tests.property.strategies import Act, World, histories, steered

INDEXES = ("node_by_key", "nodes_by_machine", "node_by_name", "node_by_address", "key_by_prefix")


@given(history=histories())
def test_nobody_shares_what_is_ones_own(history: list[Act]) -> None:
    """At every moment: addresses, names, node keys, and one node of a machine for each owner."""
    world = World()
    for act in history:
        world.play(act)
        nodes = list(world.snapshot.nodes.values())
        for own in (
            [node.node_key for node in nodes],
            [node.given_name for node in nodes],
            [address for node in nodes for address in node.addresses],
            [(node.machine_key, node.user_id) for node in nodes],
        ):
            assert len(set(own)) == len(own)
        assert all((node.user_id is None) == bool(node.tags) for node in nodes)


@given(history=histories())
def test_the_indexes_are_those_of_a_fresh_start(history: list[Act]) -> None:
    """However it came about, a snapshot finds what one that is built from its records finds."""
    world = World()
    for act in history:
        world.play(act)
    rebuilt = replace(tailnet(), settings=world.snapshot.settings)
    for user in world.snapshot.users.values():
        rebuilt = put_user(rebuilt, user)
    for key in world.snapshot.pre_auth_keys.values():
        rebuilt = put_key(rebuilt, key)
    for node in world.snapshot.nodes.values():
        rebuilt = put_node(rebuilt, node)
    for index in INDEXES:
        assert dict(getattr(world.snapshot, index)) == dict(getattr(rebuilt, index)), index


@given(history=histories())
def test_the_policy_and_the_routes_are_those_of_a_fresh_start(history: list[Act]) -> None:
    """Whatever the order of events: who is there, which routes are in force, and through whom one could go."""
    world = World()
    for act in history:
        world.play(act)
        now, fresh = world.snapshot, with_subjects(world.snapshot)
        assert dict(now.policy.subjects) == dict(fresh.policy.subjects)
        assert dict(now.policy.people) == dict(fresh.policy.people)
        assert (now.gateways, dict(now.routers)) == (fresh.gateways, dict(fresh.routers))
        assert set(now.primaries) <= set(now.routers)
        for route, candidates in now.routers.items():
            online = [node_id for node_id in candidates if now.nodes[node_id].online]
            well = [node_id for node_id in online if node_id not in now.silent]
            assert now.primaries.get(route, 0) in (well or online or [0, *candidates])
        assert all(now.nodes[node_id].online for node_id in now.silent)


@given(history=histories())
def test_who_is_steered_goes_through_the_best_that_there_is(history: list[Act]) -> None:
    """For each route and tag that the policy steers to: one router with the tag, and none that stands better."""
    world = steered()
    assert len(world.snapshot.favourites) == 2
    for act in history:
        world.play(act)
        now = world.snapshot
        expected = {
            (route, tag): [now.nodes[i] for i in ids if tag in now.nodes[i].tags]
            for route, ids in now.routers.items()
            for tag in now.policy.via_tags
        }
        assert set(now.favourites) == {key for key, nodes in expected.items() if nodes}
        for key, favourite in now.favourites.items():
            standings = {node.id: standing_of(node, now.silent) for node in expected[key]}
            assert (favourite.standing, standings[favourite.node_id]) == (min(standings.values()),) * 2


@given(history=histories())
def test_who_waits_for_approval_sees_nobody_and_serves_nothing(history: list[Act]) -> None:
    world = World()
    for act in history:
        world.play(act)
        now = world.snapshot
        waiting = {node.id for node in now.nodes.values() if not node.authorized}
        assert waiting.isdisjoint(now.policy.subjects)
        assert waiting.isdisjoint(now.gateways)
        assert waiting.isdisjoint(now.primaries.values())
        for node_id in now.nodes:
            assert waiting.isdisjoint(now.policy.peers_of(node_id))


@given(history=histories())
def test_a_number_is_used_once(history: list[Act]) -> None:
    """Of nodes: one that is new has a higher number than any before it."""
    world, highest = World(), 0
    for act in history:
        before = set(world.snapshot.nodes)
        world.play(act)
        for new in sorted(set(world.snapshot.nodes) - before):
            assert new > highest
            highest = new


@given(history=histories())
def test_the_rows_are_the_records(history: list[Act]) -> None:
    """What was written adds up to what is there, but for what is only known in memory."""
    world = World()
    rows: dict[tuple[type[Record], int], Record] = {
        (User, user.id): user for user in world.snapshot.users.values()
    }
    rows[Preferences, 1] = world.snapshot.preferences
    for act in history:
        effect = world.play(act)
        for write in effect.writes if effect else ():
            match write:
                case Insert(record):
                    assert (type(record), record.id) not in rows
                    rows[type(record), record.id] = record
                case Update(record):
                    assert (type(record), record.id) in rows
                    rows[type(record), record.id] = record
                case Delete(record):
                    del rows[type(record), record.id]
    assert {key: _kept(record) for key, record in rows.items()} == _records(world.snapshot)


@given(history=histories())
def test_who_is_touched_is_who_looks_different(history: list[Act]) -> None:
    """A node that peers could see a difference of is named, so that streams compare it."""
    world = World()
    for act in history:
        before = world.snapshot
        effect = world.play(act)
        touched = effect.touched if effect else frozenset()
        for node_id in {*before.nodes, *world.snapshot.nodes} - touched:
            old, new = before.nodes[node_id], world.snapshot.nodes[node_id]
            assert replace(old, auth_key_id=None) == replace(new, auth_key_id=None)


def _records(snapshot: Snapshot) -> dict[tuple[type[Record], int], Record]:
    every = [
        *(*snapshot.users.values(), *snapshot.pre_auth_keys.values(), *snapshot.nodes.values()),
        snapshot.preferences,
    ]
    return {(type(record), record.id): _kept(record) for record in every}


def _kept(record: Record) -> Record:
    if isinstance(record, User | PreAuthKey | Preferences):
        return record
    assert isinstance(record, Node)
    return replace(record, expired=False, ending=False)
