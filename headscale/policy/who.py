"""Whom aliases stand for, said in labels that nodes carry.

A node carries labels by its owner or by its tags: `user:7`, `login:ann@example.com`, `group:eng`, `member`,
`role:admin`, `tag:web`, `tagged`. What an alias names is then a set of labels, or addresses that it spells out; neither
needs a user or a node, so a policy is resolved once, and both come and go without it being read again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    fold_login,
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
    """The users and groups of a tailnet, and which labels follow for whom.

    Rules name users by login and not by id, so that they stay as they are when users come and go: a user carries
    the labels of the logins and domains that the policy speaks of (`named`) and that are theirs.
    """

    people: Mapping[int, Person]
    _by_login: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    _groups_of: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    _named_of: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def person_ids(self, alias: UserName | UserDomain) -> tuple[int, ...]:
        """The users that this names. A login that fits several names nobody: better shut than open to the wrong one."""
        if isinstance(alias, UserDomain):
            domain = alias.domain.casefold()
            return tuple(p.id for p in self.people.values() if _domain(p.email) == domain)
        found = self._by_login.get(fold_login(alias.text), ())
        return found if len(found) == 1 else ()

    def present(self, aliases: Iterable[Alias]) -> Who:
        """As `who_of`, with the users of now in place of logins: it may name any login, and holds for now alone."""
        aliases = tuple(aliases)
        users = (alias for alias in aliases if isinstance(alias, UserName | UserDomain))
        ids = {person_id for user in users for person_id in self.person_ids(user)}
        who = who_of(alias for alias in aliases if not isinstance(alias, UserName | UserDomain))
        return replace(who, labels=who.labels | {f"user:{person_id}" for person_id in ids})

    def labels(self, kind: Kind) -> tuple[str, ...]:
        """The labels of nodes of this kind."""
        if isinstance(kind, tuple):
            return (*kind, TAGGED)
        person = self.people.get(kind)
        roles = tuple(f"role:{role}" for role in sorted(person.roles)) if person else ()
        named = self._named_of.get(kind, ())
        return (f"user:{kind}", MEMBER, *self._groups_of.get(kind, ()), *named, *roles)


def who_of(aliases: Iterable[Alias]) -> Who:
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
                labels.add(label_of(alias))
            case GroupName() | TagName():
                labels.add(alias.text)
            case Autogroup():
                _add_autogroup(alias.name, labels, flags)
    return Who(frozenset(labels), union(ips), **flags)


def label_of(alias: UserName | UserDomain) -> str:
    """The label of the users whom this names."""
    if isinstance(alias, UserDomain):
        return f"domain:{alias.domain.casefold()}"
    return f"login:{fold_login(alias.text)}"


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


def directory(
    people: Mapping[int, Person],
    groups: Mapping[str, tuple[UserName | UserDomain, ...]],
    named: Iterable[UserName | UserDomain] = (),
) -> Directory:
    """Look-ups of users by what a policy calls them; `named` are those whom it names outside of groups.

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
    whole = Directory(people, by_login)
    in_groups = ((group, member) for group, members in groups.items() for member in members)
    names_of = ((label_of(user), user) for user in {*named})
    groups_of = _labels_by_person(whole, in_groups)
    for person in people.values():
        if told := {f"group:{name}" for name in person.groups} & groups.keys():
            groups_of[person.id] = tuple(sorted({*groups_of.get(person.id, ()), *told}))
    return Directory(people, by_login, groups_of, _labels_by_person(whole, names_of))


def _labels_by_person(
    whole: Directory, labelled: Iterable[tuple[str, UserName | UserDomain]]
) -> dict[int, tuple[str, ...]]:
    found: dict[int, set[str]] = defaultdict(set)
    for label, user in labelled:
        for person_id in whole.person_ids(user):
            found[person_id].add(label)
    return {person_id: tuple(sorted(labels)) for person_id, labels in found.items()}


def _domain(email: str) -> str:
    return email.rpartition("@")[2].casefold() if "@" in email else ""


def _provider_names(person: Person) -> tuple[str, ...]:
    return (person.provider_identifier,) if person.provider_identifier else ()


def _e_mails(person: Person) -> tuple[str, ...]:
    return (person.email,) if person.email else ()


def _names(person: Person) -> tuple[str, ...]:
    return (person.name,) if person.name else ()
