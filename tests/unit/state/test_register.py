"""The registration table, row by row; every refusal also looks at the victim."""

from dataclasses import replace
from datetime import timedelta

import pytest

from headscale.errors import Conflict, Refused
from headscale.records import Delete, Insert, Update
from headscale.state.admission import Expired, LoginNeeded, Registered
from headscale.state.credentials import SAME_USE, delete_key, expire_key, revoke_key
from headscale.state.nodes import delete_node
from headscale.state.policy import prepare, set_policy
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import HOUR, NOW, SETTINGS, mkey, moment, nkey, registered, request, tailnet, with_key

SECOND = timedelta(seconds=1)
LOGOUT = NOW - timedelta(days=20_000)


def joined(**kind: object) -> tuple[Snapshot, str]:
    """A tailnet of alice and bob where machine 1 joined as alice's node 1; and the key that it used."""
    snapshot, _, text = with_key(tailnet("alice", "bob"), **kind)
    return registered(snapshot, request(1, auth_key=text)).snapshot, text


def test_a_new_machine_becomes_a_node_of_the_keys_owner() -> None:
    snapshot, _ = joined()
    node = snapshot.nodes[1]
    assert (node.user_id, node.tags, node.given_name, str(node.ipv4), str(node.ipv6)) == (
        1,
        (),
        "host1",
        "100.64.0.1",
        "fd7a:115c:a1e0::1",
    )


def test_the_row_and_its_number_are_written_together() -> None:
    snapshot, _, text = with_key(tailnet("alice"))
    effect = registered(snapshot, request(1, auth_key=text))
    kinds = [type(write).__name__ for write in effect.writes]
    assert kinds == ["Insert", "Advance", "Update"]  # the node, its id, the spent key


def test_a_single_use_key_lets_one_machine_in() -> None:
    snapshot, text = joined()
    with pytest.raises(Refused, match="one use and was used already"):
        registered(snapshot, request(2, auth_key=text))


def test_a_reusable_key_lets_several_in() -> None:
    snapshot, text = joined(reusable=True)
    effect = registered(snapshot, request(2, auth_key=text))
    assert set(effect.snapshot.nodes) == {1, 2}
    assert not any(isinstance(write, Update) for write in effect.writes)


def test_an_expired_key_lets_nobody_in() -> None:
    snapshot, _, text = with_key(tailnet("alice"), expiration=NOW)
    with pytest.raises(Refused, match="has expired"):
        registered(snapshot, request(1, auth_key=text))


@pytest.mark.parametrize(
    "text",
    ["", "x", "hskey-auth-000000000000-" + "0" * 64, "hskey-auth-010000000000-" + "1" * 64, "\x00" * 5000],
)
def test_a_text_that_is_no_key_here_is_refused_in_one_way(text: str) -> None:
    snapshot, _, _ = with_key(tailnet("alice"))
    if not text:
        assert isinstance(registered(snapshot, request(1)).result, LoginNeeded)
        return
    with pytest.raises(Refused, match="invalid pre-auth key"):
        registered(snapshot, request(1, auth_key=text))


def test_the_same_machine_may_send_its_spent_key_again() -> None:
    """Containers pass their key at each start; the node stays what it is, expiry included."""
    snapshot, text = joined()
    effect = registered(snapshot, request(1, auth_key=text), NOW + HOUR)
    assert effect.result == Registered(snapshot.nodes[1])
    assert effect.writes == ()


def test_a_deleted_key_does_not_matter_to_the_node_that_it_let_in() -> None:
    """Clients send it again at `tailscale up`. It opens nothing: no new key, no way back after a logout, no other."""
    snapshot, text = joined()
    snapshot = delete_key(snapshot, moment(), key_id=1).snapshot
    effect = registered(snapshot, request(1, auth_key=text))
    assert (effect.result, effect.snapshot, effect.writes) == (Registered(snapshot.nodes[1]), snapshot, ())
    ended = registered(snapshot, request(1, expiry=LOGOUT)).snapshot
    for state, wanted in (
        (snapshot, request(1, auth_key=text, node=nkey(9))),
        (snapshot, request(2, auth_key=text)),
        (ended, request(1, auth_key=text)),
    ):
        with pytest.raises(Refused, match="invalid pre-auth key"):
            registered(state, wanted)


def test_a_spent_key_does_not_renew_a_node_key() -> None:
    snapshot, text = joined()
    with pytest.raises(Refused, match="one use"):
        registered(snapshot, request(1, auth_key=text, node=nkey(9)), NOW + SAME_USE + SECOND)


def test_a_machine_that_did_not_hear_that_it_is_in_may_begin_anew() -> None:
    """With another node key, as clients do; it is the same node. No other machine may, nor one whose node is gone."""
    snapshot, text = joined()
    soon = NOW + SAME_USE
    again = registered(snapshot, request(1, auth_key=text, node=nkey(9)), soon)
    assert again.snapshot.nodes[1] == replace(snapshot.nodes[1], node_key=nkey(9))
    assert again.snapshot.pre_auth_keys == snapshot.pre_auth_keys
    deleted = delete_node(snapshot, moment(), node_id=1).snapshot
    revoked = revoke_key(snapshot, moment(), key_id=1).snapshot
    for state, wanted, why in (
        (snapshot, request(2, auth_key=text), "one use"),
        (deleted, request(1, auth_key=text, node=nkey(9)), "one use"),
        (revoked, request(1, auth_key=text, node=nkey(9)), "revoked"),
    ):
        with pytest.raises(Refused, match=why):
            registered(state, wanted, soon)


def test_a_spent_key_does_not_bring_a_logged_out_node_back() -> None:
    snapshot, text = joined()
    snapshot = registered(snapshot, request(1, expiry=LOGOUT)).snapshot
    with pytest.raises(Refused, match="one use"):
        registered(snapshot, request(1, auth_key=text))


def test_a_new_key_renews_the_node_and_keeps_its_number_name_and_addresses() -> None:
    snapshot, _ = joined()
    snapshot, _, text = with_key(snapshot, 2)
    effect = registered(snapshot, request(1, auth_key=text, node=nkey(9)))
    before, after = snapshot.nodes[1], effect.snapshot.nodes[1]
    assert after == replace(before, node_key=nkey(9), auth_key_id=2)
    assert effect.snapshot.node_of(nkey(1), mkey(1)) is None
    assert effect.snapshot.node_of(nkey(9), mkey(1)) == after


def test_another_user_on_the_same_machine_gets_a_second_node() -> None:
    snapshot, _ = joined()
    snapshot, _, text = with_key(snapshot, 2, user_id=2)
    after = registered(snapshot, request(1, auth_key=text, node=nkey(9))).snapshot
    assert after.nodes[1] == snapshot.nodes[1]
    assert (after.nodes[2].user_id, after.nodes[2].given_name) == (2, "host1-1")
    assert after.nodes[2].ipv4 != after.nodes[1].ipv4


def test_another_user_with_the_old_node_key_is_told_to_make_a_new_one() -> None:
    """The key stays the first user's node's; nothing is spent, and the client comes back with another."""
    snapshot, _ = joined()
    snapshot, _, text = with_key(snapshot, 2, user_id=2)
    effect = registered(snapshot, request(1, auth_key=text))
    assert isinstance(effect.result, Expired)
    assert effect.snapshot is snapshot
    again = registered(snapshot, request(1, auth_key=text, node=nkey(9))).snapshot
    assert (again.nodes[1].user_id, again.nodes[2].user_id) == (1, 2)


def test_a_node_key_of_another_machine_is_refused_and_its_owner_is_untouched() -> None:
    snapshot, _ = joined()
    snapshot, _, text = with_key(snapshot, 2, reusable=True)
    for stolen in (
        request(2, node=nkey(1)),
        request(2, node=nkey(1), auth_key=text),
        request(2, node=nkey(1), expiry=LOGOUT),
    ):
        with pytest.raises(Refused, match="already in use by another machine"):
            registered(snapshot, stolen)
    assert isinstance(registered(snapshot, request(1)).result, Registered)


def test_logout_ends_the_key_now_and_not_in_1970() -> None:
    snapshot, _ = joined()
    effect = registered(snapshot, request(1, expiry=LOGOUT), NOW + HOUR)
    node = effect.snapshot.nodes[1]
    assert isinstance(effect.result, Expired)
    assert (node.expiry, node.expired) == (NOW + HOUR, True)


def test_logout_comes_before_the_auth_key() -> None:
    """Clients send both; the key must not be spent by it."""
    snapshot, _ = joined()
    snapshot, _, text = with_key(snapshot, 2)
    effect = registered(snapshot, request(1, expiry=LOGOUT, auth_key=text))
    assert isinstance(effect.result, Expired)
    assert not effect.snapshot.pre_auth_keys[2].used


def test_logout_deletes_an_ephemeral_node() -> None:
    snapshot, _ = joined(ephemeral=True)
    effect = registered(snapshot, request(1, expiry=LOGOUT))
    assert not effect.snapshot.nodes
    assert effect.writes == (Delete(snapshot.nodes[1]),)


def test_logout_of_an_unknown_node_changes_nothing() -> None:
    snapshot = tailnet("alice")
    effect = registered(snapshot, request(1, expiry=LOGOUT))
    assert isinstance(effect.result, Expired)
    assert effect.snapshot is snapshot


def test_a_logged_out_node_is_told_to_make_a_new_key() -> None:
    snapshot, _ = joined()
    snapshot = registered(snapshot, request(1, expiry=LOGOUT)).snapshot
    assert isinstance(registered(snapshot, request(1)).result, Expired)


def test_a_restarted_client_changes_nothing() -> None:
    snapshot, _ = joined()
    effect = registered(snapshot, request(1), NOW + HOUR)
    assert effect.snapshot is snapshot
    assert effect.result == Registered(snapshot.nodes[1])


def test_a_client_may_shorten_its_time_and_never_extend_it() -> None:
    snapshot, _ = joined()
    shorter = registered(snapshot, request(1, expiry=NOW + 2 * HOUR)).snapshot
    assert shorter.nodes[1].expiry == NOW + 2 * HOUR
    with pytest.raises(Refused, match="cannot extend"):
        registered(shorter, request(1, expiry=NOW + 3 * HOUR))


def test_the_tailnets_default_expiry_applies_to_user_nodes_only() -> None:
    limited = tailnet("alice", settings=replace(SETTINGS, node_expiry=HOUR))
    snapshot, _, own = with_key(limited, 1)
    snapshot, _, tagged = with_key(snapshot, 2, user_id=None, tags=("tag:web",))
    snapshot = registered(snapshot, request(1, auth_key=own)).snapshot
    snapshot = registered(snapshot, request(2, auth_key=tagged)).snapshot
    assert (snapshot.nodes[1].expiry, snapshot.nodes[2].expiry) == (NOW + HOUR, None)


def test_a_tagged_key_makes_a_node_that_nobody_owns() -> None:
    snapshot, _, text = with_key(tailnet("alice"), user_id=1, tags=("tag:web", "tag:db"))
    node = registered(snapshot, request(1, auth_key=text)).snapshot.nodes[1]
    assert (node.user_id, node.tags) == (None, ("tag:db", "tag:web"))


def test_a_tagged_key_takes_a_users_node_over_and_a_users_key_takes_it_back() -> None:
    snapshot, _ = joined()
    snapshot, _, tagged = with_key(snapshot, 2, user_id=None, tags=("tag:web",))
    snapshot, _, own = with_key(snapshot, 3)
    converted = registered(snapshot, request(1, auth_key=tagged)).snapshot
    assert (converted.nodes[1].user_id, converted.nodes[1].tags) == (None, ("tag:web",))
    back = registered(converted, request(1, auth_key=own)).snapshot
    assert (back.nodes[1].user_id, back.nodes[1].tags, len(back.nodes)) == (1, (), 1)


def test_a_tagged_key_does_not_choose_between_two_users_nodes() -> None:
    snapshot, _ = joined()
    snapshot, _, bobs = with_key(snapshot, 2, user_id=2)
    snapshot = registered(snapshot, request(1, auth_key=bobs, node=nkey(9))).snapshot
    snapshot, _, tagged = with_key(snapshot, 3, user_id=None, tags=("tag:web",))
    with pytest.raises(Conflict, match="several users"):
        registered(snapshot, request(1, auth_key=tagged, node=nkey(8)))


def test_tags_that_the_key_does_not_give_are_refused_by_name() -> None:
    snapshot, _, text = with_key(tailnet("alice"), tags=("tag:web",))
    for tags in (("tag:web",), ()):
        host = Hostinfo(hostname="h", request_tags=tags)
        assert isinstance(registered(snapshot, request(1, auth_key=text, hostinfo=host)).result, Registered)
    host = Hostinfo(hostname="h", request_tags=("tag:web", "tag:db"))
    with pytest.raises(Refused, match="requested tags tag:db are invalid or not permitted"):
        registered(snapshot, request(1, auth_key=text, hostinfo=host))


def test_an_ephemeral_key_or_client_makes_an_ephemeral_node() -> None:
    snapshot, _, plain = with_key(tailnet("alice"), 1, reusable=True)
    snapshot, _, ephemeral = with_key(snapshot, 2, ephemeral=True)
    snapshot = registered(snapshot, request(1, auth_key=plain)).snapshot
    snapshot = registered(snapshot, request(2, auth_key=plain, ephemeral=True)).snapshot
    snapshot = registered(snapshot, request(3, auth_key=ephemeral)).snapshot
    assert [snapshot.nodes[i].ephemeral for i in (1, 2, 3)] == [False, True, True]


def test_an_expired_pre_auth_key_does_not_matter_to_a_node_that_is_in() -> None:
    snapshot, text = joined(reusable=True)
    snapshot = expire_key(snapshot, moment(), key_id=1).snapshot
    assert isinstance(registered(snapshot, request(1, auth_key=text)).result, Registered)
    with pytest.raises(Refused, match="has expired"):
        registered(snapshot, request(2, auth_key=text))


def test_a_number_is_never_used_twice() -> None:
    snapshot, _ = joined(ephemeral=True)
    snapshot = registered(snapshot, request(1, expiry=LOGOUT)).snapshot
    snapshot, _, text = with_key(snapshot, 2)
    effect = registered(snapshot, request(2, auth_key=text))
    assert set(effect.snapshot.nodes) == {2}
    assert any(isinstance(write, Insert) for write in effect.writes)


def test_the_policy_says_where_addresses_come_from() -> None:
    """A user with an ipPool joins with an address of it; the next one without goes on where the others were."""
    text = '{"acls": [], "nodeAttrs": [{"target": ["ann@"], "ipPool": ["100.81.0.0/16"]}]}'
    snapshot = tailnet("ann", "bob")
    policy = prepare(snapshot, text)
    snapshot = set_policy(snapshot, moment(), prepared=policy).snapshot
    given = []
    for number, user_id in ((1, 2), (2, 1), (3, 2)):
        snapshot, _, key = with_key(snapshot, number, user_id=user_id)
        effect = registered(snapshot, request(number, auth_key=key))
        snapshot = effect.snapshot
        given.append(str(effect.result.node.ipv4))
    assert given == ["100.64.0.1", "100.81.0.1", "100.64.0.2"]
