"""Extra DNS records as operators write them: `{name, type, value}`, checked before any client hears of them.

Clients answer A and AAAA only and skip in silence what they cannot read (tailscale v1.102.4, ipn/ipnlocal, dnsConfig),
so everything else is a complaint that names the entry. All of a set or nothing of it.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from headscale.errors import Malformed
from headscale.tailcfg.dns import DNSRecord

# Some ten thousand records; all of them go to every client.
MAX_BYTES: Final = 1024 * 1024
NAME_MAX: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_BYTE: Final = re.compile(r" \(byte (\d+)\)$")


def parse_records(text: bytes) -> tuple[DNSRecord, ...]:
    """The records of a JSON array, each once, in a fixed order. Raises Malformed with `line:column` or the entry."""
    try:
        entries = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as problem:
        raise Malformed(_placed(str(problem), text)) from None
    if not isinstance(entries, list):
        raise Malformed("expected a list of records: [{name, type, value}, ...]")
    return in_order(record_of(entry, f"entry {number}") for number, entry in enumerate(entries, start=1))


def in_order(records: Iterable[DNSRecord]) -> tuple[DNSRecord, ...]:
    """Each record once; the order says nothing, so that the same set is the same."""
    return tuple(sorted(set(records), key=lambda record: (record.name, record.type, record.value)))


def record_of(entry: object, where: str) -> DNSRecord:
    """One record: the name in lower case without its final dot, the type by the value when there is none.

    Keys are read in any case, as Go does; unknown ones are ignored. Raises Malformed, which begins with `where`.
    """
    if not isinstance(entry, dict):
        raise Malformed(f"{where}: expected name, type and value")
    given = {str(key).lower(): value for key, value in entry.items() if value is not None}
    name, kind, value = (given.get(part, "") for part in ("name", "type", "value"))
    if not (isinstance(name, str) and isinstance(kind, str) and isinstance(value, str)):
        raise Malformed(f"{where}: name, type and value are texts")
    where = f"{where} ({name})" if name else where
    domain = domain_name(name)
    if domain is None:
        raise Malformed(f"{where}: the name must be a full domain name, such as printer.example.com")
    address = _address(value)
    own_type = "A" if isinstance(address, ipaddress.IPv4Address) else "AAAA"
    if kind.upper() not in ("", "A", "AAAA"):
        raise Malformed(f"{where}: type {kind!r}: clients answer A and AAAA only")
    if address is None or kind.upper() not in ("", own_type):
        wanted = {"A": "an IPv4 address", "AAAA": "an IPv6 address"}.get(kind.upper(), "an IP address")
        raise Malformed(f"{where}: expected {wanted} as the value, got {value!r}")
    return DNSRecord(domain, str(address), own_type)


def domain_name(text: str) -> str | None:
    """The name in lower case without its final dot; None for what is no name that clients resolve."""
    name = text.lower().removesuffix(".")
    if len(name) > NAME_MAX or not all(map(_LABEL.fullmatch, name.split("."))):
        return None
    return name


def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(value) if "%" not in value else None
    except ValueError:
        return None


def _placed(problem: str, text: bytes) -> str:
    """A complaint about the byte at some offset, by line and column."""
    found = _BYTE.search(problem)
    if found is None:
        return problem
    before = text[: int(found[1])]
    line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
    return f"{line}:{column}: {problem[: found.start()]}"
