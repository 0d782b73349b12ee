"""Whom a name in a policy means, and which labels a node carries."""

from ipaddress import ip_network

import pytest

from headscale.ipset import of_networks
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
from headscale.policy.who import Who, directory, who_of
from tests.unit.policy.small import ANN, BOB, EVE


def ids(name: str, *people: Person) -> tuple[int, ...]:
    return directory({person.id: person for person in people}, {}).person_ids(UserName(name))


@pytest.mark.parametrize("name", ["ann@", "ANN@", "ann@example.com", "Ann@Example.COM", "https://idp/ann@7"])
def test_a_person_has_several_names(name: str) -> None:
    """The login with a trailing @, the e-mail address and the provider's identifier, in any case."""
    assert ids(name, Person(1, "ann", "ann@example.com", "https://idp/ann@7"), BOB) == (1,)


def test_an_e_mail_address_counts_before_a_name() -> None:
    """Who calls themself by another's address is not taken for them."""
    assert ids("ann@example.com", Person(9, "ann@example.com"), ANN) == (1,)


def test_the_providers_name_counts_before_an_e_mail_address() -> None:
    """Who has another's identifier as an address is not taken for them."""
    assert ids("x@idp", Person(9, "mallory", "x@idp"), Person(1, "ann", "ann@a", "x@idp")) == (1,)


@pytest.mark.parametrize(
    "people",
    [
        (Person(1, "ann"), Person(2, "Ann")),
        (Person(1, "a", "ann@"), Person(2, "b", "ANN@")),
        (Person(1, "a", "", "ann@"), Person(2, "b", "", "ann@"), Person(3, "ann")),
    ],
)
def test_an_ambiguous_name_names_nobody(people: tuple[Person, ...]) -> None:
    """Where a name fits several people of the same rank, none of them has the access, nor anybody of a lower rank."""
    assert ids("ann@", *people) == ()


@pytest.mark.parametrize("name", ["ghost@", "@", "an@", "ann@example.org"])
def test_a_name_of_nobody(name: str) -> None:
    """A policy may speak of those who have not joined; nobody without a name is meant by an empty one."""
    assert ids(name, ANN, Person(5, "", "", "")) == ()


@pytest.mark.parametrize(
    ("text", "folded"), [("Ann@", "ann"), (" ann ", "ann"), ("ann@@", "ann@"), ("ANN@X.ORG", "ann@x.org")]
)
def test_logins_are_folded(text: str, folded: str) -> None:
    """Case, white space around and one trailing @ do not count."""
    assert fold_login(text) == folded


@pytest.mark.parametrize(
    ("domain", "found"),
    [("example.com", (1, 2)), ("EXAMPLE.com", (1, 2)), ("ample.com", ()), ("example.net", (3,))],
)
def test_a_domain_names_all_who_log_in_there(domain: str, found: tuple[int, ...]) -> None:
    """The whole domain after the @ counts, in any case."""
    people = {1: Person(1, "ann", "Ann@Example.com"), 2: BOB, 3: EVE, 4: Person(4, "dan")}
    assert directory(people, {}).person_ids(UserDomain("", domain)) == found


NET = of_networks(ip_network("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("alias", "who"),
    [
        (Everyone(), Who(everyone=True)),
        (UserName("Bob@"), Who(frozenset({"login:bob"}))),
        (UserDomain("", "Example.com"), Who(frozenset({"domain:example.com"}))),
        (GroupName("group:eng"), Who(frozenset({"group:eng"}))),
        (TagName("tag:web"), Who(frozenset({"tag:web"}))),
        (Autogroup("", "member"), Who(frozenset({"member"}))),
        (Autogroup("", "tagged"), Who(frozenset({"tagged"}))),
        (Autogroup("", "admin"), Who(frozenset({"role:admin"}))),
        (Autogroup("", "self"), Who(own=True)),
        (Autogroup("", "internet"), Who(internet=True)),
        (Autogroup("", "danger-all"), Who(anything=True)),
        (Addresses("", NET), Who(ips=NET)),
    ],
)
def test_an_alias_stands_for(alias: Alias, who: Who) -> None:
    """Labels, addresses, or what only the other side of a rule decides; nobody need exist for it."""
    assert who_of((alias,)) == who


def test_aliases_together() -> None:
    """Several aliases stand for all that each of them stands for."""
    halves = [Addresses("", of_networks(ip_network(text))) for text in ("10.0.0.0/9", "10.128.0.0/9")]
    both = who_of((halves[0], TagName("tag:a"), halves[1], Everyone()))
    assert both == Who(frozenset({"tag:a"}), NET, everyone=True)


def test_the_users_of_now() -> None:
    """Where a question is about now, a login is the user who has it, named by the policy or not; or nobody."""
    known = directory({1: ANN, 2: BOB, 3: EVE}, {})
    who = known.present(
        (UserName("bob@"), UserName("ghost@"), UserDomain("", "example.net"), TagName("tag:a"))
    )
    assert who == Who(frozenset({"user:2", "user:3", "tag:a"}))


def test_labels_of_a_persons_nodes() -> None:
    """The owner, that they are a member, their groups, what the policy calls them, and their roles."""
    boss = Person(7, "boss", "boss@example.com", roles=frozenset({"owner", "admin"}))
    groups: dict[str, tuple[UserName | UserDomain, ...]] = {
        "group:z": (UserName("BOSS@"),),
        "group:a": (UserDomain("", "example.com"),),
        "group:no": (UserName("x@"),),
    }
    known = directory({7: boss}, groups, [UserName("boss@"), UserName("x@"), UserDomain("", "Example.com")])
    assert known.labels(7) == (
        *("user:7", "member", "group:a", "group:z", "domain:example.com", "login:boss"),
        *("role:admin", "role:owner"),
    )


def test_labels_of_a_stranger() -> None:
    """The owner of a node need not be known: it is a member's all the same."""
    assert directory({}, {}).labels(4) == ("user:4", "member")


def test_labels_of_tagged_nodes() -> None:
    """The tags and that there are some, but nothing of a person."""
    assert directory({1: ANN}, {}).labels(("tag:a", "tag:b")) == ("tag:a", "tag:b", "tagged")


def test_an_ambiguous_member_of_a_group() -> None:
    """A login that fits two people puts neither of them into the group; a domain does with both."""
    people = {1: Person(1, "ann", "ann@x.org"), 2: Person(2, "Ann", "anna@x.org")}
    known = directory(people, {"group:a": (UserName("ann@"),), "group:b": (UserDomain("", "x.org"),)})
    assert [known.labels(i)[2:] for i in (1, 2)] == [("group:b",), ("group:b",)]
