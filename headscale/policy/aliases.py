"""Who and what a policy names: the words on either side of a rule, and what each stands for.

An alias is read once, without knowing any node. What depends on the tailnet (who is in a group, which node has a
tag) is left to `headscale.policy.who`. Every complaint is a ValueError whose text tells the writer of the policy
what was found; the recorded texts of the hosted service are used where one exists.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from headscale.ipset import IPSet, of_networks, of_range, point

# Roles that a user may hold; each is an autogroup of the untagged nodes of its holders.
ROLES: Final = ("admin", "owner", "it-admin", "network-admin", "billing-admin", "auditor")
AUTOGROUPS: Final = ("member", "tagged", "self", "internet", "danger-all", "nonroot", *ROLES)

_TAG: Final = re.compile(r"tag:[A-Za-z][A-Za-z0-9-]*", re.ASCII)
# Kinds of names that the hosted service has and we do not.
_ELSEWHERE: Final = ("ipset:", "svc:", "posture:", "cap:")


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


# Of so many unknown names it is said which known one they are like, among so many, up to so long: it is a slow search.
HINTS_MAX: Final = 10
HINTS_AMONG: Final = 1000
HINT_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Names:
    """What a policy defines, for looking up what its rules use. `domains` None: any login domain is known."""

    groups: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    hosts: Mapping[str, Addresses] = field(default_factory=dict)
    domains: frozenset[str] | None = None
    _read: dict[str, Alias] = field(default_factory=dict, compare=False)
    _hints: Iterator[int] = field(default_factory=lambda: iter(range(HINTS_MAX)), compare=False)

    def hint(self, text: str, known: Collection[str], prefix: str = "") -> str:
        """`, did you mean …?`, when something like it exists."""
        if len(known) > HINTS_AMONG or len(text) > HINT_CHARS_MAX or next(self._hints, None) is None:
            return ""
        near = [name for name in known if abs(len(name) - len(text)) <= len(text) // 3 + 1]
        close = get_close_matches(text, near, n=1, cutoff=0.75)
        return f', did you mean "{prefix}{close[0]}"?' if close else ""


def read_alias(text: str, names: Names) -> Alias:
    """The alias in this text; white space around it does not count. Raises ValueError."""
    known = names._read.get(text)
    if known is None:
        known = names._read[text] = _read_alias(text.strip(), names)
    return known


def _read_alias(text: str, names: Names) -> Alias:
    if not text:
        raise ValueError("a name must not be empty")
    if text == "*":
        return Everyone()
    if text.startswith("tag:"):
        return read_tag(text, names)
    if text.startswith("group:"):
        if text not in names.groups:
            raise ValueError(f'group not found: "{text}"{names.hint(text, names.groups)}')
        return GroupName(text)
    if text.startswith("autogroup:"):
        return read_autogroup(text, names)
    if text.startswith("user:*@"):
        return read_domain(text, "user:*@", names)
    if text.startswith(_ELSEWHERE):
        raise ValueError(f'"{text}": {text.partition(":")[0]} names are not supported here')
    if text in names.hosts:
        return Addresses(text, names.hosts[text].ips)
    if "@" in text:
        return read_user(text)
    try:
        return Addresses(text, read_addresses(text))
    except ValueError:
        raise ValueError(f'host not found: "{text}"{names.hint(text, names.hosts)}') from None


def read_tag(text: str, names: Names) -> TagName:
    """A tag that is defined in `tagOwners`."""
    if text not in names.tags:
        raise ValueError(f'tag not found: "{text}"{names.hint(text, names.tags)}')
    return TagName(text)


def check_tag_name(text: str) -> None:
    """Whether this may be a tag's name at all; raises ValueError with the hosted service's text."""
    if not text.startswith("tag:"):
        raise ValueError("tags must start with 'tag:'")
    if not re.match(r"tag:[A-Za-z]", text, re.ASCII):
        raise ValueError("tag names must start with a letter, after 'tag:'")
    if not _TAG.fullmatch(text):
        raise ValueError("tag names can only contain letters, numbers and dashes, after 'tag:'")


def read_autogroup(text: str, names: Names) -> Autogroup:
    """One of the built-in groups."""
    name = text.removeprefix("autogroup:")
    if name == "members":
        name = "member"
    if name not in AUTOGROUPS:
        hint = names.hint(name, AUTOGROUPS, "autogroup:")
        raise ValueError(f'autogroup not found: "{text}"{hint}')
    return Autogroup(text, name)


def read_user(text: str) -> UserName:
    """A user's name in a policy, which always has an @."""
    if "@" not in text or any(char.isspace() for char in text):
        raise ValueError(f'"{text}" is not a user: a login such as alice@example.com or alice@')
    return UserName(text)


def fold_login(text: str) -> str:
    """Logins are compared without regard to case; `alice@` is the login `alice`."""
    return text.strip().removesuffix("@").casefold()


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
        if not bracket or (length and not length.startswith("/")):
            raise ValueError(f'"{text}": expected an address in brackets, such as [fd7a::1] or [fd7a::]/64')
        text = address + length
    return _read_network(text)


def _read_network(text: str) -> IPSet:
    """As `ip_network` reads it, in a fifth of the time: there may be a hundred thousand."""
    address, slash, length = text.partition("/")
    if slash and not (length.isascii() and length.isdigit()):
        return of_networks(ip_network(text, strict=False))
    value = IPv6Address(address) if ":" in address else IPv4Address(address)
    bits = value.max_prefixlen - (int(length) if slash else value.max_prefixlen)
    if bits < 0:
        raise ValueError(f'"{text}": the prefix is longer than an address')
    first = point(value) >> bits << bits
    return IPSet((first, first + (1 << bits)))
