"""Small tailnets for tests of the policy engine: three people, devices with one address, and rules in one line."""

import json
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Final

import pytest

from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.complaints import Complaint
from headscale.policy.document import Document
from headscale.policy.parse import PolicyRefused, parse_policy
from headscale.policy.subjects import Person, Subject
from headscale.tailcfg.filters import FilterRule, PortRange

ANN: Final = Person(1, "ann", "ann@example.com")
BOB: Final = Person(2, "bob", "bob@example.com")
EVE: Final = Person(3, "eve", "eve@example.net")
TAGS: Final[dict[str, list[str]]] = {"tag:web": [], "tag:db": [], "tag:router": []}
# In a policy's text: what follows is what the complaint points at.
HERE: Final = "«"


def device(number: int, of: Person = ANN, *routes: str, six: bool = False) -> Subject:
    """Somebody's device at 100.64.0.number, and with `six` at fd7a:115c:a1e0::number."""
    return Subject(number, of.id, (), _four(number), _six(number) if six else None, _networks(routes))


def tagged(number: int, *tags: str, routes: Iterable[str] = (), six: bool = False) -> Subject:
    """A tagged node at 100.64.0.number, and with `six` at fd7a:115c:a1e0::number."""
    return Subject(number, None, tags, _four(number), _six(number) if six else None, _networks(routes))


def _four(number: int) -> IPv4Address:
    return IPv4Address(f"100.64.0.{number}")


def _six(number: int) -> IPv6Address:
    return IPv6Address(f"fd7a:115c:a1e0::{number:x}")


def _networks(texts: Iterable[str]) -> tuple[Any, ...]:
    return tuple(map(ip_network, texts))


def acl(src: str, dst: str, **more: Any) -> dict[str, Any]:
    """An entry of `acls`; several sources or destinations are parted by blanks."""
    return {"action": "accept", "src": src.split(), "dst": dst.split(), **more}


def grant(src: str, dst: str, ip: str = "*", **more: Any) -> dict[str, Any]:
    """An entry of `grants`; with an `app` it opens no port unless told."""
    return {"src": src.split(), "dst": dst.split(), "ip": [] if "app" in more else ip.split(), **more}


def parsed(policy: dict[str, Any]) -> Document:
    """The document; every tag in TAGS is defined."""
    return parse_policy(json.dumps({"tagOwners": TAGS, **policy}))


def engine(
    policy: dict[str, Any], *subjects: Subject, people: Iterable[Person] = (ANN, BOB, EVE)
) -> Compiled:
    """The policy, compiled for these nodes."""
    return compile_policy(
        parsed(policy),
        people={person.id: person for person in people},
        subjects=subjects,
        base_url="https://hs",
    )


def lines(rules: Iterable[FilterRule]) -> list[str]:
    """Filter rules for the eye: `proto source,source > destination:ports destination:ports`."""
    return [_line(rule) for rule in rules]


def _line(rule: FilterRule) -> str:
    protocols = "".join(f"{number} " for number in rule.ip_proto)
    opened = [f"{dst.ip}:{_ports(dst.ports)}" for dst in rule.dst_ports]
    opened += [f"{','.join(caps.dsts)} {'+'.join(caps.cap_map)}" for caps in rule.cap_grant]
    return f"{protocols}{','.join(rule.src_ips)} > {' '.join(opened)}"


def _ports(ports: PortRange) -> str:
    if ports == PortRange(0, 65535):
        return "*"
    return f"{ports.first}" if ports.first == ports.last else f"{ports.first}-{ports.last}"


def complaints(text: str) -> tuple[Complaint, ...]:
    """What is wrong with a policy that must be refused."""
    with pytest.raises(PolicyRefused) as caught:
        parse_policy(text.replace(HERE, ""))
    return caught.value.complaints


def complaint(text: str, path: str, message: str) -> Complaint:
    """A complaint about what HERE stands before."""
    before = text.partition(HERE)[0]
    return Complaint(message, before.count("\n") + 1, len(before) - before.rfind("\n"), path)
