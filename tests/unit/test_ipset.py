"""Sets of addresses: what is in them, how they are put together, and how they are spelled."""

from ipaddress import ip_address, ip_network

import pytest

from headscale.ipset import (
    EMPTY,
    EVERYTHING,
    IPSet,
    of_addresses,
    of_networks,
    of_points,
    of_range,
    of_spans,
    point,
    span,
    text_of,
    union,
)


def nets(*texts: str) -> IPSet:
    return of_networks(*map(ip_network, texts))


def addresses(*texts: str) -> IPSet:
    return of_addresses(map(ip_address, texts))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.0.0.0", "::"),
        ("255.255.255.255", "::ffff:ffff"),
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("0.0.0.1", "::1"),
    ],
)
def test_the_families_do_not_meet(one: str, other: str) -> None:
    """No IPv6 address is an IPv4 address, not even one that maps it."""
    assert point(ip_address(one)) != point(ip_address(other))
    assert ip_address(other) not in addresses(one)


@pytest.mark.parametrize(
    ("network", "size"),
    [("10.0.0.0/8", 1 << 24), ("10.0.0.1/32", 1), ("0.0.0.0/0", 1 << 32), ("::/0", 1 << 128)],
)
def test_the_span_of_a_network(network: str, size: int) -> None:
    """From its first point to the one past its last."""
    first, past = span(ip_network(network))
    assert (first, past - first) == (point(ip_network(network)[0]), size)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("9.255.255.255", False),
        ("10.0.0.0", True),
        ("10.0.0.255", True),
        ("10.0.1.0", False),
        ("fd00::", True),
        ("fd00::1:0:0:0:0", False),
        ("::a00:0", False),
    ],
)
def test_an_address_is_in_a_set(address: str, inside: bool) -> None:
    """From the first to the last of each network, and in its own family."""
    assert (ip_address(address) in nets("10.0.0.0/24", "fd00::/64")) is inside


def test_equal_sets_are_equal() -> None:
    """However they were put together."""
    whole = nets("10.0.0.0/23")
    assert whole == nets("10.0.1.0/24", "10.0.0.0/24") == nets("10.0.0.0/23", "10.0.0.7/32")
    assert whole == of_range(ip_address("10.0.0.0"), ip_address("10.0.1.255"))
    assert hash(whole) == hash(nets("10.0.1.0/24", "10.0.0.0/24"))


def test_the_empty_set_is_false() -> None:
    """Nothing is in it, and it meets nothing."""
    assert not EMPTY
    assert EMPTY == nets() == of_points([]) == of_spans([]) == union([]) == nets("::1") - nets("::1")
    assert nets("::1")
    assert not EMPTY.overlaps(ip_network("::/0"))
    assert not EMPTY.covers(ip_network("::1"))
    assert list(EMPTY.networks()) == list(EMPTY.ranges()) == []
    assert EMPTY.texts() == ()


def test_everything_has_both_families() -> None:
    """All of them and nothing else."""
    assert nets("0.0.0.0/0", "::/0") == EVERYTHING
    assert EVERYTHING.texts() == ("0.0.0.0/0", "::/0")
    assert EVERYTHING.covers(ip_network("::/0"))


@pytest.mark.parametrize(
    ("network", "overlaps", "covers"),
    [
        ("10.0.0.0/24", True, True),
        ("10.0.0.128/25", True, True),
        ("10.0.0.0/23", True, False),
        ("0.0.0.0/0", True, False),
        ("10.0.1.0/24", False, False),
        ("9.255.255.0/24", False, False),
        ("fd00::1/128", True, True),
        ("::/0", True, False),
    ],
)
def test_a_network_overlaps_or_is_covered(network: str, overlaps: bool, covers: bool) -> None:
    """One address in common, or all of them."""
    ips = nets("10.0.0.0/24", "fd00::/64")
    assert (ips.overlaps(ip_network(network)), ips.covers(ip_network(network))) == (overlaps, covers)


def test_set_operations() -> None:
    """Union, difference and intersection of sets of both families."""
    ours, theirs = nets("10.0.0.0/24", "fd00::/64"), nets("10.0.0.128/25", "10.0.1.0/24", "fd00::/65")
    assert ours | theirs == nets("10.0.0.0/23", "fd00::/64")
    assert ours - theirs == nets("10.0.0.0/25", "fd00::8000:0:0:0/65")
    assert ours & theirs == nets("10.0.0.128/25", "fd00::/65")
    assert union([ours, EMPTY, theirs]) == ours | theirs


@pytest.mark.parametrize("last", ["10.0.0.0", "::1"])
def test_no_range(last: str) -> None:
    """A range goes upwards in one family."""
    with pytest.raises(ValueError, match=f"10.0.0.1-{last} is no range of addresses"):
        of_range(ip_address("10.0.0.1"), ip_address(last))


def test_a_range_of_one() -> None:
    """Both ends are included, so it may have one address."""
    assert of_range(ip_address("::1"), ip_address("::1")) == addresses("::1")


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        (5, [(1, 3), (5, 6), (7, 9)]),
        (3, [(1, 4), (7, 9)]),
        (0, [(0, 3), (7, 9)]),
        (8, [(1, 3), (7, 9)]),
        (9, [(1, 3), (7, 10)]),
    ],
)
def test_a_point_more(value: int, spans: list[tuple[int, int]]) -> None:
    """Alone, at either end of an interval, or there already."""
    assert list(of_spans([(1, 3), (7, 9)]).with_point(value).spans()) == spans


def test_a_point_that_joins_two_intervals() -> None:
    """The gap between them is closed."""
    assert of_spans([(1, 3), (4, 6)]).with_point(3) == of_spans([(1, 6)])


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        (1, [(2, 4), (7, 8)]),
        (2, [(1, 2), (3, 4), (7, 8)]),
        (3, [(1, 3), (7, 8)]),
        (7, [(1, 4)]),
        (5, [(1, 4), (7, 8)]),
    ],
)
def test_a_point_less(value: int, spans: list[tuple[int, int]]) -> None:
    """From either end, the middle, an interval of its own, or not there at all."""
    assert list(of_spans([(1, 4), (7, 8)]).without_point(value).spans()) == spans


def test_the_networks_of_a_set() -> None:
    """As few as there can be, in order."""
    ips = of_range(ip_address("10.0.0.1"), ip_address("10.0.0.6")) | nets("fd00::/64")
    assert [str(network) for network in ips.networks()] == [
        *("10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32", "fd00::/64")
    ]


@pytest.mark.parametrize(
    ("ips", "text"),
    [
        (nets("10.0.0.1"), "10.0.0.1"),
        (nets("10.0.0.0/31"), "10.0.0.0/31"),
        (nets("0.0.0.0/0"), "0.0.0.0/0"),
        (nets("fd00::1"), "fd00::1"),
        (nets("fd00::/64"), "fd00::/64"),
        (nets("::/0"), "::/0"),
        (nets("10.0.0.1", "10.0.0.2"), "10.0.0.1-10.0.0.2"),
        (of_range(ip_address("10.0.0.0"), ip_address("10.0.0.2")), "10.0.0.0-10.0.0.2"),
        (of_range(ip_address("::1"), ip_address("::ff")), "::1-::ff"),
    ],
)
def test_an_interval_as_a_filter_spells_it(ips: IPSet, text: str) -> None:
    """An address, a network where it is one, else a range."""
    assert ips.texts() == (text,)
    assert text_of(*ips.bounds) == text
