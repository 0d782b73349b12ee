"""The `dns` section of a configuration: what clients resolve, and where."""

import ipaddress
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from headscale.errors import Malformed
from headscale.records import DNSSettings
from headscale.sources.extrarecords import domain_name, in_order, record_of
from headscale.tailcfg.dns import DNSRecord

DEFAULT_BASE_DOMAIN: Final = "tailnet.internal"
NO_NAMESERVER: Final = "is neither an IP address, with or without a port, nor an https:// URL"


class Values(Protocol):
    """The values as they were read, and where complaints go."""

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default."""

    def has(self, name: str) -> bool:
        """Whether the operator wrote the key."""

    def complain(self, name: str, what: str) -> None:
        """Something is wrong with this key."""


def dns_settings(values: Values, server_host: str) -> DNSSettings:
    """The section; whatever is wrong with it becomes complaints."""
    nameservers = values.get("dns.nameservers.global", ())
    for server in nameservers:
        _check_nameserver(values, "dns.nameservers.global", server)
    override = values.get("dns.override_local_dns", bool(nameservers))
    if override and not nameservers:
        values.complain(
            "dns.override_local_dns", "needs dns.nameservers.global: there is nothing to ask instead"
        )
    magic_dns = values.get("dns.magic_dns", True)
    return DNSSettings(
        magic_dns=magic_dns,
        base_domain=_base_domain(values, server_host, magic_dns=magic_dns),
        override_local_dns=override and bool(nameservers),
        nameservers=nameservers,
        split=_split(values),
        search_domains=_search_domains(values),
        extra_records=_extra_records(values),
        certificates=values.get("dns.certificates.backend") is not None,
    )


def extra_records_path(values: Values) -> Path | None:
    """The file of records that the server follows."""
    path: Path | None = values.get("dns.extra_records_path")
    if path is None:
        return None
    if values.has("dns.extra_records"):
        values.complain(
            "dns.extra_records_path", "give the records here or in a file, not both: drop dns.extra_records"
        )
    if not path.is_file():
        values.complain(
            "dns.extra_records_path", f"there is no file {path}; for no records yet write [] to it"
        )
    return path


def _base_domain(values: Values, server_host: str, *, magic_dns: bool) -> str:
    given = values.get("dns.base_domain", "" if values.has("dns.base_domain") else DEFAULT_BASE_DOMAIN)
    base: str = given.strip(".").lower()
    if magic_dns and not base:
        values.complain("dns.base_domain", "MagicDNS needs a domain: set one, or dns.magic_dns to false")
    if base and domain_name(base) is None:
        values.complain("dns.base_domain", f"{given!r} is not a domain name")
    if base and (server_host == base or server_host.endswith(f".{base}")):
        values.complain(
            "dns.base_domain",
            f"must not contain the server's own name {server_host}: clients could not find it",
        )
    return base


def _check_nameserver(values: Values, key: str, server: str) -> None:
    """What clients ask (tailscale v1.102.4, types/dnstype and net/dns/resolver): an address, or DNS over HTTPS."""
    if not is_nameserver(server):
        values.complain(key, f"{server!r} {NO_NAMESERVER}")


def is_nameserver(server: str) -> bool:
    """Whether clients can ask this."""
    try:
        if "://" in server:
            url = urlsplit(server)
            return url.scheme == "https" and bool(url.hostname)
        address, port = server, "53"
        if server.startswith("["):
            address, _, port = server[1:].partition("]:")
        elif server.count(":") == 1:
            address, _, port = server.partition(":")
        ipaddress.ip_address(address)
        return port.isascii() and port.isdecimal() and 0 < int(port) < 65536
    except ValueError:
        return False


def _split(values: Values) -> dict[str, tuple[str, ...]]:
    split: dict[str, tuple[str, ...]] = {}
    for domain, servers in values.get("dns.nameservers.split", {}).items():
        name = domain_name(domain)
        if name is None:
            values.complain("dns.nameservers.split", f"{domain!r} is not a domain name")
        elif isinstance(servers, list) and all(isinstance(server, str) for server in servers):
            for server in servers:
                _check_nameserver(values, "dns.nameservers.split", server)
            split[name] = tuple(map(str, servers))
        else:
            values.complain("dns.nameservers.split", f"{domain}: expected a list of servers")
    return split


def _search_domains(values: Values) -> tuple[str, ...]:
    domains = []
    for given in values.get("dns.search_domains", ()):
        if (name := domain_name(given)) is None:
            values.complain("dns.search_domains", f"{given!r} is not a domain name")
        else:
            domains.append(name)
    return tuple(domains)


def _extra_records(values: Values) -> tuple[DNSRecord, ...]:
    records = []
    for number, entry in enumerate(values.get("dns.extra_records", []), start=1):
        try:
            records.append(record_of(entry, f"entry {number}"))
        except Malformed as problem:
            values.complain("dns.extra_records", str(problem))
    return in_order(records)
