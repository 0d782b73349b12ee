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
from tests.builders import NOW, SETTINGS, node, tailnet, with_nodes

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
        *("PacketFilters", "UserProfiles", "Debug"),
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
