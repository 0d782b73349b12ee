"""Logging in, row by row of its table; every refusal also looks at who was there before."""

from dataclasses import replace

import pytest

from headscale.errors import Conflict, NotFound, Refused
from headscale.records import RegisterMethod
from headscale.state.admission import Expired, LoginNeeded, Registered, Request
from headscale.state.snapshot import Snapshot, put_node
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import (
    HOUR,
    NOW,
    SETTINGS,
    logged_in,
    mkey,
    nkey,
    node,
    registered,
    request,
    tailnet,
    with_key,
    with_policy_text,
)

POLICY = '{"acls": [], "tagOwners": {"tag:web": ["alice@"], "tag:db": ["bob@"], "tag:child": ["tag:web"]}}'


def asking(number: int, *tags: str, node: int | None = None) -> Request:
    """A machine that asks for tags, by default with the node key of its number."""
    hostinfo = Hostinfo(hostname=f"host{number}", request_tags=tags)
    return request(number, node=nkey(node or number), hostinfo=hostinfo)


def place() -> Snapshot:
    """alice (1), bob (2), and a policy with tags of each."""
    return with_policy_text(tailnet("alice", "bob"), POLICY)


def test_a_stranger_becomes_the_users_node() -> None:
    effect = logged_in(place(), request(1))
    node = effect.snapshot.nodes[1]
    assert effect.result == Registered(node)
    assert (node.user_id, node.tags, node.register_method, node.auth_key_id) == (
        1,
        (),
        RegisterMethod.CLI,
        None,
    )


def test_the_client_then_finds_itself_registered() -> None:
    snapshot = logged_in(place(), request(1)).snapshot
    assert registered(snapshot, request(1)).result == Registered(snapshot.nodes[1])


def test_the_users_own_node_is_renewed_with_the_new_key() -> None:
    snapshot = logged_in(place(), request(1)).snapshot
    after = logged_in(snapshot, request(1, node=nkey(9)), now=NOW + HOUR).snapshot
    assert after.nodes[1] == replace(snapshot.nodes[1], node_key=nkey(9))
    assert len(after.nodes) == 1


def test_a_node_that_has_ended_comes_back_as_itself() -> None:
    limited = tailnet("alice", settings=replace(SETTINGS, node_expiry=HOUR))
    snapshot = logged_in(limited, request(1)).snapshot
    ended = registered(snapshot, request(1, expiry=NOW - HOUR)).snapshot
    assert isinstance(registered(ended, request(1)).result, Expired)
    again = logged_in(ended, request(1, node=nkey(9)), now=NOW + HOUR).snapshot.nodes[1]
    assert (again.id, again.expired, again.expiry) == (1, False, NOW + 2 * HOUR)
    assert again.addresses == snapshot.nodes[1].addresses


def test_another_users_node_on_the_machine_stays_theirs() -> None:
    snapshot = logged_in(place(), request(1)).snapshot
    after = logged_in(snapshot, request(1, node=nkey(9)), user_id=2).snapshot
    assert after.nodes[1] == snapshot.nodes[1]
    assert (after.nodes[2].user_id, after.nodes[2].given_name) == (2, "host1-1")


def test_an_owned_tag_is_given_and_the_node_is_nobodys() -> None:
    limited = tailnet("alice", "bob", settings=replace(SETTINGS, node_expiry=HOUR))
    node = logged_in(with_policy_text(limited, POLICY), asking(1, "tag:web")).snapshot.nodes[1]
    assert (node.user_id, node.tags, node.expiry) == (None, ("tag:web",), None)


@pytest.mark.parametrize("tags", [("tag:db",), ("tag:web", "tag:db")])
def test_a_tag_of_somebody_else_is_refused_all_or_none(tags: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="requested tags tag:db are invalid or not permitted"):
        logged_in(place(), asking(1, *tags))


def test_a_tag_that_nobody_could_give_is_refused_before_anyone_is_asked() -> None:
    with pytest.raises(Refused, match="requested tags tag:none are invalid"):
        registered(place(), asking(1, "tag:none", "tag:db"))
    assert isinstance(registered(place(), asking(1, "tag:db")).result, LoginNeeded)


def test_without_a_policy_no_tag_can_be_asked_for() -> None:
    with pytest.raises(Refused, match="tagOwners do not define"):
        registered(tailnet("alice"), asking(1, "tag:web"))


def test_a_users_node_becomes_tagged_when_it_asks_for_tags() -> None:
    snapshot = logged_in(place(), request(1)).snapshot
    after = logged_in(snapshot, asking(1, "tag:web", node=9)).snapshot
    assert (len(after.nodes), after.nodes[1].user_id, after.nodes[1].tags) == (1, None, ("tag:web",))


def test_a_tagged_node_that_asks_for_its_tags_again_keeps_them() -> None:
    """The peer refuses this: it asks whether the node, which has no owner, owns the tag."""
    snapshot = logged_in(place(), asking(1, "tag:web")).snapshot
    after = logged_in(snapshot, asking(1, "tag:web", node=9)).snapshot
    assert (len(after.nodes), after.nodes[1].tags, after.nodes[1].node_key) == (1, ("tag:web",), nkey(9))


def test_a_tagged_node_may_have_what_its_tag_owns() -> None:
    snapshot = logged_in(place(), asking(1, "tag:web")).snapshot
    after = logged_in(snapshot, asking(1, "tag:child", node=9), user_id=2).snapshot
    assert after.nodes[1].tags == ("tag:child",)
    with pytest.raises(Refused):
        logged_in(snapshot, asking(2, "tag:child"), user_id=2)


def test_a_tagged_node_that_asks_for_none_becomes_the_users() -> None:
    """`tailscale up --advertise-tags= --force-reauth`: the way back."""
    snapshot = logged_in(place(), asking(1, "tag:web")).snapshot
    after = logged_in(snapshot, request(1, node=nkey(9)), user_id=2).snapshot
    assert (len(after.nodes), after.nodes[1].user_id, after.nodes[1].tags) == (1, 2, ())


def test_with_an_own_and_a_tagged_node_each_login_finds_its_own() -> None:
    snapshot, _, tagged = with_key(place(), user_id=None, tags=("tag:web",))
    snapshot = registered(snapshot, request(1, auth_key=tagged)).snapshot
    snapshot = put_node(snapshot, node(2, machine_key=mkey(1), node_key=nkey(9)))
    own = logged_in(snapshot, request(1, node=nkey(8))).snapshot
    assert (own.nodes[2].node_key, own.nodes[1]) == (nkey(8), snapshot.nodes[1])
    retagged = logged_in(snapshot, asking(1, "tag:web", node=7)).snapshot
    assert (retagged.nodes[1].node_key, retagged.nodes[2]) == (nkey(7), snapshot.nodes[2])


def test_a_key_that_was_taken_meanwhile_lets_nobody_in_twice() -> None:
    """Between the question and the answer the same machine joined with a pre-auth key of somebody else."""
    snapshot, _, bobs = with_key(place(), user_id=2)
    snapshot = registered(snapshot, request(1, auth_key=bobs)).snapshot
    with pytest.raises(Conflict, match="log in again"):
        logged_in(snapshot, request(1))
    other = replace(request(2), node_key=nkey(1))
    with pytest.raises(Refused, match="another machine"):
        logged_in(snapshot, other)
    assert set(snapshot.nodes) == {1}


def test_a_user_who_is_gone_vouches_for_nobody() -> None:
    with pytest.raises(NotFound, match="no user has the id 7"):
        logged_in(place(), request(1), user_id=7)


def test_a_client_may_insist_on_its_tailnet() -> None:
    snapshot = tailnet("alice", settings=replace(SETTINGS, server_url="https://hs.example.com"))
    for name, result in (("required:hs.example.com", LoginNeeded), ("other", LoginNeeded)):
        assert isinstance(registered(snapshot, replace(request(1), tailnet=name)).result, result)
    with pytest.raises(Refused, match=r"another tailnet than hs\.example\.com"):
        registered(snapshot, replace(request(1), tailnet="required:other.example.com"))
