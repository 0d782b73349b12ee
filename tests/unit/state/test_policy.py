"""Setting a policy: in force in one step, kept, for the tailnet of that moment; and what keeps it in step later."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import pytest

from headscale.policy.complaints import Complaint, PolicyRefused
from headscale.policy.program import TAILNET
from headscale.policy.subjects import Person, Subject
from headscale.records import Advance, Counter, Insert, PolicyText, Update
from headscale.state import policy as module
from headscale.state.effect import Effect
from headscale.state.nodes import rename_node
from headscale.state.policy import Prepared, adopt_policy, prepare, set_policy, tailnet_of, work_out
from headscale.state.presence import arrive
from headscale.state.register import register
from headscale.state.report import report
from headscale.state.restore import restore
from headscale.state.snapshot import Snapshot, drop_node, put_node
from headscale.state.subjects import subject_of
from headscale.state.users import create_user, delete_user, rename_user
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.maps import MapRequest
from tests.builders import (
    NOW,
    SETTINGS,
    compiled,
    moment,
    node,
    request,
    router,
    tailnet,
    with_key,
    with_nodes,
    with_policy,
)

NET = "10.1.0.0/16"
EXITS = ("0.0.0.0/0", "::/0")


def prepared(snapshot: Snapshot, text: str = "one", **what: Any) -> Prepared:
    """A policy worked out for this snapshot."""
    return Prepared(text, compiled(snapshot, **what))


def test_a_policy_is_in_force_and_kept() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1))
    effect = set_policy(snapshot, moment(), prepared=prepared(snapshot))
    row = PolicyText(id=1, text="one", created_at=NOW)
    assert effect.result == effect.snapshot.policy_text == row
    assert effect.writes == (Insert(row), Advance(Counter.POLICY, 1))
    assert effect.snapshot.policy_epoch > snapshot.policy_epoch


def test_the_same_policy_again_changes_nothing() -> None:
    """And is answered with the row that there is."""
    snapshot = tailnet("alice")
    first = set_policy(snapshot, moment(), prepared=prepared(snapshot))
    again = set_policy(first.snapshot, moment(), prepared=prepared(first.snapshot))
    assert (again.snapshot, again.result, again.writes) == (first.snapshot, first.result, ())
    other = set_policy(first.snapshot, moment(), prepared=prepared(first.snapshot, "two"))
    assert other.result.id == 2
    back = set_policy(other.snapshot, moment(), prepared=prepared(other.snapshot))
    assert back.result.id == 3


def test_a_policy_that_stands_in_for_a_broken_one_is_kept_when_it_is_set() -> None:
    """Or the broken one would be the newest at the next start, too."""
    snapshot = tailnet("alice")
    older = PolicyText(id=4, text="one", created_at=NOW)
    standing = replace(
        adopt_policy(
            snapshot, moment(), prepared=prepared(snapshot), origin=older, problem="policy 5 is broken"
        ).snapshot,
        last_policy_id=5,
    )
    assert standing.policy_problem
    effect = set_policy(standing, moment(), prepared=prepared(standing))
    assert (effect.result.id, effect.snapshot.policy_problem) == (6, "")


def changed_meanwhile(snapshot: Snapshot) -> Snapshot:
    """Node 1 is gone, 2 tagged, 3 new; alice is renamed and carol new."""
    after = drop_node(snapshot, snapshot.nodes[1], NOW)
    after = put_node(after, replace(after.nodes[2], user_id=None, tags=("tag:web",)))
    after = with_nodes(after, node(3))
    after = rename_user(after, moment(), user_id=1, name="alicia").snapshot
    return create_user(after, moment(), name="carol").snapshot


def test_what_changed_while_it_was_worked_out_is_made_up_for() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1), node(2))
    ready = prepared(snapshot)
    after = set_policy(changed_meanwhile(snapshot), moment(), prepared=ready).snapshot
    assert dict(after.policy.subjects) == {i: subject_of(n) for i, n in after.nodes.items()}
    assert [person.name for person in after.policy.people.values()] == ["alicia", "carol"]


def test_a_policy_for_the_tailnet_as_it_is_is_taken_as_it_is() -> None:
    """Nothing is worked out twice."""
    snapshot = with_nodes(tailnet("alice"), node(1))
    ready = prepared(snapshot)
    assert set_policy(snapshot, moment(), prepared=ready).snapshot.policy is ready.compiled


def test_setting_a_policy_approves_what_waits() -> None:
    """In the same commit; routes that nobody advertises or approves stay as they are."""
    snapshot = with_nodes(tailnet("alice"), router(1, NET, "10.2.0.0/16", approved=False), node(2))
    effect = set_policy(snapshot, moment(), prepared=prepared(snapshot, approving=frozenset({NET})))
    approved = effect.snapshot.nodes[1]
    assert approved.approved_routes == (NET,)
    assert effect.writes[2:] == (Update(approved),)
    assert effect.touched == {1}
    assert effect.snapshot.policy.subjects[1].routes == (ip_network(NET),)


def test_a_policy_takes_no_approval_back() -> None:
    snapshot = with_nodes(tailnet("alice"), router(1, NET))
    effect = set_policy(snapshot, moment(), prepared=prepared(snapshot))
    assert effect.snapshot.nodes[1].approved_routes == (NET,)
    assert effect.touched == frozenset()


def test_a_new_node_has_its_routes_approved_at_once() -> None:
    """Both exit routes, when one of them is."""
    snapshot, _, text = with_key(with_policy(tailnet("alice"), approving=frozenset({NET, "::/0"})))
    told = Hostinfo(hostname="h", routable_ips=("10.1.9.9/16", "10.2.0.0/16", *EXITS))
    effect = register(snapshot, moment(), request=request(auth_key=text, hostinfo=told))
    joined = effect.snapshot.nodes[1]
    assert joined.approved_routes == ("0.0.0.0/0", NET, "::/0")
    assert Insert(joined) in effect.writes
    assert effect.snapshot.gateways == {1}


def advertised(snapshot: Snapshot, *routes: str) -> Effect[Any]:
    """Node 1 reports that it advertises these routes."""
    told = Hostinfo(hostname="host1", routable_ips=routes)
    wanted = MapRequest(node_key=snapshot.nodes[1].node_key, version=142, hostinfo=told)
    return report(snapshot, moment(), node_id=1, request=wanted)


def test_a_report_of_other_routes_has_them_approved() -> None:
    snapshot = with_policy(with_nodes(tailnet("alice"), node(1)), approving=frozenset({NET}))
    effect = advertised(snapshot, NET)
    assert effect.snapshot.nodes[1].approved_routes == (NET,)
    assert effect.writes == (Update(effect.snapshot.nodes[1]),)


def test_an_approval_that_was_taken_back_stays_so_until_the_routes_change() -> None:
    snapshot = with_policy(with_nodes(tailnet("alice"), node(1)), approving=frozenset({NET}))
    once = advertised(snapshot, NET).snapshot
    taken = put_node(once, replace(once.nodes[1], approved_routes=()))
    assert advertised(taken, NET).snapshot.nodes[1].approved_routes == ()


@pytest.mark.parametrize(
    "step",
    [
        partial(rename_node, node_id=1, name="other"),
        partial(arrive, node_id=1),
        lambda snapshot, at: advertised(snapshot, NET),
    ],
)
def test_what_the_policy_does_not_depend_on_leaves_it_alone(step: Callable[..., Effect[Any]]) -> None:
    """Names, presence, routes that wait for an approval: the identical policy, so that nobody is compared anew."""
    snapshot = with_nodes(tailnet("alice"), node(1))
    assert step(snapshot, moment()).snapshot.policy is snapshot.policy


def test_another_user_is_another_policy_only_when_there_is_one() -> None:
    """Streams look everywhere again when the epoch grows."""
    without = tailnet("alice")
    assert create_user(without, moment(), name="bob").snapshot.policy_epoch == without.policy_epoch
    ruled = with_policy(without)
    joined = create_user(ruled, moment(), name="bob").snapshot
    assert joined.policy_epoch > ruled.policy_epoch
    assert joined.policy.people[2] == Person(2, "bob")
    gone = delete_user(joined, moment(), user_id=2).snapshot
    assert (set(gone.policy.people), gone.policy_epoch > joined.policy_epoch) == ({1}, True)


def test_a_start_shows_the_policy_everybody() -> None:
    """All nodes and users that were kept, in one go."""
    before = with_nodes(tailnet("alice"), router(1, NET), node(2, user_id=None, tags=("tag:web",)))
    after = restore(
        settings=SETTINGS,
        derp_map=DERPMap(regions={}),
        users=before.users.values(),
        pre_auth_keys=(),
        nodes=before.nodes.values(),
        last_ids={Counter.POLICY: 7},
        now=NOW,
    )
    assert dict(after.policy.subjects) == dict(before.policy.subjects)
    assert dict(after.policy.people) == dict(before.policy.people)
    assert (after.primaries[ip_network(NET)], after.gateways, after.last_policy_id) == (1, frozenset({1}), 7)


def test_a_subject_is_what_rules_can_depend_on() -> None:
    shown = router(1, NET, user_id=None, tags=("tag:web",))
    assert subject_of(shown) == Subject(
        1, None, ("tag:web",), ipv4=shown.ipv4, ipv6=shown.ipv6, routes=(ip_network(NET),)
    )


def test_a_text_that_is_no_policy_is_refused_with_every_complaint() -> None:
    with pytest.raises(PolicyRefused) as caught:
        prepare(tailnet("alice"), '{"acls": [{"action": "deny"}], "bogus": 1}')
    assert len(caught.value.complaints) > 1


@pytest.mark.parametrize("text", ["", " \n", "// nothing\n"])
def test_nothing_at_all_is_no_policy(text: str) -> None:
    """It would let everybody in, by an empty file."""
    with pytest.raises(PolicyRefused):
        prepare(tailnet("alice"), text)


def test_tests_that_fail_refuse_a_policy_but_not_one_that_was_set_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failure = Complaint("alice@ cannot reach bob@:22")
    monkeypatch.setattr(module, "run_tests", lambda compiled: (failure,))
    with pytest.raises(PolicyRefused, match="cannot reach"):
        prepare(tailnet("alice"), '{"acls": []}')
    assert work_out(tailnet("alice"), '{"acls": []}').failures == (failure,)


def test_a_tailnet_has_its_own_prefixes_beside_the_usual_ones() -> None:
    """And no ChromeOS addresses in any of them."""
    assert tailnet_of(SETTINGS) == TAILNET
    narrow = replace(SETTINGS, prefix_v4=IPv4Network("100.64.0.0/16"), prefix_v6=None)
    assert tailnet_of(narrow) == TAILNET
    other = tailnet_of(replace(SETTINGS, prefix_v4=IPv4Network("10.20.0.0/16")))
    assert ip_address("10.20.30.40") in other
    assert ip_address("100.64.0.1") in other
    assert ip_address("100.115.92.1") not in other
