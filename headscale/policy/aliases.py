"""Who and what a policy names: the words on either side of a rule, and what each stands for.

An alias is read once, without knowing any node. What depends on the tailnet (who is in a group, which node has a
tag) is left to `headscale.policy.who`. Every complaint is a ValueError whose text tells the writer of the policy
what was found; the recorded texts of the hosted service are used where one exists.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from typing import Final

from headscale.ipset import IPSet, of_networks, of_range

# Roles that a user may hold; each is an autogroup of the untagged nodes of its holders.
ROLES: Final = ("admin", "owner", "it-admin", "network-admin", "billing-admin", "auditor")
AUTOGROUPS: Final = ("member", "tagged", "self", "internet", "danger-all", "nonroot", *ROLES)

_TAG: Final = re.compile(r"tag:[A-Za-z][A-Za-z0-9-]*", re.ASCII)
_PROVIDER_ID: Final = re.compile(r"\S*@\S*")


@dataclass(frozen=True, slots=True)
class Everyone:
    """`*`: as a source the tailnet and its subnets, as a destination anything."""

    text: str = "*"


@dataclass(frozen=True, slots=True)
class UserName:
    """A user by login, e-mail or provider id; `name@` is a login without a domain."""

    text: str


@dataclass(frozen=True, slots=True)
class UserDomain:
    """`user:*@domain`: every user whose login ends so."""

    text: str
    domain: str


@dataclass(frozen=True, slots=True)
class GroupName:
    """`group:name`, defined in `groups`."""

    text: str


@dataclass(frozen=True, slots=True)
class TagName:
    """`tag:name`, defined in `tagOwners`."""

    text: str


@dataclass(frozen=True, slots=True)
class Autogroup:
    """`autogroup:name`; the name is one of AUTOGROUPS."""

    text: str
    name: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """An address, a prefix, a range, or a name from `hosts`: exactly these addresses, of one family."""

    text: str
    ips: IPSet


Alias = Everyone | UserName | UserDomain | GroupName | TagName | Autogroup | Addresses


@dataclass(frozen=True, slots=True)
class Names:
    """What a policy defines, for looking up what its rules use. `domains` None: any login domain is known."""

    groups: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    hosts: Mapping[str, Addresses] | None = None
    domains: frozenset[str] | None = None


def read_alias(text: str, names: Names) -> Alias:
    """The alias in this text; white space around it does not count. Raises ValueError."""
    text = text.strip()
    if not text:
        raise ValueError("a name must not be empty")
    if text == "*":
        return Everyone()
    if text.startswith("tag:"):
        return read_tag(text, names)
    if text.startswith("group:"):
        if text not in names.groups:
            raise ValueError(f'group not found: "{text}"{_nearest(text, names.groups)}')
        return GroupName(text)
    if text.startswith("autogroup:"):
        return read_autogroup(text)
    if text.startswith("user:*@"):
        return read_domain(text, "user:*@", names)
    if kind := next((kind for kind in ("ipset:", "svc:", "posture:", "cap:") if text.startswith(kind)), None):
        raise ValueError(f'"{text}": {kind.rstrip(":")} names are not supported here')
    if names.hosts is not None and text in names.hosts:
        return Addresses(text, names.hosts[text].ips)
    if "@" in text:
        return read_user(text)
    try:
        return Addresses(text, read_addresses(text))
    except ValueError:
        hosts = names.hosts or {}
        raise ValueError(f'host not found: "{text}"{_nearest(text, hosts)}') from None


def read_tag(text: str, names: Names) -> TagName:
    """A tag that is defined in `tagOwners`."""
    if text not in names.tags:
        raise ValueError(f'tag not found: "{text}"{_nearest(text, names.tags)}')
    return TagName(text)


def check_tag_name(text: str) -> None:
    """Whether this may be a tag's name at all; raises ValueError with the hosted service's text."""
    if not text.startswith("tag:"):
        raise ValueError("tags must start with 'tag:'")
    if not re.match(r"tag:[A-Za-z]", text, re.ASCII):
        raise ValueError("tag names must start with a letter, after 'tag:'")
    if not _TAG.fullmatch(text):
        raise ValueError("tag names can only contain letters, numbers and dashes, after 'tag:'")


def read_autogroup(text: str) -> Autogroup:
    """One of the built-in groups."""
    name = text.removeprefix("autogroup:")
    if name == "members":
        name = "member"
    if name not in AUTOGROUPS:
        raise ValueError(f'autogroup not found: "{text}"{_nearest(name, AUTOGROUPS, prefix="autogroup:")}')
    return Autogroup(text, name)


def read_user(text: str) -> UserName:
    """A user's name in a policy, which always has an @."""
    if not _PROVIDER_ID.fullmatch(text):
        raise ValueError(f'"{text}" is not a user: a login such as alice@example.com or alice@')
    return UserName(text)


def read_domain(text: str, prefix: str, names: Names) -> UserDomain:
    """`user:*@domain` or `localpart:*@domain`: the domain must be one of the tailnet's."""
    domain = text.removeprefix(prefix)
    if not domain or (names.domains is not None and domain not in names.domains) or "*" in domain:
        raise ValueError(
            f"{domain} is not associated with this Tailnet and cannot be used in user:*@<domain> expressions"
        )
    return UserDomain(text, domain)


def read_addresses(text: str) -> IPSet:
    """An address, a prefix (host bits are ignored) or a range `first-last`. Raises ValueError."""
    if "%" in text:
        raise ValueError(f'"{text}": an address in a policy has no zone')
    if "-" in text:
        first, last = text.split("-", 1)
        return of_range(ip_address(first.strip()), ip_address(last.strip()))
    if text.startswith("["):
        address, bracket, length = text[1:].partition("]")
        if not bracket:
            raise ValueError(f'"{text}": the bracket is never closed')
        text = address + length
    return of_networks(ip_network(text, strict=False))


def _nearest(
    text: str, known: "Mapping[str, object] | frozenset[str] | tuple[str, ...]", prefix: str = ""
) -> str:
    """`, did you mean …?`, when something like it exists."""
    close = get_close_matches(text, list(known), n=1, cutoff=0.75)
    return f', did you mean "{prefix}{close[0]}"?' if close else ""
