"""The full map: everything that a client needs to start from nothing, in a form that every client decodes."""

from dataclasses import replace
from typing import Any

import msgspec

from headscale.mapper.build import build_map
from headscale.mapper.render import PeerBytes
from headscale.records import TAGGED_USER_ID, DNSSettings
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.derpmap import DERPMap, DERPNode, DERPRegion
from headscale.tailcfg.hostinfo import Hostinfo, Service
from tests.builders import NOW, SETTINGS, TAGGED, both_ways, node, router, tailnet, with_nodes, with_policy

NAMED = replace(
    SETTINGS, server_url="https://control.example:8443", dns=DNSSettings(base_domain="ts.example")
)
RELAY = DERPNode(name="999a", region_id=999, host_name="control.example")
REGION = DERPRegion(region_id=999, region_code="hs", region_name="ours", nodes=(RELAY,))
HOSTILE = Hostinfo(
    hostname='"quoted"\\', os="l\ninux", services=(Service(proto='x"', port=1),), ssh_host_keys=("a\tb",)
)


def mixed() -> Snapshot:
    """alice's node 1, bob's node 2, a tagged node 3, and a node 4 that says nasty things of itself."""
    snapshot = replace(tailnet("alice", "bob", settings=NAMED), derp_map=DERPMap(regions={999: REGION}))
    tagged = node(3, user_id=None, tags=("tag:web",))
    return with_nodes(snapshot, node(1), node(2, user_id=2), tagged, node(4, hostinfo=HOSTILE))


def encoded(snapshot: Snapshot, node_id: int = 1, version: int = 142) -> bytes:
    peer_bytes = PeerBytes(snapshot.settings)
    full = build_map(snapshot, snapshot.nodes[node_id], peer_bytes=peer_bytes, version=version, now=NOW)
    return msgspec.json.encode(full)


def built(snapshot: Snapshot, node_id: int = 1, version: int = 142) -> dict[str, Any]:
    return msgspec.json.decode(encoded(snapshot, node_id, version), type=dict[str, Any])


def test_a_first_message_has_everything() -> None:
    """A stream begins from nothing, so what is absent here stays unknown."""
    full = built(mixed())
    assert set(full) == {
        *("ControlTime", "Node", "DERPMap", "Peers", "DNSConfig", "Domain", "CollectServices"),
        *("PacketFilters", "SSHPolicy", "UserProfiles", "Debug"),
    }
    assert full["Node"]["ID"] == 1
    assert [peer["ID"] for peer in full["Peers"]] == [2, 3, 4]
    assert full["Domain"] == "control.example"
    assert full["ControlTime"] == "2026-06-01T12:00:00Z"
    assert full["Debug"] == {"DisableLogTail": True}
    assert full["DNSConfig"]["Proxied"] is True


def test_every_owner_that_appears_has_a_profile() -> None:
    """Or WhoIs and SSH fail for that peer."""
    full = built(mixed())
    owners = {node["User"] for node in (full["Node"], *full["Peers"])}
    assert owners == {1, 2, TAGGED_USER_ID}
    assert {profile["ID"] for profile in full["UserProfiles"]} == owners


def test_without_a_policy_everything_is_let_in() -> None:
    """No filter at all would let nothing in."""
    [rule] = built(mixed())["PacketFilters"]["base"]
    assert rule == {"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": {"First": 0, "Last": 65535}}]}


def test_no_value_is_null() -> None:
    """tailscale-rs takes a null for an error in a list, text, flag or number."""

    def walk(value: object) -> None:
        assert value is not None
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    walk(built(mixed()))


def test_no_text_has_an_escape() -> None:
    """tailscale-rs borrows texts and cannot decode one with any escape, whoever sent it here."""
    assert b"\\" not in encoded(mixed())


def test_every_node_has_two_addresses_v4_first() -> None:
    """tailscale-rs reads them by position, of its own node and each peer, or drops the whole message."""
    full = built(mixed())
    for shown in (full["Node"], *full["Peers"]):
        v4, v6 = shown["Addresses"]
        assert "." in v4
        assert ":" in v6


def test_capabilities_are_lists_and_the_machine_is_authorised() -> None:
    own = built(mixed())["Node"]
    assert all(isinstance(values, list) for values in own["CapMap"].values())
    assert own["MachineAuthorized"] is True


def test_relays_have_what_every_client_demands() -> None:
    [region] = built(mixed())["DERPMap"]["Regions"].values()
    assert {"RegionID", "RegionCode", "RegionName", "Nodes"} <= set(region)


def test_a_tailnet_of_one_has_a_map_too() -> None:
    alone = built(with_nodes(tailnet("alice"), node(1)))
    assert alone["Node"]["ID"] == 1
    assert "Peers" not in alone


def test_only_visible_peers_and_their_owners_are_in_the_map() -> None:
    """Nothing else of it tells that there are others."""
    full = built(with_policy(mixed(), pairs=both_ways((1, 1))))
    assert [peer["ID"] for peer in full["Peers"]] == [4]
    assert [profile["LoginName"] for profile in full["UserProfiles"]] == ["alice"]
    assert b"host2" not in encoded(with_policy(mixed(), pairs=both_ways((1, 1))))


def test_the_filter_and_the_ssh_rules_are_the_nodes_own() -> None:
    snapshot = with_policy(mixed(), pairs=both_ways((1, 2)), ssh=frozenset({1}))
    [rule] = built(snapshot)["PacketFilters"]["base"]
    assert rule["SrcIPs"] == ["fd7a:115c:a1e0::2"]
    [login] = built(snapshot)["SSHPolicy"]["rules"]
    assert login["principals"] == [{"nodeIP": "fd7a:115c:a1e0::2"}]


def test_no_rules_are_said_and_not_left_out() -> None:
    """A client keeps what it knew for what is absent."""
    full = built(with_policy(mixed(), pairs=frozenset()))
    assert full["PacketFilters"] == {"base": []}
    assert full["SSHPolicy"] == {"rules": []}
    assert "Peers" not in full


def test_attributes_come_beside_what_every_client_has() -> None:
    snapshot = with_policy(mixed(), capable=frozenset({1}), showing=frozenset({2}))
    full = built(snapshot)
    assert {"example.com/cap/own", "https://tailscale.com/cap/ssh"} <= set(full["Node"]["CapMap"])
    assert [peer.get("CapMap") for peer in full["Peers"]] == [{"suggest-exit-node": []}, None, None]


def test_a_node_without_ipv4_has_none_in_any_map_and_sees_none() -> None:
    """Its peers keep theirs for all others."""
    snapshot = with_policy(mixed(), without_ipv4=frozenset({2}))
    own, others = built(snapshot, 2), built(snapshot, 1)
    for shown in (own["Node"], *own["Peers"], others["Peers"][0]):
        assert [address for address in shown["AllowedIPs"] if "." in address] == []
        assert shown["Addresses"] == shown["AllowedIPs"]
    assert "100.64.0.3/32" in others["Peers"][1]["Addresses"]
    assert "100.64.0.1/32" in others["Node"]["Addresses"]


def test_routes_towards_a_peer_are_those_that_the_policy_lets_the_viewer_use() -> None:
    """An exit route has no primary."""
    gateway = router(3, "10.1.0.0/16", "0.0.0.0/0", "::/0", online=True)
    snapshot = with_policy(with_nodes(mixed(), gateway), routeless=frozenset({2}))
    shown = built(snapshot, 1)["Peers"][1]
    assert shown["AllowedIPs"][2:] == ["10.1.0.0/16", "0.0.0.0/0", "::/0"]
    assert shown["PrimaryRoutes"] == ["10.1.0.0/16"]
    none = built(snapshot, 2)["Peers"][1]
    assert none["AllowedIPs"] == none["Addresses"]
    assert "PrimaryRoutes" not in none


def test_a_router_knows_all_its_routes_and_which_it_is_primary_for() -> None:
    """A standby's own client goes on to serve; the others do not send to it."""
    first, second = (router(n, "10.1.0.0/16", online=True) for n in (2, 3))
    snapshot = with_policy(with_nodes(mixed(), first, second))
    primary, standby = built(snapshot, 2), built(snapshot, 3)
    assert primary["Node"]["AllowedIPs"][2:] == standby["Node"]["AllowedIPs"][2:] == ["10.1.0.0/16"]
    assert primary["Node"]["PrimaryRoutes"] == ["10.1.0.0/16"]
    assert "PrimaryRoutes" not in standby["Node"]
    seen = {peer["ID"]: peer.get("PrimaryRoutes") for peer in built(snapshot, 1)["Peers"]}
    assert seen == {2: ["10.1.0.0/16"], 3: None, 4: None}


def test_tagged_nodes_are_owners_of_their_own_kind() -> None:
    full = built(with_policy(mixed(), pairs=both_ways((1, TAGGED))))
    assert [peer["ID"] for peer in full["Peers"]] == [3]
    assert {profile["ID"] for profile in full["UserProfiles"]} == {1, TAGGED_USER_ID}


def test_what_a_client_is_told_follows_its_version() -> None:
    """Whether it updates itself: by a field up to 1.90, by an attribute that all may have from 1.92 on."""
    on = with_nodes(tailnet("alice", settings=replace(NAMED, auto_update=True)), node(1))
    for version, field in ((130, True), (131, None), (142, None)):
        assert built(on, version=version).get("DefaultAutoUpdate") is field
        assert built(on, version=version)["Node"]["CapMap"]["default-auto-update"] == [True]
    off = with_nodes(tailnet("alice", settings=NAMED), node(1))
    assert built(off, version=113)["DefaultAutoUpdate"] is False
