"""The smallest message from one snapshot to a later one, row by row."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from headscale.keys import DiscoKey
from headscale.mapper.diff import compare, kind_of, message_for, news_for
from headscale.mapper.render import PeerBytes
from headscale.records import DNSSettings, Node
from headscale.state.snapshot import Snapshot, drop_node, put_node, put_user, with_silent
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.dns import DNSRecord
from headscale.tailcfg.hostinfo import Hostinfo, NetInfo
from tests.builders import (
    HOUR,
    NOW,
    SETTINGS,
    both_ways,
    nkey,
    node,
    router,
    tailnet,
    with_nodes,
    with_policy,
    with_policy_text,
)

DISCO = DiscoKey("discokey:" + "ab" * 32)
USERS = tailnet("alice", "bob")
LATER = NOW + timedelta(seconds=1)
HOME = Hostinfo(net_info=NetInfo(preferred_derp=999))


def two(**of_the_second: Any) -> Snapshot:
    """alice's nodes 1, who looks, and 2, who changes."""
    return with_nodes(USERS, node(1), node(2, **of_the_second))


def said(old: Snapshot, new: Snapshot, *, viewer: int = 1, touched: frozenset[int] | None = None) -> Any:
    """The viewer's message as JSON, without its time; None when there is none."""
    every = frozenset({*old.nodes, *new.nodes}) if touched is None else touched
    comparison = compare(old, new, every, peer_bytes=PeerBytes(SETTINGS))
    news = news_for(comparison, viewer)
    message = message_for(comparison, news, viewer_id=viewer, version=142, now=NOW)
    if message is None:
        return None
    document = msgspec.json.decode(msgspec.json.encode(message))
    assert document.pop("ControlTime")
    return document


def patch(before: dict[str, Any], after: dict[str, Any]) -> Any:
    """What node 1 hears when node 2 changes so; it must be one patch and nothing else."""
    document = said(two(**before), two(**after))
    assert set(document) == {"PeersChangedPatch"}
    [change] = document["PeersChangedPatch"]
    assert change.pop("NodeID") == 2
    return change


def test_nothing_that_changed_is_nothing_to_say() -> None:
    snapshot = two()
    assert said(snapshot, snapshot) is None


def test_what_peers_do_not_see_is_not_said() -> None:
    """Which key let it in, what it says of its hardware."""
    changed = two(auth_key_id=7, hostinfo=Hostinfo(device_model="x"), ephemeral=True, hostname="raw")
    assert said(two(), changed) is None


def test_a_new_node_comes_whole_and_with_its_owner() -> None:
    alone = with_nodes(tailnet("alice", "bob"), node(1))
    document = said(alone, with_nodes(alone, node(2, user_id=2)))
    assert [peer["ID"] for peer in document["PeersChanged"]] == [2]
    assert [profile["LoginName"] for profile in document["UserProfiles"]] == ["bob"]
    assert set(document) == {"PeersChanged", "UserProfiles"}


def test_a_deleted_node_is_removed() -> None:
    snapshot = two()
    assert said(snapshot, drop_node(snapshot, snapshot.nodes[2], NOW)) == {"PeersRemoved": [2]}


def test_a_node_that_came_and_went_unseen_is_not_said() -> None:
    alone = with_nodes(tailnet("alice"), node(1))
    assert said(alone, alone, touched=frozenset({2})) is None


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({}, {"online": True}, {"Online": True}),
        (
            {"online": True},
            {"online": False, "last_seen": NOW},
            {"Online": False, "LastSeen": "2026-06-01T12:00:00Z"},
        ),
        ({}, {"endpoints": ("192.0.2.1:1",)}, {"Endpoints": ["192.0.2.1:1"]}),
        ({"endpoints": ("192.0.2.1:1",)}, {"endpoints": ()}, {"Endpoints": []}),
        ({}, {"node_key": nkey(9)}, {"Key": nkey(9)}),
        ({}, {"cap_version": 143}, {"Cap": 143}),
        ({}, {"hostinfo": HOME}, {"DERPRegion": 999}),
        ({}, {"expiry": NOW, "expired": True}, {"KeyExpiry": "2026-06-01T12:00:00Z"}),
        ({"expiry": NOW + HOUR}, {"expiry": None}, {"KeyExpiry": "0001-01-01T00:00:00Z"}),
        ({"online": True}, {"online": True, "disco_key": DISCO}, {"DiscoKey": DISCO, "Online": True}),
    ],
)
def test_what_a_patch_can_say_is_a_patch(
    before: dict[str, Any], after: dict[str, Any], change: dict[str, Any]
) -> None:
    assert patch(before, after) == change


def test_a_disco_key_of_a_node_that_is_away_comes_with_a_newer_time() -> None:
    """Clients from 1.98 on drop a patch with a new disco key, offline, and no newer last seen."""
    change = patch({"last_seen": NOW}, {"last_seen": LATER, "disco_key": DISCO})
    assert change == {"DiscoKey": DISCO, "Online": False, "LastSeen": "2026-06-01T12:00:01Z"}


@pytest.mark.parametrize(
    "change",
    [
        {"given_name": "other"},
        {"user_id": None, "tags": ("tag:web",)},
        {"hostinfo": Hostinfo(os="plan9")},
    ],
)
def test_what_a_patch_cannot_say_comes_whole(change: dict[str, Any]) -> None:
    document = said(two(), two(**change))
    assert [peer["ID"] for peer in document["PeersChanged"]] == [2]
    assert "PeersChangedPatch" not in document


def test_a_relay_region_that_went_comes_whole() -> None:
    """A patch cannot clear one."""
    document = said(two(hostinfo=HOME), two())
    assert "HomeDERP" not in document["PeersChanged"][0]


def test_an_end_that_was_taken_back_comes_whole_and_says_the_rest_beside() -> None:
    """The client turns the whole into a patch when it can, and loses a last seen that was not there before."""
    ended = two(expiry=NOW, expired=True, online=True)
    document = said(ended, two(expiry=None, last_seen=LATER))
    assert "Expired" not in document["PeersChanged"][0]
    [change] = document["PeersChangedPatch"]
    assert (change["Online"], change["LastSeen"]) == (False, "2026-06-01T12:00:01Z")


def test_a_renamed_user_is_a_profile() -> None:
    """For the owner's nodes too, and whoever is told first: all of them get the same message."""
    snapshot = two()
    renamed = put_user(snapshot, replace(snapshot.users[1], name="alicia"))
    for viewer in (1, 2):
        document = said(snapshot, renamed, viewer=viewer)
        assert [profile["LoginName"] for profile in document.pop("UserProfiles")] == ["alicia"]
        assert document == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda own: replace(own, given_name="other"),
        lambda own: replace(own, expiry=NOW + HOUR),
        lambda own: replace(own, hostinfo=HOME),
        lambda own: replace(own, node_key=nkey(9)),
    ],
)
def test_an_own_change_is_ones_own_node_whole(change: Callable[[Node], Node]) -> None:
    snapshot = two()
    document = said(snapshot, put_node(snapshot, change(snapshot.nodes[1])))
    assert document["Node"]["ID"] == 1
    assert "CapMap" in document["Node"]
    assert not {"PeersChanged", "PeersChangedPatch"} & set(document)


@pytest.mark.parametrize(
    "report",
    [{"endpoints": ("192.0.2.1:1",)}, {"disco_key": DISCO}, {"online": True, "last_seen": LATER}],
)
def test_an_own_report_is_not_echoed(report: dict[str, Any]) -> None:
    snapshot = two()
    assert said(snapshot, put_node(snapshot, replace(snapshot.nodes[1], **report))) is None


def test_one_that_changes_owner_learns_its_new_one() -> None:
    snapshot = two()
    document = said(snapshot, put_node(snapshot, replace(snapshot.nodes[1], user_id=2)))
    assert document["Node"]["User"] == 2
    assert [profile["LoginName"] for profile in document["UserProfiles"]] == ["bob"]


def test_new_relays_go_to_everyone() -> None:
    snapshot = two()
    document = said(snapshot, replace(snapshot, derp_map=DERPMap(regions={})))
    assert set(document) == {"DERPMap"}


def test_several_changes_are_one_message() -> None:
    snapshot = with_nodes(two(), node(3))
    after = drop_node(snapshot, snapshot.nodes[3], NOW)
    after = with_nodes(after, node(2, online=True), node(4))
    assert set(said(snapshot, after)) == {"PeersRemoved", "PeersChanged", "PeersChangedPatch", "UserProfiles"}


OURS = both_ways((1, 1))
ALL = both_ways((1, 1), (1, 2))


def three() -> Snapshot:
    """alice's nodes 1 and 2, bob's node 3."""
    return with_nodes(USERS, node(1), node(2), node(3, user_id=2))


def test_a_policy_that_shows_a_node_sends_it_whole_with_its_owner() -> None:
    """And lets it in, in the same message."""
    old = with_policy(three(), pairs=OURS)
    document = said(old, with_policy(old, pairs=ALL), touched=frozenset())
    assert [peer["ID"] for peer in document["PeersChanged"]] == [3]
    assert [profile["LoginName"] for profile in document["UserProfiles"]] == ["bob"]
    assert document["PacketFilters"]["base"][0]["SrcIPs"] == ["fd7a:115c:a1e0::2", "fd7a:115c:a1e0::3"]
    assert set(document) == {"PeersChanged", "UserProfiles", "PacketFilters"}


def test_a_policy_that_hides_a_node_removes_it() -> None:
    old = with_policy(three(), pairs=ALL)
    document = said(old, with_policy(old, pairs=OURS), touched=frozenset())
    assert document["PeersRemoved"] == [3]
    assert set(document) == {"PeersRemoved", "PacketFilters"}


def test_a_policy_that_hides_all_removes_them_by_name() -> None:
    """An empty list of peers means no change to a client."""
    old = with_policy(three(), pairs=ALL)
    document = said(old, with_policy(old, pairs=frozenset()), touched=frozenset())
    assert document == {"PeersRemoved": [2, 3], "PacketFilters": {"base": []}}


def test_another_policy_with_the_same_outcome_is_nothing_to_say() -> None:
    old = with_policy(three(), pairs=ALL, ssh=frozenset({1}), capable=frozenset({1}))
    new = with_policy(old, pairs=ALL, ssh=frozenset({1}), capable=frozenset({1}))
    assert said(old, new, touched=frozenset()) is None


@pytest.mark.parametrize(
    "change", [{"online": True}, {"given_name": "other"}, {"user_id": 2, "endpoints": ("192.0.2.1:1",)}]
)
def test_nothing_is_heard_of_a_node_that_is_hidden(change: dict[str, Any]) -> None:
    """No patch, no whole, no profile."""
    snapshot = with_policy(three(), pairs=OURS)
    changed = put_node(snapshot, replace(snapshot.nodes[3], **change))
    assert said(snapshot, changed, touched=frozenset({3})) is None


def test_a_hidden_node_that_comes_or_goes_is_not_said() -> None:
    snapshot = with_policy(three(), pairs=OURS)
    assert said(snapshot, with_nodes(snapshot, node(4, user_id=2)), touched=frozenset({4})) is None
    assert said(snapshot, drop_node(snapshot, snapshot.nodes[3], NOW), touched=frozenset({3})) is None


def test_a_renamed_user_of_hidden_nodes_is_not_said() -> None:
    snapshot = with_policy(three(), pairs=OURS)
    renamed = put_user(snapshot, replace(snapshot.users[2], name="robert"))
    assert said(snapshot, renamed, touched=frozenset({3})) is None


def test_a_node_that_changes_owner_comes_into_view_and_leaves_it() -> None:
    snapshot = with_policy(three(), pairs=OURS)
    joined = put_node(snapshot, replace(snapshot.nodes[3], user_id=1))
    shown = said(snapshot, joined, touched=frozenset({3}))
    assert [peer["ID"] for peer in shown["PeersChanged"]] == [3]
    gone = said(joined, put_node(joined, replace(joined.nodes[3], user_id=2)), touched=frozenset({3}))
    assert gone["PeersRemoved"] == [3]
    assert "PeersChanged" not in gone


def test_one_that_changes_owner_sees_other_nodes() -> None:
    """Also such as did not change."""
    snapshot = with_policy(three(), pairs=OURS)
    moved = put_node(snapshot, replace(snapshot.nodes[3], user_id=1))
    document = said(snapshot, moved, viewer=3, touched=frozenset({3}))
    assert [peer["ID"] for peer in document["PeersChanged"]] == [1, 2]
    assert [profile["LoginName"] for profile in document["UserProfiles"]] == ["alice"]
    assert document["Node"]["User"] == 1


def test_a_filter_that_follows_a_newcomer_comes_with_it() -> None:
    """Or the newcomer's first packets are lost."""
    snapshot = with_policy(three(), pairs=ALL)
    document = said(snapshot, with_nodes(snapshot, node(4)), touched=frozenset({4}))
    assert [peer["ID"] for peer in document["PeersChanged"]] == [4]
    assert "fd7a:115c:a1e0::4" in document["PacketFilters"]["base"][0]["SrcIPs"]


def test_ssh_rules_are_said_when_they_change_and_taken_back() -> None:
    without, allowed = with_policy(three()), with_policy(with_policy(three()), ssh=frozenset({1}))
    assert said(without, allowed, touched=frozenset())["SSHPolicy"]["rules"]
    taken = said(allowed, with_policy(allowed), touched=frozenset())
    assert taken == {"SSHPolicy": {"rules": []}}


def test_attributes_reach_their_node_and_those_that_are_shown_the_peers() -> None:
    old = with_policy(three())
    own = said(old, with_policy(old, capable=frozenset({1})), touched=frozenset())
    assert "example.com/cap/own" in own["Node"]["CapMap"]
    shown = said(old, with_policy(old, showing=frozenset({2})), touched=frozenset())
    assert [peer["CapMap"] for peer in shown["PeersChanged"]] == [{"suggest-exit-node": []}]
    assert set(own) == {"Node"}


def test_a_shown_attribute_says_the_rest_beside() -> None:
    """A client makes a patch of a whole that differs in capabilities, and loses a last seen that is new."""
    old = with_policy(with_nodes(three(), node(3, user_id=2, online=True)))
    left = put_node(old, replace(old.nodes[3], online=False, last_seen=LATER))
    document = said(old, with_policy(left, showing=frozenset({2})), touched=frozenset({3}))
    assert document["PeersChanged"][0]["LastSeen"] == "2026-06-01T12:00:01Z"
    [change] = document["PeersChangedPatch"]
    assert change["LastSeen"] == "2026-06-01T12:00:01Z"


def test_one_that_loses_ipv4_hears_of_all_peers_without_it() -> None:
    old = with_policy(three())
    new = with_policy(old, without_ipv4=frozenset({2}))
    own = said(old, new, viewer=3, touched=frozenset())
    assert own["Node"]["Addresses"] == ["fd7a:115c:a1e0::3/128"]
    assert [peer["Addresses"] for peer in own["PeersChanged"]] == [
        ["fd7a:115c:a1e0::1/128"],
        ["fd7a:115c:a1e0::2/128"],
    ]
    other = said(old, new, touched=frozenset())
    assert [peer["Addresses"] for peer in other["PeersChanged"]] == [["fd7a:115c:a1e0::3/128"]]


def routed(**of_the_second: Any) -> Snapshot:
    """Two routers of one subnet, of which the first is primary, and alice's node 1 that looks."""
    second = router(3, "10.1.0.0/16", online=True, **of_the_second)
    return with_policy(with_nodes(USERS, node(1), router(2, "10.1.0.0/16", online=True), second))


def test_a_standby_that_takes_over_gets_the_route() -> None:
    """At others and in its own eyes; the first is said without."""
    old = routed()
    new = put_node(old, replace(old.nodes[2], online=False))
    document = said(old, new, touched=frozenset({2}))
    assert {peer["ID"]: peer.get("PrimaryRoutes") for peer in document["PeersChanged"]} == {
        2: None,
        3: ["10.1.0.0/16"],
    }
    assert {peer["ID"]: len(peer["AllowedIPs"]) for peer in document["PeersChanged"]} == {2: 2, 3: 3}
    assert said(old, new, viewer=3, touched=frozenset({2}))["Node"]["PrimaryRoutes"] == ["10.1.0.0/16"]


def test_who_is_steered_elsewhere_is_told() -> None:
    """Although the primary stays, and nobody else hears of it."""
    text = """{
        "tagOwners": {"tag:left": ["alice@"]},
        "grants": [
            {"src": ["alice@"], "dst": ["10.1.0.0/16"], "ip": ["*"], "via": ["tag:left"]},
            {"src": ["bob@"], "dst": ["10.1.0.0/16", "tag:left"], "ip": ["*"]},
        ],
    }"""
    left = {"tags": ("tag:left",), "user_id": None, "online": True}
    viewers = (node(1, online=True), node(2, user_id=2, online=True))
    routers = (router(3, "10.1.0.0/16", online=True), *(router(n, "10.1.0.0/16", **left) for n in (4, 5)))
    old = with_policy_text(with_nodes(tailnet("alice", "bob"), *viewers, *routers), text)
    new = with_silent(old, frozenset({4}))
    assert (old.primaries, len(new.silent)) == (new.primaries, 1)
    routes = {
        peer["ID"]: "10.1.0.0/16" in peer["AllowedIPs"]
        for peer in said(old, new, touched=frozenset())["PeersChanged"]
    }
    assert routes == {4: False, 5: True}
    assert said(old, new, viewer=2, touched=frozenset()) is None


def test_a_route_that_is_approved_reaches_those_who_may_use_it() -> None:
    waiting = with_nodes(three(), router(2, "10.1.0.0/16", approved=False, online=True))
    old = with_policy(waiting, routeless=frozenset({2}))
    new = put_node(old, replace(old.nodes[2], approved_routes=("10.1.0.0/16",)))
    document = said(old, new, touched=frozenset({2}))
    assert document["PeersChanged"][0]["AllowedIPs"][2:] == ["10.1.0.0/16"]
    assert said(old, new, viewer=3, touched=frozenset({2})) is None
    assert said(old, new, viewer=2, touched=frozenset({2}))["Node"]["AllowedIPs"][2:] == ["10.1.0.0/16"]


def test_a_policy_that_takes_a_route_away_says_the_router_without_it() -> None:
    old = routed()
    document = said(old, with_policy(old, routeless=frozenset({1})), touched=frozenset())
    assert [(peer["ID"], len(peer["AllowedIPs"])) for peer in document["PeersChanged"]] == [(2, 2)]


def test_viewers_that_hear_the_same_are_of_one_kind() -> None:
    """A stranger is not, nor one that changed itself, nor one that no longer sees what the other does."""
    snapshot = with_nodes(three(), node(4), node(5), node(6, user_id=2))
    old = with_policy(snapshot, pairs=both_ways((1, 1), (2, 2)))
    new = put_node(old, replace(old.nodes[5], online=True))
    comparison = compare(old, new, {5}, peer_bytes=PeerBytes(SETTINGS))
    kinds = {viewer: kind_of(comparison, viewer) for viewer in new.nodes}
    assert kinds[1] == kinds[2] == kinds[4] != kinds[3] == kinds[6]
    assert kinds[5] is None


def test_a_message_names_whom_it_is_not_for() -> None:
    """Nodes of one owner that begin to see each other are of one kind, and each hears of the others."""
    old = with_policy(three(), pairs=frozenset())
    comparison = compare(old, with_policy(old, pairs=OURS), set(), peer_bytes=PeerBytes(SETTINGS))
    assert news_for(comparison, 1).mentions == {2}
    assert news_for(comparison, 2).mentions == {1}
    assert news_for(comparison, 3).mentions == set()


RECORD = DNSRecord("printer.ts.example", "192.0.2.9", "A")


def kinds(old: Snapshot, new: Snapshot, *, touched: frozenset[int] = frozenset()) -> dict[int, Any]:
    """The kind of each viewer."""
    comparison = compare(old, new, touched, peer_bytes=PeerBytes(SETTINGS))
    return {viewer: kind_of(comparison, viewer) for viewer in new.nodes}


def test_other_extra_records_are_a_dns_config_and_nothing_else() -> None:
    """One message for everybody."""
    old = two()
    new = replace(old, extra_records=(RECORD,))
    document = said(old, new, touched=frozenset())
    assert set(document) == {"DNSConfig"}
    assert document["DNSConfig"]["ExtraRecords"] == [
        {"Name": "printer.ts.example", "Value": "192.0.2.9", "Type": "A"}
    ]
    first, second = kinds(old, new).values()
    assert first == second is not None


def test_the_last_extra_record_goes_with_a_whole_dns_config() -> None:
    """The set-up is always sent whole, so that what is not in it is gone."""
    old = replace(two(), extra_records=(RECORD,))
    document = said(old, two(), touched=frozenset())
    assert document["DNSConfig"]["Proxied"] is True
    assert "ExtraRecords" not in document["DNSConfig"]


def test_the_same_extra_records_send_nothing() -> None:
    old = replace(two(), extra_records=(RECORD,))
    new = replace(old, extra_records=(DNSRecord("printer.ts.example", "192.0.2.9", "A"),))
    assert said(old, new, touched=frozenset()) is None


NEXTDNS = tailnet(
    "alice",
    "bob",
    settings=replace(
        SETTINGS, dns=DNSSettings(nameservers=("https://dns.nextdns.io/x",), override_local_dns=True)
    ),
)


def test_nodes_with_a_dns_set_up_of_their_own_share_no_message() -> None:
    """One node's name for itself must not reach another's resolver."""
    old = with_nodes(NEXTDNS, node(1), node(2))
    new = replace(old, extra_records=(RECORD,))
    assert kinds(old, new) == {1: None, 2: None}
    for viewer in (1, 2):
        [resolver] = said(old, new, viewer=viewer, touched=frozenset())["DNSConfig"]["Resolvers"]
        assert f"device_name=host{viewer}" in resolver["Addr"]


def test_a_node_hears_of_its_own_dns_set_up_when_it_changes() -> None:
    """Others hear of the node, not of its resolvers."""
    old = with_nodes(NEXTDNS, node(1), node(2))
    new = put_node(old, replace(old.nodes[1], hostname="other"))
    [resolver] = said(old, new, viewer=1, touched=frozenset({1}))["DNSConfig"]["Resolvers"]
    assert "device_name=other" in resolver["Addr"]
    assert "DNSConfig" not in (said(old, new, viewer=2, touched=frozenset({1})) or {})
