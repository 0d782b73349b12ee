"""Which of many sets of addresses an address is in, or a network meets."""

from ipaddress import ip_address, ip_network

import pytest

from headscale.ipset import IPSet, of_networks, of_range, point, span
from headscale.policy.bits import numbers_of
from headscale.policy.lookup import STRIDE, AddressLookup, address_lookup


def sets() -> list[tuple[int, IPSet]]:
    nets = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "fd00::/64")
    ranges = [of_range(ip_address("10.1.2.1"), ip_address("10.1.2.6"))]
    return list(enumerate([*(of_networks(ip_network(net)) for net in nets), *ranges]))


@pytest.mark.parametrize(
    ("address", "numbers"),
    [
        ("10.1.2.3", {0, 1, 2, 3, 5}),
        ("10.1.2.1", {0, 1, 3, 5}),
        ("10.1.2.7", {0, 1, 3}),
        ("10.255.255.255", {0, 3}),
        ("11.0.0.0", {3}),
        ("fd00::1", {4}),
        ("fd00:0:0:1::", set()),
        ("::a00:1", set()),
    ],
)
def test_the_sets_that_an_address_is_in(address: str, numbers: set[int]) -> None:
    """Networks around it of any size, and ranges with both their ends; never of the other family."""
    assert set(numbers_of(address_lookup(sets()).containing(point(ip_address(address))))) == numbers


@pytest.mark.parametrize(
    ("network", "numbers"),
    [
        ("10.1.2.4/30", {0, 1, 3, 5}),
        ("10.1.2.8/29", {0, 1, 3}),
        ("10.0.0.0/7", {0, 1, 2, 3, 5}),
        ("0.0.0.0/0", {0, 1, 2, 3, 5}),
        ("10.1.2.3/32", {0, 1, 2, 3, 5}),
        ("::/0", {4}),
        ("fe00::/7", set()),
    ],
)
def test_the_sets_that_a_network_meets(network: str, numbers: set[int]) -> None:
    """Those around it, those within it, and those that it shares some addresses with."""
    assert set(numbers_of(address_lookup(sets()).meeting(*span(ip_network(network))))) == numbers


def test_a_lookup_of_nothing() -> None:
    """Without any addresses a lookup is false, and finds nothing."""
    assert not AddressLookup()
    assert not address_lookup([(0, IPSet())])
    assert AddressLookup().containing(1) == AddressLookup().meeting(0, 8) == 0
    assert address_lookup(sets())


@pytest.mark.parametrize("size", [STRIDE // 2, STRIDE // 2 + 1, STRIDE, 3 * STRIDE])
def test_more_bounds_than_a_stride(size: int) -> None:
    """Sets within each other, as many as there are: a point in the middle is in all, each step out in one less."""
    lookup = address_lookup((number, IPSet((number, 10 * size - number))) for number in range(size))
    assert lookup.containing(5 * size) == lookup.meeting(0, 10 * size) == (1 << size) - 1
    for number in range(size):
        assert lookup.containing(number) == lookup.containing(10 * size - number - 1) == (2 << number) - 1
    assert not lookup.containing(10 * size)
