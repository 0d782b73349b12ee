"""Tags as one table: who asks for what, when, and what the node has afterwards."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from headscale.errors import Conflict, HeadscaleError, Malformed
from headscale.records import Update
from headscale.state.nodes import expire_node
from headscale.state.report import report
from headscale.state.snapshot import put_node
from headscale.state.tags import TAGS_MAX, plain_tags, set_tags
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.maps import MapRequest
from tests.builders import (
    HOUR,
    NOW,
    SETTINGS,
    logged_in,
    mkey,
    moment,
    nkey,
    node,
    registered,
    request,
    secret,
    tailnet,
    with_key,
    with_policy_text,
)

# alice owns a and b, nobody may give c but an administrator, d is not defined.
POLICY = """{
    "acls": [],
    "tagOwners": {"tag:a": ["alice@"], "tag:b": ["alice@"], "tag:c": []},
    "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:a"]}},
}"""
HERS = (1, ())


class Machine:
    """Machine 1 in alice's tailnet, with keys 1 (hers), 2 (tag:a, made by her) and 3 (tag:a, nobody's)."""

    def __init__(self) -> None:
        snapshot = with_policy_text(tailnet("alice", "bob"), POLICY)
        for number, kind in ((1, {}), (2, {"tags": ("tag:a",)}), (3, {"tags": ("tag:a",), "user_id": None})):
            snapshot, _, _ = with_key(snapshot, number, reusable=True, **kind)
        self.snapshot = snapshot
        self.key = 1

    @property
    def state(self) -> tuple[int | None, tuple[str, ...]]:
        [known] = self.snapshot.nodes.values()
        return known.user_id, known.tags

    def joins(self, key: int, *asks: str, force: bool = False) -> None:
        """`tailscale up --auth-key`; with --force-reauth the node key is new."""
        self.key += force
        wanted = replace(request(1, node=nkey(self.key)), hostinfo=_asking(asks))
        self.snapshot = registered(self.snapshot, replace(wanted, auth_key=secret(key).reveal())).snapshot

    def logs_in(self, *asks: str, user_id: int = 1) -> None:
        """`tailscale up --force-reauth`, and someone vouches for it as the user's."""
        self.key += 1
        wanted = request(1, node=nkey(self.key), hostinfo=_asking(asks))
        self.snapshot = logged_in(self.snapshot, wanted, user_id=user_id).snapshot

    def asks(self, *tags: str) -> None:
        """`tailscale up --advertise-tags` while it is in: it registers as it is, and reports."""
        wanted = request(1, node=nkey(self.key), hostinfo=_asking(tags))
        self.snapshot = registered(self.snapshot, wanted).snapshot
        [known] = self.snapshot.nodes
        told = MapRequest(node_key=nkey(self.key), version=142, hostinfo=_asking(tags), omit_peers=True)
        self.snapshot = report(self.snapshot, moment(), node_id=known, request=told).snapshot

    def is_given(self, *tags: str) -> None:
        """An administrator sets its tags."""
        [known] = self.snapshot.nodes
        self.snapshot = set_tags(self.snapshot, moment(), node_id=known, tags=tags).snapshot


def _asking(tags: tuple[str, ...]) -> Hostinfo:
    return Hostinfo(hostname="host1", request_tags=tags)


Act = Callable[[Machine], None]


def joins(key: int, *asks: str, force: bool = False) -> Act:
    return lambda machine: machine.joins(key, *asks, force=force)


def logs_in(*asks: str, user_id: int = 1) -> Act:
    return lambda machine: machine.logs_in(*asks, user_id=user_id)


def asks(*tags: str) -> Act:
    return lambda machine: machine.asks(*tags)


def is_given(*tags: str) -> Act:
    return lambda machine: machine.is_given(*tags)


A, B, C, D = "tag:a", "tag:b", "tag:c", "tag:d"

TAKEN = {
    "tagged key, no wish": ([joins(2)], (None, (A,))),
    "tagged key without an owner": ([joins(3)], (None, (A,))),
    "tagged key, its own tag asked for": ([joins(2, A)], (None, (A,))),
    "tagged key, then others asked for": ([joins(2), asks(B)], (None, (A,))),
    "tagged key, then more asked for": ([joins(2), asks(A, B)], (None, (A,))),
    "tagged key, other tags set, reauth with the same key": (
        [joins(2), is_given(B), joins(2, force=True)],
        (None, (B,)),
    ),
    "tagged key, other tags set, then asked for by the client": (
        [joins(2), is_given(B), asks(A)],
        (None, (B,)),
    ),
    "tagged key after another tagged key": ([joins(3), is_given(B), joins(2, force=True)], (None, (A,))),
    "plain key": ([joins(1)], HERS),
    "plain key, then tags asked for": ([joins(1), asks(A)], HERS),
    "plain key, tags set, then none asked for": ([joins(1), is_given(A), asks()], (None, (A,))),
    "plain key, two tags set, then one asked for": ([joins(1), is_given(A, B), asks(A)], (None, (A, B))),
    "plain key, tags set, the key again": ([joins(1), is_given(A), joins(1, force=True)], HERS),
    "login": ([logs_in()], HERS),
    "login with an owned tag": ([logs_in(A)], (None, (A,))),
    "login with two owned tags": ([logs_in(B, A)], (None, (A, B))),
    "login, then a login with a tag": ([logs_in(), logs_in(A)], (None, (A,))),
    "login with two tags, then a login with one": ([logs_in(A, B), logs_in(B)], (None, (B,))),
    "login with a tag, then a login with none": ([logs_in(A), logs_in()], HERS),
    "login with a tag, then another user's login with none": ([logs_in(A), logs_in(user_id=2)], (2, ())),
    "login, tags set, then others asked for": ([logs_in(), is_given(C), asks(A)], (None, (C,))),
    "login, tags set, then none asked for": ([logs_in(), is_given(A, C), asks()], (None, (A, C))),
    "login, any defined tag set, owned or not": ([logs_in(), is_given(C)], (None, (C,))),
    "login, tags set twice": ([logs_in(), is_given(A), is_given(B)], (None, (B,))),
    "tagged key, then a login": ([joins(2), logs_in()], HERS),
    "tagged key, then a plain key": ([joins(2), joins(1, force=True)], HERS),
    "plain key, then a tagged key": ([joins(1), joins(2, force=True)], (None, (A,))),
    "plain key, then a tagged key and the same node key": ([joins(1), joins(2)], (None, (A,))),
}


@pytest.mark.parametrize(("acts", "state"), TAKEN.values(), ids=TAKEN.keys())
def test_what_a_node_has_after(acts: list[Act], state: tuple[int | None, tuple[str, ...]]) -> None:
    machine = Machine()
    for act in acts:
        act(machine)
    assert machine.state == state


REFUSED = {
    "tagged key, another tag asked for": ([], joins(2, B), "requested tags tag:b are invalid"),
    "tagged key, its own and another": ([], joins(2, A, B), "requested tags tag:b are invalid"),
    "tagged key, no such tag": ([], joins(2, D), "requested tags tag:d are invalid"),
    "tagged key without an owner, another tag": ([], joins(3, B), "requested tags tag:b are invalid"),
    "plain key, an owned tag asked for": ([], joins(1, A), "requested tags tag:a are invalid"),
    "plain key, no such tag": ([], joins(1, D), "requested tags tag:d are invalid"),
    "plain key again, with a tag": ([joins(1)], joins(1, A), "requested tags tag:a are invalid"),
    "login with a tag of nobody's": ([], logs_in(C), "requested tags tag:c are invalid"),
    "login with no such tag": ([], logs_in(D), "requested tags tag:d are invalid"),
    "login with one owned and one not": ([], logs_in(A, C), "requested tags tag:c are invalid"),
    "login with what is no tag": ([], logs_in("web"), "requested tags web are invalid"),
    "another user's login with a tag": ([logs_in()], logs_in(A, user_id=2), "requested tags tag:a"),
    "an administrator, no such tag": ([logs_in()], is_given(D), "tag:d: not defined in the policy"),
    "an administrator, no tag at all": ([logs_in()], is_given("a"), "'a' is not a tag"),
    "an administrator, upper case": ([logs_in()], is_given("tag:A"), "'tag:A' is not a tag"),
    "an administrator takes the last one": ([joins(2)], is_given(), "cannot lose all its tags"),
}


@pytest.mark.parametrize(("acts", "last", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_changes_nothing(acts: list[Act], last: Act, why: str) -> None:
    machine = Machine()
    for act in acts:
        act(machine)
    before = machine.snapshot
    with pytest.raises(HeadscaleError, match=why):
        last(machine)
    assert machine.snapshot is before


def test_a_tagged_node_does_not_expire_and_one_that_has_ended_stays_ended() -> None:
    """The peer keeps the expiry of a user's node that is tagged, and it ends all the same."""
    limited = with_policy_text(tailnet("alice", settings=replace(SETTINGS, node_expiry=HOUR)), POLICY)
    snapshot = logged_in(limited, request(1)).snapshot
    assert snapshot.nodes[1].expiry is not None
    tagged = set_tags(snapshot, moment(), node_id=1, tags=[A])
    assert tagged.result.expiry is None
    assert tagged.writes == (Update(tagged.result),)
    ended = expire_node(snapshot, moment(), node_id=1, expiry=NOW).snapshot
    assert set_tags(ended, moment(), node_id=1, tags=[A]).result.expiry == NOW


def test_routes_that_the_tag_may_have_are_approved_with_it() -> None:
    wanted = request(1, hostinfo=Hostinfo(hostname="r", routable_ips=("10.1.0.0/16",)))
    snapshot = logged_in(Machine().snapshot, wanted).snapshot
    assert snapshot.nodes[1].approved_routes == ()
    assert set_tags(snapshot, moment(), node_id=1, tags=[A]).result.approved_routes == ("10.1.0.0/16",)


def test_a_machine_has_one_tagged_node() -> None:
    machine = Machine()
    machine.joins(2)
    both = put_node(machine.snapshot, node(2, machine_key=mkey(1), node_key=nkey(9)))
    with pytest.raises(Conflict, match="already has a tagged node"):
        set_tags(both, moment(), node_id=2, tags=[B])


def test_the_same_tags_again_are_no_change() -> None:
    machine = Machine()
    machine.joins(2)
    assert set_tags(machine.snapshot, moment(), node_id=1, tags=[A]).writes == ()


def test_tags_are_kept_sorted_each_once_and_not_too_many() -> None:
    assert plain_tags(["tag:b", "tag:a", "tag:b"]) == ("tag:a", "tag:b")
    many = [f"tag:t{number}" for number in range(TAGS_MAX + 1)]
    assert len(plain_tags(many[1:])) == TAGS_MAX
    with pytest.raises(Malformed, match="65 tags are more"):
        plain_tags(many)


@pytest.mark.parametrize(
    "tag", ["", "tag:", "tag:1", "tag:ä", "tag:a b", "TAG:a", "tag:a\n", "tag:" + "é" * 3, "a", "tag:a:b"]
)
def test_what_is_no_tag_is_named(tag: str) -> None:
    with pytest.raises(Malformed, match="is not a tag"):
        plain_tags([tag])
