"""Which addresses are given out, and which never."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from headscale.errors import Unavailable
from headscale.records import Allocation
from headscale.state.addresses import REST, allocate
from headscale.state.nodes import delete_node
from tests.builders import NOW, SETTINGS, moment, node, tailnet, with_nodes


def test_the_first_addresses_skip_the_network_itself() -> None:
    assert tuple(map(str, allocate(tailnet(), moment()))) == ("100.64.0.1", "fd7a:115c:a1e0::1")


def test_sequential_goes_on_after_the_last_one() -> None:
    snapshot = replace(tailnet(), last_ipv4=IPv4Address("100.64.0.9"))
    assert str(allocate(snapshot, moment())[0]) == "100.64.0.10"


def test_used_addresses_are_skipped() -> None:
    snapshot = with_nodes(tailnet(), node(1), node(2))
    assert tuple(map(str, allocate(snapshot, moment()))) == ("100.64.0.3", "fd7a:115c:a1e0::3")


@pytest.mark.parametrize(
    ("prefix", "last", "given"),
    [
        ("100.100.100.0/24", "100.100.100.99", "100.100.100.101"),
        ("100.115.0.0/16", "100.115.91.255", "100.115.94.0"),
        ("10.0.0.0/30", "10.0.0.2", "10.0.0.1"),
    ],
)
def test_reserved_addresses_are_skipped(prefix: str, last: str, given: str) -> None:
    settings = replace(SETTINGS, prefix_v4=IPv4Network(prefix), prefix_v6=None)
    snapshot = replace(tailnet(settings=settings), last_ipv4=IPv4Address(last))
    assert str(allocate(snapshot, moment())[0]) == given


def test_random_starts_where_the_die_says() -> None:
    settings = replace(SETTINGS, allocation=Allocation.RANDOM, prefix_v6=IPv6Network("fd00::/64"))
    v4, v6 = allocate(tailnet(settings=settings), moment())
    # The die shows the last address, the broadcast one; after it the walk starts over.
    assert (str(v4), str(v6)) == ("100.64.0.1", "fd00::1")


def test_a_full_prefix_says_so() -> None:
    settings = replace(SETTINGS, prefix_v4=IPv4Network("100.64.0.0/30"), prefix_v6=None)
    snapshot = with_nodes(tailnet(settings=settings), node(1, ipv6=None), node(2, ipv6=None))
    with pytest.raises(Unavailable, match=r"no address is left in 100\.64\.0\.0/30"):
        allocate(snapshot, moment())


def test_an_address_rests_before_someone_else_gets_it() -> None:
    settings = replace(SETTINGS, prefix_v4=IPv4Network("100.64.0.0/30"), prefix_v6=None)
    snapshot = with_nodes(tailnet(settings=settings), node(1, ipv6=None), node(2, ipv6=None))
    snapshot = delete_node(snapshot, moment(), node_id=2).snapshot
    with pytest.raises(Unavailable):
        allocate(snapshot, moment(NOW + REST - timedelta(seconds=1)))
    assert str(allocate(snapshot, moment(NOW + REST))[0]) == "100.64.0.2"


def test_a_tailnet_of_one_family_gives_one_address() -> None:
    settings = replace(SETTINGS, prefix_v4=None)
    assert tuple(map(str, allocate(tailnet(settings=settings), moment()))) == ("None", "fd7a:115c:a1e0::1")


def test_a_pool_gives_the_ipv4_address() -> None:
    """The first pool with an address left decides; the IPv6 address comes from where all do."""
    pools = [IPv4Network("100.81.0.0/32"), IPv4Network("100.82.0.0/30")]
    taken = with_nodes(tailnet(), node(1, ipv4=IPv4Address("100.81.0.0")))
    v4, v6 = allocate(taken, moment(), pools=pools)
    assert str(v4) == "100.82.0.1"
    assert v6 is not None
    assert v6 in IPv6Network("fd7a:115c:a1e0::/48")


def test_a_full_pool_is_said_by_name() -> None:
    """Nobody is given an address from outside of their pools."""
    taken = with_nodes(tailnet(), node(1, ipv4=IPv4Address("100.81.0.0")))
    with pytest.raises(Unavailable, match=r"100\.81\.0\.0/32"):
        allocate(taken, moment(), pools=[IPv4Network("100.81.0.0/32")])
