"""Rows of a Go headscale's database become records of ours: what is mended, what is left out, and why."""

from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from harness.peerdatabase import RELEASES, ZERO_TIME, PeerDatabase, stamp
from headscale.records import ApiKey, Node, PolicyText, PreAuthKey, RegisterMethod, User
from headscale.state.credentials import hash_secret
from tests.builders import NOW
from tests.property.peerdatabases import BCRYPT, OLD_KEY
from tests.unit.peer.imports import imported

OLDER = [release for release in RELEASES if release < "0.26"]


def with_alice(release: str = "0.29") -> PeerDatabase:
    """A database with user 1."""
    peer = PeerDatabase(release)
    peer.user("alice")
    return peer


def one_node(tmp_path: Path, release: str = "0.29", **cells: Any) -> tuple[Node, list[str]]:
    """The node that comes of a sound row with these cells, and how it was mended."""
    peer = with_alice(release)
    peer.node(1, 1, **cells)
    found = imported(peer, tmp_path)
    return found.only(Node), [text for _, text in found.told("nodes", "repaired")]


@pytest.mark.parametrize("release", RELEASES)
def test_a_sound_node_comes_in_as_it_is(tmp_path: Path, release: str) -> None:
    """Keys, addresses, names, host info, owner and times, from every release; nothing is mended."""
    node, mended = one_node(tmp_path, release, expiry=stamp(NOW + timedelta(days=1)))
    assert mended == []
    assert (node.id, node.user_id, node.tags, node.given_name) == (1, 1, (), "host1")
    assert node.machine_key == f"mkey:{1:064x}"
    assert node.node_key == f"nodekey:{1:064x}"
    assert node.disco_key == f"discokey:{1:064x}"
    assert node.addresses == (IPv4Address("100.64.0.2"), IPv6Address("fd7a:115c:a1e0::2"))
    assert (node.hostinfo.os, node.hostname) == ("linux", "host1")
    assert node.endpoints == ("192.0.2.1:41641",)
    assert node.expiry == NOW + timedelta(days=1)
    assert node.register_method is RegisterMethod.CLI
    assert node.last_seen is not None


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("none", [None, "", "null", "[]"])
def test_no_tags_is_said_in_four_ways(tmp_path: Path, release: str, none: str | None) -> None:
    """Such a node stays its user's."""
    node, mended = one_node(tmp_path, release, tags=none)
    assert (node.tags, node.user_id, mended) == ((), 1, [])


@pytest.mark.parametrize("release", RELEASES)
def test_a_tagged_node_is_its_tags(tmp_path: Path, release: str) -> None:
    """It loses its user and the end of its key, whatever its column of tags is called."""
    ends = stamp(NOW + timedelta(days=1))
    node, mended = one_node(tmp_path, release, tags='["tag:b","tag:a"]', expiry=ends)
    assert (node.tags, node.user_id, node.expiry) == (("tag:a", "tag:b"), None, None)
    assert len(mended) == 2


def test_tags_that_are_none_never_make_a_node_a_users(tmp_path: Path) -> None:
    """A node that had tags only of a wrong form is nobody's still."""
    for tags in ('["server"]', "{broken"):
        node, _ = one_node(tmp_path, tags=tags)
        assert (node.tags, node.user_id) == (("tag:imported",), None)


@pytest.mark.parametrize("zero", [ZERO_TIME, "0001-01-01 00:00:00-07:00", "1753-01-01 00:00:00+00:00"])
def test_the_zero_time_is_no_end(tmp_path: Path, zero: str) -> None:
    """A node's key does not end then, and the row is named."""
    node, mended = one_node(tmp_path, expiry=zero)
    assert node.expiry is None
    assert len(mended) == 1


@pytest.mark.parametrize("release", OLDER)
def test_enabled_routes_of_old_are_approved(tmp_path: Path, release: str) -> None:
    """Up to 0.25 routes had a table; those of no node, disabled and deleted ones are left out."""
    peer = with_alice(release)
    node = peer.node(1, 1)
    peer.add("routes", node_id=node, prefix="10.1.0.0/16", advertised=1, enabled=1)
    peer.add("routes", node_id=node, prefix="0.0.0.0/0", advertised=1, enabled=1)
    peer.add("routes", node_id=node, prefix="10.2.0.0/16", advertised=1, enabled=0)
    peer.add("routes", node_id=node, prefix="10.3.0.0/16", advertised=1, enabled=1, deleted_at=stamp())
    peer.add("routes", node_id=99, prefix="10.4.0.0/16", advertised=1, enabled=1)
    found = imported(peer, tmp_path)
    assert found.only(Node).approved_routes == ("0.0.0.0/0", "10.1.0.0/16", "::/0")
    assert found.counts["routes"] == (2, 0, 3)
    assert [row for row, _ in found.told("routes", "left out")] == ["3", "4", "5"]


def test_approved_routes_are_read_from_text_and_blob(tmp_path: Path) -> None:
    """Without host bits; what is no prefix is dropped and named."""
    node, mended = one_node(tmp_path, approved_routes=b'["10.1.2.3/16","nonsense"]')
    assert node.approved_routes == ("10.1.0.0/16",)
    assert any("nonsense" in text for text in mended)


def test_a_node_without_an_owner_gets_its_keys(tmp_path: Path) -> None:
    """As the peer's own repair has it; without such a key nobody could own it, and it is left out."""
    peer = with_alice()
    key = peer.add(
        "pre_auth_keys", prefix="0123456789ab", hash=BCRYPT, user_id=1, ephemeral=1, created_at=stamp()
    )
    peer.node(1, None, auth_key_id=key)
    peer.node(2, None)
    peer.node(3, 99)
    found = imported(peer, tmp_path)
    node = found.only(Node)
    assert (node.id, node.user_id, node.auth_key_id, node.ephemeral) == (1, 1, key, True)
    assert [row for row, _ in found.told("nodes", "left out")] == ["2", "3"]


def test_a_key_that_is_gone_is_no_nodes(tmp_path: Path) -> None:
    """A dangling `auth_key_id` is cleared."""
    node, mended = one_node(tmp_path, auth_key_id=17)
    assert node.auth_key_id is None
    assert len(mended) == 1


def test_nodes_that_share_something_are_told_apart(tmp_path: Path) -> None:
    """The one that was seen last is who the client is; names and addresses are given anew."""
    peer = with_alice()
    late, early = stamp(NOW), stamp(NOW - timedelta(days=1))
    first = peer.node(1, 1, last_seen=early)
    peer.node(2, 1, last_seen=late, node_key=f"nodekey:{1:064x}")  # takes the first one's place
    named = peer.node(3, 1, given_name="printer", last_seen=late)
    numbered = peer.node(4, 1, given_name="printer", ipv4="100.64.0.4", last_seen=early)
    same = peer.node(5, 1, machine_key=f"mkey:{3:064x}", last_seen=early)
    found = imported(peer, tmp_path)
    nodes = {node.id: node for node in found.all(Node)}
    assert sorted(nodes) == [2, named, numbered]
    assert [row for row, _ in found.told("nodes", "left out")] == [str(first), str(same)]
    assert [nodes[number].given_name for number in (named, numbered)] == ["printer", "printer-1"]
    assert nodes[named].ipv4 == IPv4Address("100.64.0.4")
    assert nodes[numbered].ipv4 == IPv4Address("100.64.0.1")  # the first that is free
    assert nodes[numbered].ipv6 == IPv6Address("fd7a:115c:a1e0::5")


def test_names_that_the_dns_cannot_have_become_labels(tmp_path: Path) -> None:
    """The peer's historic stand-ins stay, and are pointed out."""
    node, mended = one_node(tmp_path, given_name="Joe's Mac_mini")
    assert node.given_name == "joes-mac-mini"
    assert len(mended) == 1
    peer = with_alice()
    peer.node(1, 1, given_name="invalid-ab12cd")
    found = imported(peer, tmp_path)
    assert found.only(Node).given_name == "invalid-ab12cd"
    assert len(found.told("nodes", "noted")) == 1


def test_addresses_outside_the_prefixes_stay_and_are_named(tmp_path: Path) -> None:
    """Clients have them; what no node can have is replaced."""
    peer = with_alice()
    peer.node(1, 1, ipv4="10.9.8.7", ipv6="fe80::1%eth0")
    found = imported(peer, tmp_path)
    node = found.only(Node)
    assert node.addresses == (IPv4Address("10.9.8.7"), IPv6Address("fd7a:115c:a1e0::1"))
    assert any("10.9.8.7 is outside" in text for _, text in found.told("nodes", "noted"))


def test_host_info_that_cannot_be_read_is_no_loss(tmp_path: Path) -> None:
    """The client sends it again."""
    node, mended = one_node(tmp_path, host_info='{"OS":')
    assert node.hostinfo.os == ""
    assert len(mended) == 1


def test_requested_tags_that_the_policy_gave_are_written_down(tmp_path: Path) -> None:
    """Up to 0.27 the peer looked them up at each use; from its migration on they stand in the node."""
    policy = '{"tagOwners": {"tag:a": ["alice@"], "tag:b": ["bob@"]}}'
    asks = '{"RequestTags":["tag:a","tag:b"]}'
    for release, tags in (("0.27", ("tag:a",)), ("0.29", ())):
        peer = with_alice(release)
        peer.add("policies", data=policy, created_at=stamp())
        peer.node(1, 1, host_info=asks)
        assert imported(peer, tmp_path).only(Node).tags == tags
    peer = with_alice("0.27")
    peer.node(1, 1, host_info=asks)
    assert imported(peer, tmp_path, policy_file=policy).only(Node).tags == ("tag:a",)
    untold = imported(peer, tmp_path)
    assert untold.only(Node).tags == ()
    assert "there is no policy" in untold.told("nodes", "noted")[0][1]


def test_a_deleted_node_is_there_all_the_same(tmp_path: Path) -> None:
    """The peer reads past the mark, and so do its users."""
    node, mended = one_node(tmp_path, deleted_at=stamp())
    assert node.id == 1
    assert len(mended) == 1


def test_deleted_users_and_their_nodes_do_not_come_in(tmp_path: Path) -> None:
    """Nor do their keys without tags."""
    peer = with_alice()
    gone = peer.user("gone", deleted_at=stamp())
    peer.node(1, gone)
    peer.add("pre_auth_keys", prefix="0123456789ab", hash=BCRYPT, user_id=gone, created_at=stamp())
    found = imported(peer, tmp_path)
    assert found.only(User).name == "alice"
    assert found.counts["users"] == (1, 0, 1)
    assert found.counts["nodes"] == (0, 0, 1)
    assert found.counts["pre_auth_keys"] == (0, 0, 1)


def test_users_of_one_name_or_identity(tmp_path: Path) -> None:
    """Local ones of a name are numbered, rows of one identity are one user with all their nodes."""
    peer = with_alice()
    peer.user("alice")
    peer.user("", display_name="Nobody")
    one = peer.user("carol", provider="oidc", provider_identifier="https://idp/1")
    two = peer.user("carol", provider="oidc", provider_identifier="https://idp/1")
    peer.node(1, two)
    found = imported(peer, tmp_path)
    assert [(user.id, user.name) for user in found.all(User)] == [
        *((1, "alice"), (2, "alice-2"), (3, "user-3"), (one, "carol")),
    ]
    assert found.only(Node).user_id == one


@pytest.mark.parametrize("release", RELEASES)
def test_pre_auth_keys_of_both_forms(tmp_path: Path, release: str) -> None:
    """A bcrypt hash stays as it is; of a plain text only the SHA-256 comes in, under a prefix of its own length."""
    peer = with_alice(release)
    if release >= "0.28":
        peer.add(
            "pre_auth_keys", prefix="0123456789ab", hash=BCRYPT, user_id=1, reusable=1, created_at=stamp()
        )
    peer.add("pre_auth_keys", key=OLD_KEY, user_id=1, used=1, created_at=stamp())
    peer.add("pre_auth_keys", key="not a key", user_id=1, created_at=stamp())
    found = imported(peer, tmp_path)
    *hashed, plain = found.all(PreAuthKey)
    assert [(key.prefix, key.secret_hash, key.reusable) for key in hashed] == (
        [("0123456789ab", BCRYPT, True)] if release >= "0.28" else []
    )
    assert (plain.prefix, plain.secret_hash, plain.used) == (OLD_KEY[:11], hash_secret(OLD_KEY), True)
    assert OLD_KEY not in repr(found.plan)
    assert found.counts["pre_auth_keys"][2] == 1


def test_the_oldest_keys_have_their_tags_elsewhere(tmp_path: Path) -> None:
    """In 0.23 they had a table."""
    peer = with_alice("0.23")
    key = peer.add("pre_auth_keys", key=OLD_KEY, user_id=1, created_at=stamp())
    peer.add("pre_auth_key_acl_tags", pre_auth_key_id=key, tag="tag:a")
    peer.add("pre_auth_key_acl_tags", pre_auth_key_id=99, tag="tag:a")
    found = imported(peer, tmp_path)
    assert found.only(PreAuthKey).tags == ("tag:a",)
    assert found.counts["pre_auth_key_acl_tags"] == (1, 0, 1)


def test_when_keys_end(tmp_path: Path) -> None:
    """NULL is never, the zero time and what cannot be read are at once, and a revoked key has ended."""
    peer = with_alice("0.30")
    later = stamp(NOW + timedelta(days=1))
    for number, (ends, revoked) in enumerate(
        [(None, None), (ZERO_TIME, None), ("soon", None), (later, None), (later, stamp())]
    ):
        cells = {"hash": BCRYPT, "user_id": 1, "created_at": stamp(), "expiration": ends, "revoked": revoked}
        peer.add("pre_auth_keys", prefix=f"0123456789a{number}", **cells)
    ends_at = [key.expiration for key in imported(peer, tmp_path).all(PreAuthKey)]
    assert ends_at[0] is None
    assert ends_at[3] == NOW + timedelta(days=1)
    assert all(at is not None and at <= NOW for at in (ends_at[1], ends_at[2], ends_at[4]))


def test_api_keys_of_both_forms(tmp_path: Path) -> None:
    """Prefixes of 12 and of 7 characters; without a bcrypt hash there is nothing to verify."""
    peer = with_alice()
    for prefix, hashed in (("0123456789ab", BCRYPT), ("aB3_-xy", BCRYPT), ("ba9876543210", b"secret")):
        peer.add("api_keys", prefix=prefix, hash=hashed, created_at=stamp())
    found = imported(peer, tmp_path)
    assert [(key.prefix, key.secret_hash) for key in found.all(ApiKey)] == [
        *(("0123456789ab", BCRYPT), ("aB3_-xy", BCRYPT)),
    ]
    assert found.counts["api_keys"] == (2, 0, 1)


def test_the_newest_policy_is_the_policy(tmp_path: Path) -> None:
    """That was not deleted. One that cannot be used comes in, with its complaints."""
    peer = with_alice()
    for data, deleted in (("{}", None), ('{"acls": [{"src": []}]}', None), ("// gone", stamp())):
        peer.add("policies", data=data, created_at=stamp(), deleted_at=deleted)
    found = imported(peer, tmp_path)
    assert found.only(PolicyText).text == '{"acls": [{"src": []}]}'
    assert found.counts["policies"] == (1, 0, 2)
    assert "line 1" in found.told("policies", "noted")[0][1]


def test_tables_of_others_and_of_later_releases(tmp_path: Path) -> None:
    """Litestream's are named, OAuth clients are left out row by row, and the release is told."""
    peer = PeerDatabase("0.30", foreign=["_litestream_lock", "_litestream_seq"])
    peer.add("oauth_clients", client_id="a")
    found = imported(peer, tmp_path)
    assert found.plan.report.ignored == ("_litestream_lock", "_litestream_seq")
    assert found.counts["oauth_clients"] == (0, 0, 1)
    assert found.plan.report.release == "0.30"
