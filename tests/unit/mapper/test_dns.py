"""The DNS set-up of a tailnet."""

from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import msgspec
import pytest

from headscale.mapper.dns import dns_for, reverse_zones, shared_dns
from headscale.policy.compiled import Compiled
from headscale.records import DNSSettings, Node
from headscale.state.policy import work_out
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.dns import DNSConfig, DNSRecord, Resolver
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import SETTINGS, node, tailnet, with_nodes

NEXTDNS = "https://dns.nextdns.io/common"


def snapshot_of(**dns: object) -> Snapshot:
    """A tailnet with this set-up."""
    return tailnet("alice", "bob", settings=replace(SETTINGS, dns=DNSSettings(**dns)))  # type: ignore[arg-type]


def config(**dns: object) -> DNSConfig:
    return shared_dns(snapshot_of(**dns))


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
    def zones(**absent: None) -> list[str]:
        return list(shared_dns(tailnet(settings=replace(SETTINGS, **absent))).routes)

    assert zones(prefix_v4=None) == ["0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa"]
    assert zones(prefix_v6=None) == [f"{second}.100.in-addr.arpa" for second in range(64, 128)]


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


def test_a_route_of_the_operators_wins_over_a_reverse_zone() -> None:
    """Somebody may have a server for addresses of the tailnet."""
    split = config(split={"64.100.in-addr.arpa": ("192.0.2.1",)})
    assert split.routes["64.100.in-addr.arpa"] == (Resolver("192.0.2.1"),)
    assert split.routes["65.100.in-addr.arpa"] == ()


def test_a_search_domain_is_there_once() -> None:
    assert config(base_domain="ts.example", search_domains=("corp", "ts.example")).domains == (
        "ts.example",
        "corp",
    )


def nextdns(policy: str = "", *, owner: int = 1, **dns: object) -> tuple[DNSConfig, DNSConfig]:
    """The shared set-up, and that of one node, with NextDNS and a policy."""
    snapshot = snapshot_of(nameservers=(NEXTDNS, "192.0.2.1"), override_local_dns=True, **dns)
    machine: Node = node(
        1, hostname='Joe\'s "Mac"', hostinfo=Hostinfo(os="macOS"), user_id=owner, cap_version=142
    )
    snapshot = with_nodes(snapshot, machine)
    if policy:
        compiled: Compiled = work_out(snapshot, policy).compiled
        snapshot = replace(snapshot, policy=compiled)
    shared = shared_dns(snapshot)
    return shared, dns_for(shared, snapshot, machine)


def attributes(*names: str) -> str:
    """A policy that gives alice's nodes these attributes."""
    return msgspec.json.encode({"nodeAttrs": [{"target": ["alice@"], "attr": list(names)}]}).decode()


DEVICE = "device_ip=100.64.0.1&device_model=macOS&device_name=Joe%27s+%22Mac%22"


def test_a_tailnet_without_nextdns_has_one_set_up() -> None:
    """The very same object, so that all streams share its message."""
    snapshot = with_nodes(snapshot_of(nameservers=("192.0.2.1",)), node(1))
    shared = shared_dns(snapshot)
    assert dns_for(shared, snapshot, snapshot.nodes[1]) is shared


def test_nextdns_is_told_which_device_asks() -> None:
    """In the URL, in Go's order and with its escapes; other resolvers are told nothing."""
    _, own = nextdns()
    assert own.resolvers == (Resolver(f"{NEXTDNS}?{DEVICE}"), Resolver("192.0.2.1"))


@pytest.mark.parametrize(
    "server", ["https://dns.nextdns.io.example/common", "https://dns.nextdns.io@example/", "192.0.2.1"]
)
def test_nobody_else_is_told_which_device_asks(server: str) -> None:
    snapshot = with_nodes(snapshot_of(nameservers=(server,)), node(1))
    shared = shared_dns(snapshot)
    assert dns_for(shared, snapshot, snapshot.nodes[1]) is shared


@pytest.mark.parametrize(
    ("names", "url"),
    [
        (["nextdns:abc123"], f"https://dns.nextdns.io/abc123?{DEVICE}"),
        (["nextdns:b", "nextdns:a"], f"https://dns.nextdns.io/a?{DEVICE}"),
        (["nextdns:no-device-info"], NEXTDNS),
        (["nextdns:abc123", "nextdns:no-device-info"], "https://dns.nextdns.io/abc123"),
        (["nextdns:a/../b"], f"{NEXTDNS}?{DEVICE}"),
        ([f"nextdns:{'x' * 65}"], f"{NEXTDNS}?{DEVICE}"),
    ],
)
def test_the_policy_chooses_a_nodes_profile(names: list[str], url: str) -> None:
    """The lowest of several; one that is no profile is passed over."""
    _, own = nextdns(attributes(*names))
    assert own.resolvers[0] == Resolver(url)


def test_the_policy_chooses_for_its_targets_only() -> None:
    _, own = nextdns(attributes("nextdns:abc123"), owner=2)
    assert own.resolvers[0] == Resolver(f"{NEXTDNS}?{DEVICE}")


def test_split_dns_and_fallbacks_may_be_nextdns_too() -> None:
    snapshot = snapshot_of(nameservers=(NEXTDNS,), split={"corp": (NEXTDNS,)})
    snapshot = with_nodes(snapshot, node(1))
    own = dns_for(shared_dns(snapshot), snapshot, snapshot.nodes[1])
    assert own.fallback_resolvers[0].addr.startswith(f"{NEXTDNS}?device_ip=")
    assert own.routes["corp"][0].addr.startswith(f"{NEXTDNS}?device_ip=")


def test_whoever_tells_nothing_shares_the_set_up() -> None:
    shared, own = nextdns(attributes("nextdns:no-device-info"))
    assert own is shared


def test_a_node_gets_certificates_for_its_own_name_alone() -> None:
    """In lower case and without a final dot, as clients compare it; nobody does while they are off."""
    one = node(1, given_name="Web")
    off = with_nodes(snapshot_of(base_domain="ts.example"), one)
    on = with_nodes(snapshot_of(base_domain="ts.example", certificates=True), one)
    assert dns_for(shared_dns(off), off, one).cert_domains == ()
    assert dns_for(shared_dns(on), on, one).cert_domains == ("web.ts.example",)
    assert shared_dns(on).cert_domains == ()
