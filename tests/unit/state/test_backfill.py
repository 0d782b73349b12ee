"""Addresses for nodes of a tailnet that has other prefixes now."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest

from headscale.errors import Unavailable
from headscale.records import TailnetSettings, Update
from headscale.state.backfill import backfill_addresses
from headscale.state.snapshot import Snapshot
from tests.builders import NOW, SETTINGS, moment, node, tailnet, with_nodes

ONLY_V4 = replace(SETTINGS, prefix_v6=None)


def with_three(settings: TailnetSettings = SETTINGS) -> Snapshot:
    """One node with both addresses, one with IPv4 only, one with none."""
    nodes = (node(1), node(2, ipv6=None), node(3, ipv4=None, ipv6=None))
    return with_nodes(tailnet("alice", settings=settings), *nodes)


def test_what_is_missing_is_given() -> None:
    """And what is there stays; clients and policy are told of those that changed."""
    effect = backfill_addresses(with_three(), moment())
    assert effect.result == (
        'assigned IPv6 "fd7a:115c:a1e0::2" to Node(2) "host2"',
        'assigned IPv4 "100.64.0.3" to Node(3) "host3"',
        'assigned IPv6 "fd7a:115c:a1e0::3" to Node(3) "host3"',
    )
    after = effect.snapshot
    assert [list(map(str, after.nodes[i].addresses)) for i in (1, 2, 3)] == [
        ["100.64.0.1", "fd7a:115c:a1e0::1"],
        ["100.64.0.2", "fd7a:115c:a1e0::2"],
        ["100.64.0.3", "fd7a:115c:a1e0::3"],
    ]
    assert effect.touched == {2, 3}
    assert effect.writes == (Update(after.nodes[2]), Update(after.nodes[3]))
    assert after.policy.subjects[3].ipv4 == IPv4Address("100.64.0.3")
    assert after.node_by_address[IPv6Address("fd7a:115c:a1e0::3")] == 3


def test_a_family_without_a_prefix_goes() -> None:
    """Its addresses rest."""
    effect = backfill_addresses(with_three(ONLY_V4), moment())
    assert effect.result == (
        'removing IPv6 "fd7a:115c:a1e0::1" from Node(1) "host1"',
        'assigned IPv4 "100.64.0.3" to Node(3) "host3"',
    )
    assert effect.snapshot.nodes[1].ipv6 is None
    assert effect.snapshot.released[IPv6Address("fd7a:115c:a1e0::1")] == NOW


def test_a_second_time_there_is_nothing_to_do() -> None:
    after = backfill_addresses(with_three(), moment()).snapshot
    again = backfill_addresses(after, moment())
    assert (again.snapshot, again.result, again.writes) == (after, (), ())


def test_a_full_prefix_changes_nothing() -> None:
    settings = replace(ONLY_V4, prefix_v4=IPv4Network("100.64.0.0/30"))
    with pytest.raises(Unavailable, match="no address is left"):
        backfill_addresses(with_nodes(with_three(settings), node(4, ipv4=None)), moment())
