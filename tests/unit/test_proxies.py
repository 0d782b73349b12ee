"""Whom a request is from, with proxies in between that may be trusted or not."""

import pytest

from headscale.errors import Malformed
from headscale.proxies import HOPS_MAX, client_of, parse_proxy

pytestmark = pytest.mark.bar("A14")

TRUSTED = tuple(map(parse_proxy, ("127.0.0.1", "10.0.0.0/8", "fd00::/8", "203.0.113.0/24")))
PROXY = "127.0.0.1"
LIST, REAL, TRUE = "X-Forwarded-For", "X-Real-IP", "True-Client-IP"


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        # nobody is believed who is no proxy of ours
        ("198.51.100.7", {}, "198.51.100.7"),
        ("198.51.100.7", {LIST: ["192.0.2.1"]}, "198.51.100.7"),
        ("198.51.100.7", {REAL: ["192.0.2.1"], TRUE: ["192.0.2.2"]}, "198.51.100.7"),
        ("2001:db8::7", {LIST: ["127.0.0.1"]}, "2001:db8::7"),
        # a proxy that says nothing
        (PROXY, {}, PROXY),
        # one proxy
        (PROXY, {LIST: ["192.0.2.1"]}, "192.0.2.1"),
        (PROXY, {LIST: ["2001:db8::1"]}, "2001:db8::1"),
        (PROXY, {LIST: [" 192.0.2.1 "]}, "192.0.2.1"),
        # what the client wrote itself stands before what the proxy saw
        (PROXY, {LIST: ["127.0.0.1, 192.0.2.1"]}, "192.0.2.1"),
        (PROXY, {LIST: ["1.1.1.1, 8.8.8.8, 192.0.2.1"]}, "192.0.2.1"),
        (PROXY, {LIST: ["1.1.1.1", "192.0.2.1"]}, "192.0.2.1"),
        # a chain of ours
        (PROXY, {LIST: ["192.0.2.1, 10.1.1.1"]}, "192.0.2.1"),
        (PROXY, {LIST: ["6.6.6.6, 192.0.2.1, 203.0.113.9, 10.1.1.1"]}, "192.0.2.1"),
        (PROXY, {LIST: ["192.0.2.1", "10.1.1.1, fd00::1"]}, "192.0.2.1"),
        # a chain with a stranger in it: he is whom we know of
        (PROXY, {LIST: ["192.0.2.1, 198.51.100.7, 10.1.1.1"]}, "198.51.100.7"),
        # all are ours: it began at the first
        (PROXY, {LIST: ["10.2.2.2, 10.1.1.1"]}, "10.2.2.2"),
        # ports, brackets, zones, IPv4 in IPv6
        (PROXY, {LIST: ["192.0.2.1:1234"]}, "192.0.2.1"),
        (PROXY, {LIST: ["[2001:db8::1]:1234"]}, "2001:db8::1"),
        (PROXY, {LIST: ["[2001:db8::1]"]}, "2001:db8::1"),
        (PROXY, {LIST: ["::ffff:192.0.2.1"]}, "192.0.2.1"),
        ("::ffff:127.0.0.1", {LIST: ["192.0.2.1"]}, "192.0.2.1"),
        ("::ffff:198.51.100.7", {LIST: ["192.0.2.1"]}, "198.51.100.7"),
        ("fe80::1%eth0", {}, "fe80::1"),
        # nonsense is nobody's address, and neither is what stands before it
        (PROXY, {LIST: ["192.0.2.1, unknown"]}, PROXY),
        (PROXY, {LIST: ["192.0.2.1, , 10.1.1.1"]}, "10.1.1.1"),
        (PROXY, {LIST: ["192.0.2.1; DROP TABLE, 10.1.1.1"]}, "10.1.1.1"),
        (PROXY, {LIST: [""]}, PROXY),
        # headers of proxies that send no list
        (PROXY, {REAL: ["192.0.2.1"]}, "192.0.2.1"),
        (PROXY, {TRUE: ["192.0.2.1"]}, "192.0.2.1"),
        (PROXY, {REAL: ["192.0.2.1"], TRUE: ["6.6.6.6"]}, "192.0.2.1"),
        (PROXY, {REAL: ["nobody"], TRUE: ["192.0.2.1:99"]}, "192.0.2.1"),
        # a list outdoes them: a client may have written them
        (PROXY, {LIST: ["192.0.2.1"], REAL: ["6.6.6.6"], TRUE: ["6.6.6.7"]}, "192.0.2.1"),
        # a Unix socket has no address
        ("", {LIST: ["192.0.2.1"]}, ""),
    ],
)
def test_who_it_is(peer: str, headers: dict[str, list[str]], client: str) -> None:
    assert client_of(peer, headers, TRUSTED) == client


def test_without_trusted_proxies_the_peer_is_who_it_is() -> None:
    assert client_of(PROXY, {LIST: ["192.0.2.1"]}, ()) == PROXY


def test_a_list_without_end_is_read_from_its_end() -> None:
    hops = ", ".join(["192.0.2.1"] + ["10.1.1.1"] * (HOPS_MAX + 5))
    assert client_of(PROXY, {LIST: [hops]}, TRUSTED) == "10.1.1.1"


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("fd12::1/16", "fd12::/16"),
        (" ::1 ", "::1/128"),
    ],
)
def test_host_bits_are_dropped(text: str, network: str) -> None:
    assert str(parse_proxy(text)) == network


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "1.2.3.4/0", "nginx", "10.0.0.0/33", ""])
def test_everybody_and_nonsense_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_proxy(text)
