"""A node as clients see it: what is always said, what is never, and in which form."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network
from typing import Any

import msgspec
import pytest

from headscale.keys import DiscoKey
from headscale.mapper.render import VARIANTS_MAX, PeerBytes, peer_node, plain, profile_of, self_node
from headscale.mapper.view import Ways
from headscale.records import TAGGED_USER_ID, DNSSettings, Node, TailnetSettings, User
from headscale.tailcfg.hostinfo import Hostinfo, NetInfo, Service
from tests.builders import NOW, SETTINGS, nkey, node, tailnet, with_nodes, with_policy

DOMAIN = replace(SETTINGS, dns=DNSSettings(base_domain="ts.example"))


def as_peer(shown: Node, settings: TailnetSettings = DOMAIN) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(peer_node(settings, shown)), type=dict[str, Any])


@pytest.mark.parametrize(
    ("text", "kept"), [('a"b', "ab"), ("a\\b", "ab"), ("a\x00\n\x1f\x7fb", "ab"), ("grüße/&<", "grüße/&<")]
)
def test_what_json_would_escape_is_left_out(text: str, kept: str) -> None:
    """tailscale-rs cannot decode a string with an escape in it."""
    assert plain(text) == kept
    assert b"\\" not in msgspec.json.encode(plain(text))


def test_online_and_endpoints_are_always_said() -> None:
    """Clients lose a change from or to absent."""
    shown = as_peer(node(1))
    assert shown["Online"] is False
    assert shown["Endpoints"] == []


def test_last_seen_is_said_only_while_offline() -> None:
    assert "LastSeen" not in as_peer(node(1, online=True, last_seen=NOW))
    assert as_peer(node(1, online=False, last_seen=NOW))["LastSeen"] == "2026-06-01T12:00:00Z"


def test_addresses_are_two_hosts_v4_first_and_what_is_allowed() -> None:
    """tailscale-rs reads them by position; before capability version 112 AllowedIPs had to be there."""
    shown = as_peer(node(1))
    assert shown["Addresses"] == ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"]
    assert shown["AllowedIPs"] == shown["Addresses"]


def test_peers_get_the_part_of_the_host_info_that_they_need() -> None:
    """The rest says things about the owner and the hardware."""
    told = Hostinfo(
        hostname="h",
        os="linux",
        services=(Service(proto="peerapi4", port=1234, description="secret"),),
        ssh_host_keys=("ssh-ed25519 AAAA",),
        shields_up=True,
        backend_log_id="secret",
        machine="x86_64",
        device_model="secret",
        routable_ips=("10.0.0.0/8",),
        request_tags=("tag:web",),
        net_info=NetInfo(preferred_derp=1),
        location={"City": "secret"},
    )
    assert as_peer(node(1, hostinfo=told))["Hostinfo"] == {
        "Hostname": "h",
        "OS": "linux",
        "Services": [{"Proto": "peerapi4", "Port": 1234}],
        "sshHostKeys": ["ssh-ed25519 AAAA"],
        "ShieldsUp": True,
    }


def test_host_info_is_there_even_when_nothing_is_known() -> None:
    """Clients call its accessors without a look."""
    assert as_peer(node(1))["Hostinfo"] == {}


def test_a_tagged_node_is_the_stand_ins() -> None:
    shown = as_peer(node(1, user_id=None, tags=("tag:web",)))
    assert (shown["User"], shown["Tags"]) == (TAGGED_USER_ID, ["tag:web"])
    assert profile_of(TAGGED_USER_ID, None).login_name == "tagged-devices"


def test_the_home_relay_is_said_in_both_forms() -> None:
    """Before capability version 111 only the address form is read."""
    shown = as_peer(node(1, hostinfo=Hostinfo(net_info=NetInfo(preferred_derp=999))))
    assert (shown["HomeDERP"], shown["DERP"]) == (999, "127.3.3.40:999")


def test_what_is_not_known_is_absent() -> None:
    """A zero disco key, no relay, no expiry: a null or a zero would be read as a value."""
    assert not {"DiscoKey", "HomeDERP", "DERP", "KeyExpiry", "Expired", "Tags"} & set(as_peer(node(1)))


def test_keys_and_ends_are_as_they_are() -> None:
    disco = DiscoKey("discokey:" + "ab" * 32)
    shown = as_peer(node(1, disco_key=disco, expiry=NOW, expired=True))
    assert (shown["DiscoKey"], shown["Key"]) == (disco, nkey(1))
    assert (shown["KeyExpiry"], shown["Expired"]) == ("2026-06-01T12:00:00Z", True)


@pytest.mark.parametrize(("domain", "name"), [("ts.example", "host1.ts.example."), ("", "host1")])
def test_the_name_is_full_with_a_dot_where_there_is_a_domain(domain: str, name: str) -> None:
    settings = replace(SETTINGS, dns=DNSSettings(base_domain=domain))
    assert as_peer(node(1), settings)["Name"] == name


def test_a_node_learns_its_own_capabilities() -> None:
    """Peers do not; a capability without data is an empty list."""
    own = msgspec.json.decode(msgspec.json.encode(self_node(SETTINGS, node(1))))
    assert own["CapMap"] == {
        "https://tailscale.com/cap/is-admin": [],
        "https://tailscale.com/cap/ssh": [],
        "ssh-env-vars": [],
        "https://tailscale.com/cap/file-sharing": [],
        "default-auto-update": [False],
    }
    assert own["MachineAuthorized"] is True
    assert "CapMap" not in as_peer(node(1))


def test_capabilities_follow_the_settings() -> None:
    settings = replace(SETTINGS, taildrop=False, auto_update=True)
    own = msgspec.json.decode(msgspec.json.encode(self_node(settings, node(1))))
    assert "https://tailscale.com/cap/file-sharing" not in own["CapMap"]
    assert own["CapMap"]["default-auto-update"] == [True]


def test_a_profile_has_the_best_name_that_there_is() -> None:
    user = User(id=1, name="al", email="al@example.com", display_name='A"l', created_at=NOW)
    shown = profile_of(1, user)
    assert (shown.login_name, shown.display_name) == ("al@example.com", "Al")
    assert profile_of(1, replace(user, display_name="")).display_name == "al@example.com"


def test_an_encoding_is_shared_until_the_node_changes() -> None:
    peers, snapshot, first = PeerBytes(SETTINGS), tailnet("alice"), node(1)
    assert peers.of(snapshot, first) is peers.of(snapshot, first)
    later = replace(first, last_seen=NOW + timedelta(seconds=1))
    assert bytes(peers.of(snapshot, later)) != bytes(peers.of(snapshot, first))


def test_an_encoding_is_shared_until_the_policy_shows_the_node_differently() -> None:
    """Not only until there is another policy."""
    peers, first = PeerBytes(SETTINGS), node(1)
    snapshot = with_policy(with_nodes(tailnet("alice"), first))
    plain = peers.of(snapshot, first)
    another = with_policy(snapshot)
    assert peers.of(another, first) is plain
    assert b"suggest-exit-node" in bytes(peers.of(with_policy(another, showing=frozenset({1})), first))


def test_each_way_to_show_a_node_is_encoded_once() -> None:
    peers, first, snapshot = PeerBytes(SETTINGS), node(1), tailnet("alice")
    ways = Ways((IPv4Network("10.0.0.0/8"),))
    for variant in ({}, {"ways": ways}, {"without_ipv4": True}, {"ways": ways, "without_ipv4": True}):
        kind: Any = variant
        assert peers.of(snapshot, first, **kind) is peers.of(snapshot, first, **kind)
    assert b"10.0.0.0/8" in bytes(peers.of(snapshot, first, ways))
    assert b"100.64.0.1" not in bytes(peers.of(snapshot, first, without_ipv4=True))


def test_ways_to_show_a_node_are_not_kept_without_bound() -> None:
    peers, first, snapshot = PeerBytes(SETTINGS), node(1), tailnet("alice")
    ways = [Ways((IPv4Network((number << 8, 24)),)) for number in range(VARIANTS_MAX + 1)]
    kept = [peers.of(snapshot, first, way) for way in ways[:-1]]
    assert all(peers.of(snapshot, first, way) is known for way, known in zip(ways, kept, strict=False))
    peers.of(snapshot, first, ways[-1])
    assert peers.of(snapshot, first, ways[0]) is not kept[0]


def test_a_forgotten_node_is_encoded_anew() -> None:
    peers, first, snapshot = PeerBytes(SETTINGS), node(1), tailnet("alice")
    encoded = peers.of(snapshot, first)
    peers.forget(1)
    assert peers.of(snapshot, first) is not encoded
