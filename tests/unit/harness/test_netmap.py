"""The netmap applies map responses as a Go client does (control/controlclient/map.go, v1.102.4)."""

from typing import Any

import pytest

from harness.clients.netmap import InitialMapIncomplete, NetMap

NOW = "2026-01-02T03:04:05Z"
EARLIER = "2026-01-02T03:00:00Z"
SELF = {"ID": 1, "Name": "me.example.net."}


def peer(node_id: int, **fields: Any) -> dict[str, Any]:
    return {"ID": node_id, "Name": f"p{node_id}.example.net.", "Key": f"k{node_id}", "Online": True, **fields}


def made(*messages: dict[str, Any], version: int = 142) -> NetMap:
    """A netmap after a first message with the peers 2 and 3, and then these."""
    netmap = NetMap(version=version)
    for message in ({"Node": SELF, "Peers": [peer(2), peer(3)]}, *messages):
        netmap.apply(message, now=NOW)
    return netmap


def test_the_first_message_must_hold_the_node() -> None:
    """Else the poll fails."""
    with pytest.raises(InitialMapIncomplete):
        NetMap(version=142).apply({"Peers": [peer(2)]}, now=NOW)


def test_a_keep_alive_changes_nothing() -> None:
    """Nor may it be the first message's stand-in; only its time is read."""
    netmap = made({"KeepAlive": True, "ControlTime": NOW, "PeersRemoved": [2]})
    assert (sorted(netmap.peers), netmap.keep_alives, netmap.control_time) == ([2, 3], 1, NOW)


def test_peers_replace_all() -> None:
    """A full list is the list."""
    assert sorted(made({"Peers": [peer(4)]}).peers) == [4]


def test_an_empty_list_of_peers_is_ignored() -> None:
    """Go looks at the length: the last peer can only go by PeersRemoved."""
    assert sorted(made({"Peers": []}).peers) == [2, 3]


def test_peers_exclude_every_other_change() -> None:
    """Beside a full list nothing else about peers is looked at."""
    netmap = made({"Peers": [peer(2), peer(4)], "PeersRemoved": [2], "OnlineChange": {"2": False}})
    assert sorted(netmap.peers) == [2, 4]
    assert netmap.peers[2]["Online"] is True


def test_removed_then_changed() -> None:
    """A peer that is removed and changed in one message stays."""
    netmap = made({"PeersRemoved": [2], "PeersChanged": [peer(2, Name="new.", Tags=["tag:x"])]})
    assert netmap.peers[2]["Name"] == "new."


def test_online_then_patch() -> None:
    """The patch is applied after OnlineChange and has the last word."""
    netmap = made({"OnlineChange": {"2": False}, "PeersChangedPatch": [{"NodeID": 2, "Online": True}]})
    assert netmap.peers[2]["Online"] is True


def test_seen_sets_and_clears_the_time() -> None:
    """True is now, false is never."""
    netmap = made({"PeerSeenChange": {"2": True, "3": True}}, {"PeerSeenChange": {"3": False}})
    assert netmap.peers[2]["LastSeen"] == NOW
    assert "LastSeen" not in netmap.peers[3]


@pytest.mark.parametrize(
    "message",
    [
        {"PeersRemoved": [9]},
        {"OnlineChange": {"9": True}},
        {"PeerSeenChange": {"9": True}},
        {"PeersChangedPatch": [{"NodeID": 9, "Online": True}, {"Online": True}]},
    ],
    ids=lambda message: next(iter(message)),
)
def test_an_unknown_peer_is_ignored(message: dict[str, Any]) -> None:
    """Changes of peers that were never sent are nothing."""
    assert made(message).peers == made().peers


def test_a_patch_sets_what_it_names() -> None:
    """Zero and absent fields leave the peer as it is."""
    patch = {"NodeID": 2, "DERPRegion": 0, "Cap": 0, "Endpoints": ["1.2.3.4:5"], "Key": "new"}
    netmap = made({"PeersChanged": [peer(2, HomeDERP=7, Cap=100)]}, {"PeersChangedPatch": [patch]})
    changed = netmap.peers[2]
    assert (changed["HomeDERP"], changed["Cap"]) == (7, 100)
    assert (changed["Endpoints"], changed["Key"], changed["Online"]) == (["1.2.3.4:5"], "new", True)


def test_only_an_empty_list_clears_endpoints() -> None:
    """Presence counts, not truth."""
    full = {"PeersChanged": [peer(2, Endpoints=["1.2.3.4:5"])]}
    assert made(full, {"PeersChangedPatch": [{"NodeID": 2, "Endpoints": []}]}).peers[2]["Endpoints"] == []
    assert made(full, {"PeersChangedPatch": [{"NodeID": 2, "Cap": 1}]}).peers[2]["Endpoints"] != []


def test_a_changed_peer_without_endpoints_keeps_the_old() -> None:
    """The change is reduced to a patch, and a patch cannot say "none" by leaving out."""
    netmap = made({"PeersChanged": [peer(2, Endpoints=["1.2.3.4:5"])]}, {"PeersChanged": [peer(2, Cap=9)]})
    assert (netmap.peers[2]["Endpoints"], netmap.peers[2]["Cap"]) == (["1.2.3.4:5"], 9)


def test_a_changed_peer_cannot_lose_online_by_a_reduction() -> None:
    """Going from a value to absent is lost, as is going from absent to a value."""
    absent = {name: value for name, value in peer(2).items() if name != "Online"}
    assert made({"PeersChanged": [absent]}).peers[2]["Online"] is True
    netmap = made({"Peers": [absent]}, {"PeersChanged": [peer(2)]})
    assert "Online" not in netmap.peers[2]


def test_a_peer_that_differs_elsewhere_is_replaced_whole() -> None:
    """With a new name or other routes, what is left out is gone."""
    netmap = made(
        {"PeersChanged": [peer(2, Endpoints=["1.2.3.4:5"])]},
        {"PeersChanged": [peer(2, AllowedIPs=["10.0.0.0/8"])]},
    )
    assert "Endpoints" not in netmap.peers[2]
    assert netmap.peers[2]["AllowedIPs"] == ["10.0.0.0/8"]


def test_key_expiry_and_capabilities_can_be_cleared_by_a_change() -> None:
    """The reduction knows these two."""
    netmap = made({"Peers": [peer(2, KeyExpiry=NOW, CapMap={"a": None})]}, {"PeersChanged": [peer(2)]})
    assert "KeyExpiry" not in netmap.peers[2]
    assert netmap.peers[2]["CapMap"] == {}


def stale(**fields: Any) -> list[dict[str, Any]]:
    """A known last-seen, then a patch with a new disco key that is no later."""
    first = {"Peers": [peer(2, DiscoKey="old", Online=False, LastSeen=NOW)]}
    patch = {"NodeID": 2, "DiscoKey": "new", "Online": False, "LastSeen": NOW, "Cap": 5, **fields}
    return [first, {"PeersChangedPatch": [patch]}]


def test_a_stale_disco_key_drops_the_whole_patch() -> None:
    """Offline, and seen no later than known: since 1.98 nothing of it is taken."""
    netmap = made(*stale())
    assert netmap.peers[2]["DiscoKey"] == "old"
    assert "Cap" not in netmap.peers[2]


@pytest.mark.parametrize(
    "fields", [{"Online": True}, {"LastSeen": "2026-01-02T03:04:06Z"}, {"LastSeen": None}]
)
def test_a_disco_key_with_news_is_taken(fields: dict[str, Any]) -> None:
    """Online, seen later, or without a time."""
    assert made(*stale(**fields)).peers[2]["DiscoKey"] == "new"


def test_an_older_client_takes_a_stale_disco_key() -> None:
    """Before 1.98 there was no such rule."""
    assert made(*stale(), version=137).peers[2]["DiscoKey"] == "new"


def test_a_full_list_keeps_the_newer_disco_key() -> None:
    """The same rule for Peers: the key stays, the rest is taken."""
    netmap = made(
        {"Peers": [peer(2, DiscoKey="old", LastSeen=NOW)]},
        {"Peers": [peer(2, DiscoKey="new", Online=False, LastSeen=EARLIER, Cap=5)]},
    )
    assert (netmap.peers[2]["DiscoKey"], netmap.peers[2]["LastSeen"], netmap.peers[2]["Cap"]) == (
        "old",
        NOW,
        5,
    )


def test_allowed_ips_default_to_the_addresses() -> None:
    """Absent means Addresses, and empty means none; older clients take absent for none."""
    addresses = ["100.64.0.2/32"]
    assert made({"Peers": [peer(2, Addresses=addresses)]}).peers[2]["AllowedIPs"] == addresses
    assert made({"Peers": [peer(2, Addresses=addresses, AllowedIPs=[])]}).peers[2]["AllowedIPs"] == []
    assert "AllowedIPs" not in made({"Peers": [peer(2, Addresses=addresses)]}, version=111).peers[2]


def test_the_old_form_of_the_home_derp_is_understood() -> None:
    """`127.3.3.40:N`, unless the number is there as well."""
    assert made({"Peers": [peer(2, DERP="127.3.3.40:7")]}).peers[2]["HomeDERP"] == 7
    assert made({"Peers": [peer(2, DERP="127.3.3.40:7", HomeDERP=8)]}).peers[2]["HomeDERP"] == 8


def test_profiles_add_up() -> None:
    """What was sent once stays, and may be replaced."""
    one, other = {"ID": 1, "LoginName": "a"}, {"ID": 2, "LoginName": "b"}
    netmap = made({"UserProfiles": [one]}, {"UserProfiles": [other, {**one, "LoginName": "c"}]})
    assert {number: profile["LoginName"] for number, profile in netmap.profiles.items()} == {1: "c", 2: "b"}


RULE, OTHER = {"SrcIPs": ["1"]}, {"SrcIPs": ["2"]}


def test_no_filter_is_no_rule() -> None:
    """A client that was sent none lets nothing in."""
    assert made().packet_filter == []


def test_named_filters_are_joined_by_name() -> None:
    """The one filter is the chunk `base`."""
    netmap = made({"PacketFilters": {"z": [OTHER]}}, {"PacketFilter": [RULE]})
    assert netmap.packet_filter == [RULE, OTHER]


def test_a_null_chunk_is_deleted_and_absent_ones_stay() -> None:
    """Null deletes, an empty list is an empty chunk."""
    netmap = made(
        {"PacketFilters": {"a": [RULE], "b": [OTHER], "c": [OTHER]}}, {"PacketFilters": {"a": None, "b": []}}
    )
    assert netmap.packet_filters == {"b": [], "c": [OTHER]}


def test_a_star_drops_all_but_what_comes_with_it() -> None:
    """`*` with null clears first, whatever its place."""
    netmap = made({"PacketFilter": [RULE]}, {"PacketFilters": {"x": [OTHER], "*": None}})
    assert netmap.packet_filters == {"x": [OTHER]}


def test_a_derp_map_without_regions_keeps_them() -> None:
    """Zero sub-fields mean unchanged; a region that is null is none."""
    regions = {"900": {"RegionID": 900}}
    netmap = made(
        {"DERPMap": {"Regions": {**regions, "901": None}, "omitDefaultRegions": True}},
        {"DERPMap": {"HomeParams": {"RegionScore": {"900": 0.5}}}},
        {"DERPMap": {}},
    )
    assert netmap.derp_map == {
        "Regions": regions,
        "omitDefaultRegions": True,
        "HomeParams": {"RegionScore": {"900": 0.5}},
    }


def test_absent_fields_are_unchanged() -> None:
    """DNS, SSH policy, health, domain and node stay until they are sent again."""
    first = {"DNSConfig": {"Proxied": True}, "SSHPolicy": {"rules": []}, "Health": ["x"], "Domain": "d"}
    netmap = made(first, {"Domain": ""}, {})
    assert (netmap.dns, netmap.ssh_policy, netmap.health) == ({"Proxied": True}, {"rules": []}, ["x"])
    assert (netmap.domain, netmap.node["ID"] if netmap.node else None) == ("d", 1)


def test_health_can_be_emptied() -> None:
    """An empty list is healthy."""
    assert made({"Health": ["x"]}, {"Health": []}).health == []


def test_display_messages_are_a_patch() -> None:
    """As with filters: null deletes, `*` clears."""
    netmap = made(
        {"DisplayMessages": {"a": {"Title": "A"}, "b": {"Title": "B"}}}, {"DisplayMessages": {"a": None}}
    )
    assert sorted(netmap.display_messages) == ["b"]
    netmap.apply({"DisplayMessages": {"*": None, "c": {"Title": "C"}}}, now=NOW)
    assert sorted(netmap.display_messages) == ["c"]


def test_a_message_is_never_edited() -> None:
    """What a test keeps of a message stays what came."""
    message = {"Node": SELF, "Peers": [peer(2, DERP="127.3.3.40:7")]}
    netmap = NetMap(version=142)
    netmap.apply(message, now=NOW)
    netmap.apply({"OnlineChange": {"2": False}}, now=NOW)
    assert message["Peers"] == [peer(2, DERP="127.3.3.40:7")]
