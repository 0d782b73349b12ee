"""Bits, and what of a policy is worked out before any node is there."""

from ipaddress import ip_network

import pytest

from headscale.ipset import of_networks
from headscale.policy.bits import bits_of, numbers_of
from headscale.policy.program import INTERNET, TAILNET, Program, is_public
from tests.unit.policy.small import acl, engine, grant


def program(*acls: dict[str, object], **more: object) -> Program:
    return engine({"acls": list(acls), **more}).program


@pytest.mark.parametrize("numbers", [[], [0], [7], [8], [0, 63, 64, 999], list(range(100))])
def test_bits_are_numbers(numbers: list[int]) -> None:
    """A bit set has the numbers that were put there, ascending, however many bits are between."""
    bits = bits_of(reversed(numbers), 1000)
    assert bits == sum(1 << number for number in numbers)
    assert list(numbers_of(bits)) == numbers


@pytest.mark.parametrize(
    ("network", "here", "there"),
    [
        ("8.8.8.0/24", True, False),
        ("2000::/3", False, True),
        ("2001:db8::1", False, True),
        ("10.0.0.0/8", False, False),
        ("8.0.0.0/5", False, False),
        ("100.64.0.1", False, False),
        ("fd00::/8", False, False),
        ("0.0.0.0/0", False, False),
    ],
)
def test_public_addresses(network: str, here: bool, there: bool) -> None:
    """Those that are all on the internet, in their own family."""
    ips = of_networks(ip_network(network))
    assert (is_public(ips, 0), is_public(ips, 1)) == (here, there)


def test_the_tailnet_is_not_the_internet() -> None:
    """Nor has it the addresses that ChromeOS uses inside a machine."""
    assert not TAILNET & INTERNET
    assert not TAILNET.overlaps(ip_network("100.115.92.0/23"))
    assert TAILNET.covers(ip_network("100.115.94.0/24"))
    assert TAILNET.covers(ip_network("fd7a:115c:a1e0::/48"))


def test_rules_merge_into_the_first_alike() -> None:
    """The first row with the same sources and protocol; rows with `via` and those of capabilities stay."""
    found = engine(
        {
            "grants": [
                grant("ann@", "10.0.0.0/8", via=["tag:router"]),
                grant("ann@", "bob@", app={"x.org/a": []}),
                grant("ann@", "bob@", "tcp:1 *"),
                grant("ann@", "eve@", "tcp:2 udp:2 22"),
            ]
        }
    ).program
    assert [found.merged_into(number) for number in range(7)] == [0, 1, 2, 3, 2, 5, 3]


def test_rows_that_labels_do_not_decide() -> None:
    """One's own devices, what exit nodes serve by family, and what routers are named for."""
    found = program(
        acl("ann@", "autogroup:self:*"),
        acl("ann@", "8.8.8.8:*"),
        acl("ann@", "2000::/16:*"),
        acl("ann@", "autogroup:internet:*"),
        grants=[grant("ann@", "autogroup:internet", via=["tag:web", "tag:db"])],
    )
    assert found.own_rows == (1,)
    assert found.internet_rows == (frozenset({2, 4}), frozenset({3, 4}))
    assert found.via_rows == {"tag:web": [0], "tag:db": [0]}
