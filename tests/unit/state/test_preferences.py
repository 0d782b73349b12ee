"""Device approval: who waits, what a waiting node sees, and how it is let in."""

from dataclasses import replace

import pytest

from headscale.errors import Conflict, NotFound
from headscale.records import Preferences, Update
from headscale.state.nodes import delete_node
from headscale.state.preferences import authorize_node, let_waiting_in, set_device_approval
from headscale.state.presence import arrive
from headscale.state.restore import restore
from headscale.state.snapshot import Snapshot
from headscale.state.users import create_user
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import (
    NOW,
    SETTINGS,
    logged_in,
    moment,
    nkey,
    node,
    registered,
    request,
    tailnet,
    with_approval,
    with_key,
    with_nodes,
    with_policy_text,
)

ROUTER = Hostinfo(hostname="r", routable_ips=("10.1.0.0/16",))


def waiting(**kind: object) -> Snapshot:
    """A tailnet of node 1, in which node 2 joined with a key after approval was turned on."""
    snapshot = with_approval(with_nodes(tailnet("alice"), node(1)))
    snapshot, _, text = with_key(snapshot, **kind)
    return registered(snapshot, request(2, auth_key=text)).snapshot


def test_a_new_device_waits_and_sees_nobody() -> None:
    snapshot = waiting()
    assert snapshot.nodes[2].authorized is False
    assert (snapshot.policy.peers_of(2), snapshot.policy.peers_of(1)) == (frozenset(), frozenset())


def test_who_was_in_before_stays_in() -> None:
    assert waiting().nodes[1].authorized is True


def test_an_administrator_lets_it_in() -> None:
    effect = authorize_node(waiting(), moment(), node_id=2)
    assert effect.writes == (Update(effect.snapshot.nodes[2]),)
    assert effect.touched == {2}
    assert effect.snapshot.policy.peers_of(1) == {2}
    assert authorize_node(effect.snapshot, moment(), node_id=2).writes == ()


def test_and_makes_it_wait_again() -> None:
    snapshot = authorize_node(with_nodes(tailnet("alice"), node(1), node(2)), moment(), node_id=2, on=False)
    assert snapshot.snapshot.policy.peers_of(1) == frozenset()
    with pytest.raises(NotFound):
        authorize_node(snapshot.snapshot, moment(), node_id=3)


def test_a_preauthorized_key_needs_no_approval() -> None:
    assert waiting(preauthorized=True).nodes[2].authorized is True


def test_a_login_that_an_administrator_vouched_for_needs_none_and_another_does() -> None:
    snapshot = with_approval(tailnet("alice"))
    assert logged_in(snapshot, request(1)).snapshot.nodes[1].authorized is True
    assert logged_in(snapshot, request(1), vouched=False).snapshot.nodes[1].authorized is False


def test_coming_back_is_not_asked_about_again() -> None:
    snapshot = authorize_node(waiting(), moment(), node_id=2).snapshot
    snapshot, _, text = with_key(snapshot, 2)
    again = registered(snapshot, request(2, auth_key=text, node=nkey(9))).snapshot
    assert again.nodes[2].authorized is True
    waits, _, text = with_key(waiting(), 2)
    assert registered(waits, request(2, auth_key=text, node=nkey(9))).snapshot.nodes[2].authorized is False


def test_turned_off_everybody_who_waits_is_in() -> None:
    effect = set_device_approval(waiting(), moment(), on=False)
    assert effect.snapshot.nodes[2].authorized is True
    assert effect.touched == {2}
    assert effect.writes == (Update(Preferences()), Update(effect.snapshot.nodes[2]))
    assert effect.snapshot.policy.peers_of(1) == {2}


def test_the_operators_word_comes_first() -> None:
    for fixed in (True, False):
        snapshot = tailnet("alice", settings=replace(SETTINGS, device_approval=fixed))
        assert snapshot.needs_approval is fixed
        with pytest.raises(Conflict, match=r"node\.device_approval is set"):
            set_device_approval(snapshot, moment(), on=True)


def test_a_start_without_approval_leaves_nobody_waiting() -> None:
    waits = node(2, authorized=False)
    alice = create_user(tailnet(), moment(), name="alice").result

    def started(**settings: object) -> Snapshot:
        return restore(
            settings=replace(SETTINGS, **settings),
            derp_map=DERPMap(regions={}),
            users=[alice],
            pre_auth_keys=[],
            nodes=[node(1), waits],
            last_ids={},
            preferences=Preferences(device_approval=True),
            now=NOW,
        )

    assert let_waiting_in(started(), moment()).writes == ()
    assert started().policy.peers_of(1) == frozenset()
    effect = let_waiting_in(started(device_approval=False), moment())
    assert effect.snapshot.nodes[2].authorized is True
    assert effect.snapshot.policy.peers_of(1) == {2}


def test_a_router_that_waits_serves_nothing_and_can_be_deleted() -> None:
    policy = '{"acls": [], "autoApprovers": {"routes": {"10.0.0.0/8": ["alice@"]}}}'
    snapshot = with_policy_text(with_approval(tailnet("alice")), policy)
    snapshot, _, text = with_key(snapshot, reusable=True)
    snapshot = registered(snapshot, request(1, auth_key=text, hostinfo=ROUTER)).snapshot
    assert snapshot.nodes[1].approved_routes == ("10.1.0.0/16",)
    assert (snapshot.gateways, len(snapshot.routers)) == (frozenset(), 0)
    online = arrive(snapshot, moment(), node_id=1).snapshot
    let_in = authorize_node(online, moment(), node_id=1).snapshot
    assert (let_in.gateways, len(let_in.routers), len(let_in.primaries)) == (frozenset({1}), 1, 1)
    out = authorize_node(let_in, moment(), node_id=1, on=False).snapshot
    assert (out.gateways, len(out.routers), len(out.primaries)) == (frozenset(), 0, 0)
    assert not delete_node(out, moment(), node_id=1).snapshot.nodes
