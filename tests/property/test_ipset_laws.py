"""Sets of addresses against plain sets of numbers, on the few addresses around the ends of both families."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headscale.ipset import (
    EMPTY,
    EVERYTHING,
    Address,
    IPSet,
    Network,
    of_addresses,
    of_networks,
    of_points,
    of_range,
    of_spans,
    point,
    span,
    union,
)

# Sixteen addresses at either end of each family: every law is about neighbours, and here all are neighbours.
FIRSTS = (0, (1 << 32) - 16, 1 << 128, (1 << 129) - 16)
WORLD = tuple(first + number for first in FIRSTS for number in range(16))
POINTS = st.sets(st.sampled_from(WORLD), max_size=24)
VALUES = st.sampled_from(WORLD)


def address_at(value: int) -> Address:
    return IPv6Address(value - (1 << 128)) if value >= 1 << 128 else IPv4Address(value)


def network_at(value: int, bits: int) -> Network:
    """The network of so many bits that this address is in."""
    address = address_at(value)
    if isinstance(address, IPv4Address):
        return IPv4Network((address, 32 - bits), strict=False)
    return IPv6Network((address, 128 - bits), strict=False)


# All networks of one to sixteen addresses in the world.
NETWORKS = tuple(dict.fromkeys(network_at(value, bits) for bits in range(5) for value in WORLD))


def networks() -> st.SearchStrategy[Network]:
    return st.sampled_from(NETWORKS)


def points_in(ips: IPSet) -> set[int]:
    return {value for first, past in ips.spans() for value in range(first, past)}


def points_of(network: Network) -> set[int]:
    return set(range(*span(network)))


def assert_whole(ips: IPSet) -> None:
    """Its bounds ascend, in pairs: equal sets are equal."""
    assert len(ips.bounds) % 2 == 0
    assert list(ips.bounds) == sorted({*ips.bounds})


@given(ours=POINTS, theirs=POINTS)
def test_operations_are_those_of_sets(ours: set[int], theirs: set[int]) -> None:
    """Union, difference and intersection have the points that they should, and equality is that of sets."""
    one, other = of_points(ours), of_points(theirs)
    for combined, expected in (
        (one | other, ours | theirs),
        (one - other, ours - theirs),
        (one & other, ours & theirs),
        (union([one, other, EMPTY, one]), ours | theirs),
    ):
        assert_whole(combined)
        assert points_in(combined) == expected
        assert combined == of_points(expected)
    assert (one == other) == (ours == theirs)
    assert bool(one) == bool(ours)


@given(points=POINTS, value=VALUES)
def test_a_point_more_or_less(points: set[int], value: int) -> None:
    """One point is put in or taken out as in any set, and asked for."""
    ips = of_points(points)
    assert ips.has_point(value) == (address_at(value) in ips) == (value in points)
    assert ips.with_point(value) == of_points(points | {value})
    assert ips.without_point(value) == of_points(points - {value})


@given(several=st.lists(networks(), max_size=4), points=POINTS)
def test_networks_meet_and_are_covered(several: list[Network], points: set[int]) -> None:
    """Each network of the world overlaps a set that has some of its addresses, and is covered by one that has all."""
    points = points.union(*map(points_of, several))
    ips = of_points(points)
    for network in NETWORKS:
        assert ips.overlaps(network) == bool(points & points_of(network)), network
        assert ips.covers(network) == (points >= points_of(network)), network


@given(several=st.lists(networks(), max_size=8))
def test_networks_make_a_set(several: list[Network]) -> None:
    """The set of networks has the addresses of each, whatever their order and overlap."""
    expected = {value for network in several for value in points_of(network)}
    assert points_in(of_networks(*several)) == expected
    assert of_networks(*reversed(several)) == of_spans(map(span, several)) == of_points(expected)


@given(points=POINTS)
def test_a_set_is_its_networks_and_ranges(points: set[int]) -> None:
    """Both make the same set again; no network can be joined to its neighbour."""
    ips = of_points(points)
    assert of_networks(*ips.networks()) == ips
    assert union(of_range(*both) for both in ips.ranges()) == ips
    assert of_addresses(map(address_at, points)) == ips
    listed = list(ips.networks())
    assert not any(a.supernet() == b.supernet() for a, b in pairwise(listed) if a.prefixlen)


def read(text: str) -> IPSet:
    """What a filter rule means by a text."""
    first, dash, last = text.partition("-")
    return of_range(ip_address(first), ip_address(last)) if dash else of_networks(ip_network(text))


@given(points=POINTS)
def test_texts_make_a_round_trip(points: set[int]) -> None:
    """One text for each interval, and together they are the set; what is a network is spelled as one."""
    ips = of_points(points)
    texts = ips.texts()
    assert len(texts) == len(ips.bounds) // 2
    assert union(map(read, texts)) == ips
    assert not any("-" in text for text in texts if len(list(read(text).networks())) == 1)


@given(points=POINTS)
def test_everything_but(points: set[int]) -> None:
    """A set and its complement share nothing, and together are everything."""
    ips = of_points(points)
    rest = EVERYTHING - ips
    assert not ips & rest
    assert ips | rest == EVERYTHING
    assert all(rest.has_point(value) == (value not in points) for value in WORLD)
    assert all(point(address_at(value)) == value for value in WORLD)
