"""The policy's rules as they are written: sources, one destination, protocols, ports. Nothing is resolved here.

Everything that is not understood is a ValueError, in whichever rule it stands.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.oracle.values import ICMP, ICMPV6, SCTP, TCP, UDP

Policy = Mapping[str, Any]
Ports = tuple[int, int]

ANY_PORT: Final[Ports] = (0, 65535)
DEFAULT_PROTOS: Final = (TCP, UDP, ICMP, ICMPV6)
WITH_PORTS: Final = (TCP, UDP, SCTP)
PROTOS: Final = {
    "icmp": ICMP,
    "igmp": 2,
    "ipv4": 4,
    "ip-in-ip": 4,
    "tcp": TCP,
    "egp": 8,
    "igp": 9,
    "udp": UDP,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": ICMPV6,
    "sctp": SCTP,
    "fc": 133,
}

SECTIONS: Final = {
    *("acls", "grants", "groups", "hosts", "tagOwners"),
    *("autoApprovers", "nodeAttrs", "randomizeClientPort", "ssh", "sshTests", "tests"),  # they admit nobody
}
ACL_FIELDS: Final = {"action", "src", "dst", "proto"}
GRANT_FIELDS: Final = {"src", "dst", "ip", "app", "via"}
SELF: Final = "autogroup:self"
INTERNET: Final = "autogroup:internet"


@dataclass(frozen=True, slots=True)
class Opening:
    """Who may send what to one destination. With `via`, only routers with one of these tags pass it on."""

    sources: tuple[str, ...]
    destination: str
    protos: tuple[int, ...] = DEFAULT_PROTOS
    ports: tuple[Ports, ...] = (ANY_PORT,)
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AppGrant:
    """Who is told what about one destination. It admits no packet, but makes both sides see each other."""

    sources: tuple[str, ...]
    destination: str
    capabilities: tuple[str, ...]
    via: tuple[str, ...] = ()


UNRESTRICTED: Final = Opening(("*",), "*")


def openings(policy: Policy) -> list[Opening]:
    """What the rules open. A policy with neither `acls` nor `grants` opens everything, an empty list nothing."""
    unknown = set(policy) - SECTIONS
    if unknown:
        raise ValueError(f"unknown policy sections {sorted(unknown)}")
    if "acls" not in policy and "grants" not in policy:
        return [UNRESTRICTED]
    opened = [opening for rule in _list(policy, "grants") for opening in _grant_openings(rule)]
    return opened + [opening for rule in _list(policy, "acls") for opening in _acl_openings(rule)]


def app_grants(policy: Policy) -> list[AppGrant]:
    """What the grants tell applications."""
    return [grant for rule in _list(policy, "grants") for grant in _app_grants(rule)]


def _acl_openings(rule: Mapping[str, Any]) -> Iterator[Opening]:
    fields = {name for name in rule if not name.startswith("#")}
    if fields - ACL_FIELDS or rule.get("action") != "accept":
        raise ValueError(f"not an acl that we understand: {rule}")
    proto = rule.get("proto", "")
    protos = (_proto(proto),) if proto else DEFAULT_PROTOS
    for text in _texts(rule, "dst"):
        alias, _, port_text = text.rpartition(":")
        ports = tuple(_port_range(each) for each in port_text.split(","))
        if proto and protos[0] not in WITH_PORTS and ports != (ANY_PORT,):
            raise ValueError(f"protocol {proto!r} has no ports, but {text!r} names some")
        yield Opening(_texts(rule, "src"), _without_brackets(alias), protos, ports)


def _grant_openings(rule: Mapping[str, Any]) -> Iterator[Opening]:
    if set(rule) - GRANT_FIELDS or not (rule.get("ip") or rule.get("app")):
        raise ValueError(f"not a grant that we understand: {rule}")
    if SELF in _texts(rule, "dst") and "*" in _texts(rule, "src"):
        raise ValueError(f"in grants, {SELF} is for users and groups, not for '*'")
    for entry in _texts(rule, "ip"):
        name, colon, port_text = entry.rpartition(":")
        protos = (_proto(name),) if colon else DEFAULT_PROTOS
        ports = _port_range(port_text)
        if colon and protos[0] not in WITH_PORTS and ports != ANY_PORT:
            raise ValueError(f"protocol {name!r} has no ports, but {entry!r} names some")
        for alias in _texts(rule, "dst"):
            yield Opening(_texts(rule, "src"), alias, protos, (ports,), _texts(rule, "via"))


def _app_grants(rule: Mapping[str, Any]) -> Iterator[AppGrant]:
    for alias in _texts(rule, "dst") if rule.get("app") else ():
        if alias == INTERNET:
            raise ValueError(f"{INTERNET} has no applications")
        yield AppGrant(_texts(rule, "src"), alias, tuple(rule["app"]), _texts(rule, "via"))


def _list(holder: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = holder.get(name, ())
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name!r} is not a list: {value!r}")
    return value


def _texts(rule: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(text.strip() for text in _list(rule, name))


def _proto(text: str) -> int:
    """A protocol's number from its name or number. A number has no leading zero."""
    if text in PROTOS:
        return PROTOS[text]
    if re.fullmatch(r"0|[1-9][0-9]{0,2}", text) and int(text) <= 255:
        return int(text)
    raise ValueError(f"unknown protocol {text!r}")


def _port_range(text: str) -> Ports:
    """`*`, a port or `first-last`; port 0 has no name of its own."""
    if text == "*":
        return ANY_PORT
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < first <= last <= 65535:
        raise ValueError(f"not a port or range of ports: {text!r}")
    return first, last


def _without_brackets(alias: str) -> str:
    """`[fd00::1]` and `[fd00::]/64` are how an IPv6 address may stand before a colon."""
    found = re.fullmatch(r"\[([^\]]*)\](.*)", alias)
    return found[1] + found[2] if found else alias
