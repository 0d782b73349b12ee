"""Whom aliases stand for, said in labels that nodes carry.

A node carries labels by its owner or by its tags: `user:7`, `group:eng`, `member`, `role:admin`, `tag:web`,
`tagged`. What an alias names is then a set of labels, or addresses that it spells out; neither needs a node, so a
policy is resolved once for a set of users, and nodes come and go without it being read again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from headscale.ipset import EMPTY, IPSet, union
from headscale.policy.aliases import (
    Addresses,
    Alias,
    Autogroup,
    Everyone,
    GroupName,
    TagName,
    UserDomain,
    UserName,
)
from headscale.policy.subjects import Person

MEMBER: Final = "member"
TAGGED: Final = "tagged"

# What nodes have in common before their addresses: the owner's id, or the tags.
Kind = int | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Who:
    """Nodes with any of these labels, and these addresses.

    `everyone` is `*`, `anything` is `autogroup:danger-all` (any address at all), `own` is `autogroup:self` and
    `internet` is `autogroup:internet`: these depend on the other side of a rule or on the node itself.
    """

    labels: frozenset[str] = frozenset()
    ips: IPSet = EMPTY
    everyone: bool = False
    anything: bool = False
    own: bool = False
    internet: bool = False


@dataclass(frozen=True, slots=True)
class Directory:
    """The users and groups that a policy is resolved with."""

    people: Mapping[int, Person]
    groups: Mapping[str, tuple[UserName | UserDomain, ...]] = field(default_factory=dict)
    _by_login: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _groups_of: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def person_ids(self, alias: UserName | UserDomain) -> tuple[int, ...]:
        """The users that this names; several for a login only when the users themselves are ambiguous."""
        if isinstance(alias, UserDomain):
            ending = f"@{alias.domain}"
            return tuple(p.id for p in self.people.values() if p.email.endswith(ending))
        return self._by_login.get(fold_login(alias.text), ())

    def who(self, aliases: Iterable[Alias]) -> Who:
        """All that these aliases stand for together."""
        labels: set[str] = set()
        ips: list[IPSet] = []
        flags = dict.fromkeys(("everyone", "anything", "own", "internet"), False)
        for alias in aliases:
            match alias:
                case Everyone():
                    flags["everyone"] = True
                case Addresses():
                    ips.append(alias.ips)
                case UserName() | UserDomain():
                    found = self.person_ids(alias)
                    # A login that fits several people names nobody: better shut than open to the wrong one.
                    if isinstance(alias, UserDomain) or len(found) == 1:
                        labels.update(f"user:{person_id}" for person_id in found)
                case GroupName() | TagName():
                    labels.add(alias.text)
                case Autogroup():
                    _add_autogroup(alias.name, labels, flags)
        return Who(frozenset(labels), union(ips), **flags)

    def labels(self, kind: Kind) -> tuple[str, ...]:
        """The labels of nodes of this kind."""
        if isinstance(kind, tuple):
            return (*kind, TAGGED)
        person = self.people.get(kind)
        roles = tuple(f"role:{role}" for role in sorted(person.roles)) if person else ()
        return (f"user:{kind}", MEMBER, *self._groups_of.get(kind, ()), *roles)


def _add_autogroup(name: str, labels: set[str], flags: dict[str, bool]) -> None:
    match name:
        case "member" | "tagged":
            labels.add(name)
        case "self":
            flags["own"] = True
        case "internet":
            flags["internet"] = True
        case "danger-all":
            flags["anything"] = True
        case role:
            labels.add(f"role:{role}")


def fold_login(text: str) -> str:
    """Logins are compared without regard to case; `alice@` is the login `alice`."""
    return text.strip().removesuffix("@").casefold()


def directory(
    people: Mapping[int, Person], groups: Mapping[str, tuple[UserName | UserDomain, ...]]
) -> Directory:
    """Look-ups of users by what a policy calls them.

    The identity provider's own name for a user counts before an e-mail address, and that before a name, so that
    nobody is mistaken for another by choosing a name.
    """
    by_login: dict[str, tuple[int, ...]] = {}
    for names in (_provider_names, _e_mails, _names):
        found: dict[str, list[int]] = defaultdict(list)
        for person in people.values():
            for name in names(person):
                found[fold_login(name)].append(person.id)
        for login, ids in found.items():
            by_login.setdefault(login, tuple(ids))
    whole = Directory(people, groups, by_login)
    groups_of: dict[int, list[str]] = defaultdict(list)
    for group, members in groups.items():
        found_ids = {i for member in members for i in whole.person_ids(member) if _counts(whole, member)}
        for person_id in sorted(found_ids):
            groups_of[person_id].append(group)
    return Directory(people, groups, by_login, {i: tuple(names) for i, names in groups_of.items()})


def _counts(whole: Directory, member: UserName | UserDomain) -> bool:
    return isinstance(member, UserDomain) or len(whole.person_ids(member)) == 1


def _provider_names(person: Person) -> tuple[str, ...]:
    return (person.provider_identifier,) if person.provider_identifier else ()


def _e_mails(person: Person) -> tuple[str, ...]:
    return (person.email,) if person.email else ()


def _names(person: Person) -> tuple[str, ...]:
    return (person.name,) if person.name else ()
