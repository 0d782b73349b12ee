"""The DNS set-up of a node: nearly always the one that all nodes share.

What makes one a node's own stands in `dns_for`, and nowhere else: streams share the message of a change only while
that gives back the shared set-up itself.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from msgspec.structs import replace

from headscale.mapper.render import dns_name
from headscale.mapper.view import own_look
from headscale.records import DNSSettings, Node, TailnetSettings
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.dns import DNSConfig, Resolver
from headscale.tailcfg.node import CapMap

# A resolver that may be told which device asks, and node attributes about it. The attribute's values are documented
# at tailscale.com/kb/1218/nextdns and in tailcfg.go ("nextdns:" and "nextdns:no-device-info", read by the server).
NEXTDNS_HOST: Final = "dns.nextdns.io"
NEXTDNS_ATTRIBUTE: Final = "nextdns:"
NO_DEVICE_INFO: Final = "nextdns:no-device-info"
_PROFILE: Final = re.compile(r"nextdns:([A-Za-z0-9._-]{1,64})")


def shared_dns(snapshot: Snapshot) -> DNSConfig:
    """Resolvers, search domains, records and, with MagicDNS, the reverse zones that clients answer themselves.

    A route of the operator's wins over a reverse zone.
    """
    settings, dns = snapshot.settings, snapshot.settings.dns
    resolvers = tuple(map(Resolver, dns.nameservers))
    routes: dict[str, tuple[Resolver, ...]] = {}
    if dns.magic_dns:
        for prefix in (settings.prefix_v4, settings.prefix_v6):
            if prefix is not None:
                routes.update(dict.fromkeys(reverse_zones(prefix), ()))
    routes.update({suffix: tuple(map(Resolver, servers)) for suffix, servers in dns.split.items()})
    domains = (*((dns.base_domain,) if dns.base_domain else ()), *dns.search_domains)
    return DNSConfig(
        resolvers=resolvers if dns.override_local_dns else (),
        fallback_resolvers=() if dns.override_local_dns else resolvers,
        routes=routes,
        domains=tuple(dict.fromkeys(domains)),
        proxied=dns.magic_dns,
        extra_records=snapshot.extra_records,
    )


def dns_for(shared: DNSConfig, snapshot: Snapshot, node: Node) -> DNSConfig:
    """The node's set-up: `shared` itself, unless something in it is the node's own."""
    made = _with_profile(shared, snapshot, node) if _has_nextdns(snapshot.settings.dns) else shared
    if (name := certificate_domain(snapshot.settings, node)) is not None:
        made = replace(made, cert_domains=(name,))
    return shared if made == shared else made


def is_own(snapshot: Snapshot) -> bool:
    """Whether a node's set-up may follow from what the node is, and change with it."""
    return snapshot.settings.dns.certificates or _has_nextdns(snapshot.settings.dns)


def certificate_domain(settings: TailnetSettings, node: Node) -> str | None:
    """The name for which a node may get certificates, without a final dot: its own. None where there are none."""
    return dns_name(settings, node).rstrip(".").lower() if settings.dns.certificates else None


def _with_profile(shared: DNSConfig, snapshot: Snapshot, node: Node) -> DNSConfig:
    """With the resolvers as this node is to ask them."""
    look = own_look(snapshot, node.id)
    addresses = [a for a in node.addresses if not (look.hides_ipv4 and a.version == 4)]
    device = {
        "device_ip": str(addresses[0]) if addresses else "",
        "device_model": node.hostinfo.os,
        "device_name": node.hostname,
    }
    told = urlencode(device) if NO_DEVICE_INFO not in look.capabilities else ""
    profile = _profile(look.capabilities)

    def own(resolvers: tuple[Resolver, ...]) -> tuple[Resolver, ...]:
        return tuple(_own_resolver(resolver, profile, told) for resolver in resolvers)

    return replace(
        shared,
        resolvers=own(shared.resolvers),
        fallback_resolvers=own(shared.fallback_resolvers),
        routes={suffix: own(resolvers) for suffix, resolvers in shared.routes.items()},
    )


def _has_nextdns(dns: DNSSettings) -> bool:
    return any(map(_is_nextdns, dns.nameservers)) or any(
        _is_nextdns(server) for servers in dns.split.values() for server in servers
    )


def _is_nextdns(server: str) -> bool:
    """By its host, not by how its text begins: what a device is called is nobody else's business."""
    url = urlsplit(server)
    return url.scheme == "https" and url.hostname == NEXTDNS_HOST


def _profile(capabilities: CapMap) -> str:
    """The profile that the policy gives the node, the lowest of several; empty for none."""
    found = (_PROFILE.fullmatch(name) for name in capabilities if name != NO_DEVICE_INFO)
    return min((match[1] for match in found if match), default="")


def _own_resolver(resolver: Resolver, profile: str, told: str) -> Resolver:
    if not _is_nextdns(resolver.addr):
        return resolver
    url = urlsplit(resolver.addr)
    query = "&".join(part for part in (url.query, told) if part)
    return Resolver(urlunsplit((url.scheme, url.netloc, f"/{profile}" if profile else url.path, query, "")))


@lru_cache(maxsize=8)  # every map has them
def reverse_zones(prefix: IPv4Network | IPv6Network) -> tuple[str, ...]:
    """The reverse zones that cover a prefix, cut at whole labels: 100.64.0.0/10 has 64 of them."""
    digit_bits = 8 if prefix.version == 4 else 4
    labels = -(-prefix.prefixlen // digit_bits)
    zones = []
    for subnet in prefix.subnets(new_prefix=labels * digit_bits):
        digits = subnet.network_address.reverse_pointer.split(".")
        skipped = prefix.max_prefixlen // digit_bits - labels
        zones.append(".".join(digits[skipped:]))
    return tuple(zones)
