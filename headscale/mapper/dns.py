"""The DNS set-up that all nodes of a tailnet share."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from headscale.records import TailnetSettings
from headscale.tailcfg.dns import DNSConfig, Resolver


def dns_config(settings: TailnetSettings) -> DNSConfig:
    """Resolvers, search domains and, with MagicDNS, the reverse zones that clients answer themselves."""
    dns = settings.dns
    resolvers = tuple(map(Resolver, dns.nameservers))
    routes = {suffix: tuple(map(Resolver, servers)) for suffix, servers in dns.split.items()}
    if dns.magic_dns:
        for prefix in (settings.prefix_v4, settings.prefix_v6):
            if prefix is not None:
                routes.update(dict.fromkeys(reverse_zones(prefix), ()))
    return DNSConfig(
        resolvers=resolvers if dns.override_local_dns else (),
        fallback_resolvers=() if dns.override_local_dns else resolvers,
        routes=routes,
        domains=(*((dns.base_domain,) if dns.base_domain else ()), *dns.search_domains),
        proxied=dns.magic_dns,
        extra_records=dns.extra_records,
    )


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
