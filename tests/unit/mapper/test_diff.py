"""The smallest message from one snapshot to a later one, row by row."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from headscale.keys import DiscoKey
from headscale.mapper.diff import compare, message_for
from headscale.mapper.render import PeerBytes
from headscale.records import Node
from headscale.state.snapshot import Snapshot, drop_node, put_node, put_user
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.hostinfo import Hostinfo, NetInfo
from tests.builders import HOUR, NOW, SETTINGS, nkey, node, tailnet, with_nodes

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
    message = message_for(comparison, old, new, viewer_id=viewer, version=142, now=NOW)
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
