"""The DNS set-up of a tailnet."""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import msgspec
import pytest

from headscale.mapper.dns import dns_config, reverse_zones
from headscale.records import DNSSettings
from headscale.tailcfg.dns import DNSConfig, DNSRecord, Resolver
from tests.builders import SETTINGS


def config(**dns: object) -> DNSConfig:
    return dns_config(replace(SETTINGS, dns=DNSSettings(**dns)))  # type: ignore[arg-type]


def test_the_shared_address_space_has_64_reverse_zones() -> None:
    """A /10 ends inside a label, so each value of that label is a zone."""
    zones = reverse_zones(IPv4Network("100.64.0.0/10"))
    assert zones == tuple(f"{second}.100.in-addr.arpa" for second in range(64, 128))


@pytest.mark.parametrize(
    ("prefix", "zones"),
    [
        ("10.0.0.0/8", ("10.in-addr.arpa",)),
        ("192.168.7.0/24", ("7.168.192.in-addr.arpa",)),
        ("192.168.6.0/23", ("6.168.192.in-addr.arpa", "7.168.192.in-addr.arpa")),
    ],
)
def test_other_prefixes_are_cut_at_whole_labels(prefix: str, zones: tuple[str, ...]) -> None:
    assert reverse_zones(IPv4Network(prefix)) == zones


def test_the_ula_prefix_has_one_reverse_zone() -> None:
    zones = reverse_zones(IPv6Network("fd7a:115c:a1e0::/48"))
    assert zones == ("0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa",)


def test_reverse_zones_are_answered_by_clients_themselves() -> None:
    """The list must be there and empty: clients drop a null."""
    encoded = msgspec.json.decode(msgspec.json.encode(config(base_domain="ts.example")))
    assert len(encoded["Routes"]) == 65
    assert set(map(tuple, encoded["Routes"].values())) == {()}


def test_without_magic_dns_nothing_is_answered_by_clients() -> None:
    plain = config(magic_dns=False, base_domain="ts.example", split={"corp": ("192.0.2.1",)})
    assert not plain.proxied
    assert plain.routes == {"corp": (Resolver("192.0.2.1"),)}


def test_a_tailnet_of_one_family_has_its_zones_only() -> None:
    settings = replace(SETTINGS, prefix_v4=None)
    assert list(dns_config(settings).routes) == ["0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa"]


def test_nameservers_replace_the_local_ones_or_stand_behind_them() -> None:
    """Presence in Resolvers is what overrides."""
    override = config(nameservers=("192.0.2.1",), override_local_dns=True)
    fallback = config(nameservers=("192.0.2.1",), override_local_dns=False)
    assert (override.resolvers, override.fallback_resolvers) == ((Resolver("192.0.2.1"),), ())
    assert (fallback.resolvers, fallback.fallback_resolvers) == ((), (Resolver("192.0.2.1"),))


def test_the_tailnets_own_domain_is_searched_first() -> None:
    assert config(base_domain="ts.example", search_domains=("corp",)).domains == ("ts.example", "corp")
    assert config(base_domain="", search_domains=("corp",)).domains == ("corp",)


def test_extra_records_travel_as_they_are() -> None:
    record = DNSRecord("printer.ts.example", "192.0.2.9", "A")
    assert config(extra_records=(record,)).extra_records == (record,)
