"""DNSConfig: resolvers, split routes, search domains and extra records."""

import msgspec

from headscale.tailcfg.names import wire_names


class Resolver(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """Where to ask: an IP address or a DNS-over-HTTPS URL."""

    addr: str


class DNSRecord(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """An extra record; `type` empty means A or AAAA by the value."""

    name: str
    value: str
    type: str = ""


class DNSConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """A client's whole DNS set-up.

    A route to an empty list is answered from MagicDNS; the list must be there (`[]`), because clients drop
    a `null`. `proxied` turns MagicDNS on.
    """

    resolvers: tuple[Resolver, ...] = ()
    routes: dict[str, tuple[Resolver, ...]] = {}
    fallback_resolvers: tuple[Resolver, ...] = ()
    domains: tuple[str, ...] = ()
    proxied: bool = False
    cert_domains: tuple[str, ...] = ()
    extra_records: tuple[DNSRecord, ...] = ()
