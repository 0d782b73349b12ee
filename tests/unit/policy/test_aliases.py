"""Which words a rule may use, what each is read as, and what is said of those that are none."""

from ipaddress import ip_network

import pytest

from headscale.ipset import IPSet, of_networks
from headscale.policy.aliases import (
    ROLES,
    Addresses,
    Alias,
    Autogroup,
    Everyone,
    GroupName,
    Names,
    TagName,
    UserDomain,
    UserName,
    check_tag_name,
    read_addresses,
    read_alias,
)


def nets(*texts: str) -> IPSet:
    return of_networks(*map(ip_network, texts))


NAMES = Names(
    groups=frozenset({"group:eng"}),
    tags=frozenset({"tag:web"}),
    hosts={"printer": Addresses("printer", nets("10.0.0.9"))},
    domains=frozenset({"example.com"}),
)


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("*", Everyone()),
        ("  *\t", Everyone()),
        ("ann@example.com", UserName("ann@example.com")),
        ("ann@", UserName("ann@")),
        ("https://login.example.net/ann@id", UserName("https://login.example.net/ann@id")),
        ("user:*@example.com", UserDomain("user:*@example.com", "example.com")),
        ("group:eng", GroupName("group:eng")),
        ("tag:web", TagName("tag:web")),
        ("printer", Addresses("printer", nets("10.0.0.9"))),
        ("10.0.0.1", Addresses("10.0.0.1", nets("10.0.0.1"))),
        ("10.0.0.1/8", Addresses("10.0.0.1/8", nets("10.0.0.0/8"))),
        ("fd00::1", Addresses("fd00::1", nets("fd00::1"))),
        *(
            (f"autogroup:{name}", Autogroup(f"autogroup:{name}", name))
            for name in ("self", "internet", *ROLES)
        ),
    ],
)
def test_a_word_is_read_as(text: str, alias: Alias) -> None:
    """Every kind of word in a rule has one reading, and white space around it does not count."""
    assert read_alias(text, NAMES) == alias


def test_members_is_member() -> None:
    """The older spelling of autogroup:member is taken, and shown as it was written."""
    assert read_alias("autogroup:members", NAMES) == Autogroup("autogroup:members", "member")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a name must not be empty"),
        (" ", "a name must not be empty"),
        ("tag:printers", 'tag not found: "tag:printers"'),
        ("tag:wbe", 'tag not found: "tag:wbe", did you mean "tag:web"?'),
        ("group:hr", 'group not found: "group:hr"'),
        ("group:engg", 'group not found: "group:engg", did you mean "group:eng"?'),
        ("autogroup:tags", 'autogroup not found: "autogroup:tags"'),
        ("autogroup:tag", 'autogroup not found: "autogroup:tag"'),
        ("autogroup:inernet", 'autogroup not found: "autogroup:inernet", did you mean "autogroup:internet"?'),
        ("ipset:a", '"ipset:a": ipset names are not supported here'),
        ("svc:a", '"svc:a": svc names are not supported here'),
        ("posture:a", '"posture:a": posture names are not supported here'),
        ("cap:a", '"cap:a": cap names are not supported here'),
        ("ann @x", '"ann @x" is not a user: a login such as alice@example.com or alice@'),
        ("printe", 'host not found: "printe", did you mean "printer"?'),
        ("ann", 'host not found: "ann"'),
        ("10.0.0.0/33", 'host not found: "10.0.0.0/33"'),
        ("fe80::1%eth0", 'host not found: "fe80::1%eth0"'),
        ("10.0.0.9-10.0.0.1", 'host not found: "10.0.0.9-10.0.0.1"'),
        (
            "user:*@example.org",
            "example.org is not associated with this Tailnet and cannot be used in user:*@<domain> expressions",
        ),
    ],
)
def test_no_word_of_a_policy(text: str, message: str) -> None:
    """What names nothing is said to be missing, with the nearest name that there is."""
    with pytest.raises(ValueError) as caught:
        read_alias(text, NAMES)
    assert str(caught.value) == message


def test_any_domain_without_a_list() -> None:
    """A tailnet that has no list of login domains knows them all, but no pattern and no empty one."""
    assert read_alias("user:*@example.org", Names()) == UserDomain("user:*@example.org", "example.org")
    for text in ("user:*@", "user:*@*.org"):
        with pytest.raises(ValueError, match="not associated"):
            read_alias(text, Names())


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("10.0.0.1", ["10.0.0.1"]),
        ("10.1.2.3/8", ["10.0.0.0/8"]),
        ("0.0.0.0/0", ["0.0.0.0/0"]),
        ("10.0.0.1-10.0.0.4", ["10.0.0.1", "10.0.0.2/31", "10.0.0.4"]),
        ("10.0.0.1 - 10.0.0.1", ["10.0.0.1"]),
        ("::1-::2", ["::1", "::2"]),
        ("[fd00::1]", ["fd00::1"]),
        ("[fd00::]/64", ["fd00::/64"]),
    ],
)
def test_addresses(text: str, networks: list[str]) -> None:
    """An address, a prefix whatever its host bits, or a range with both its ends; IPv6 with brackets or without."""
    assert read_addresses(text) == nets(*networks)


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.0.0", "10.0.0.256", "10.0.0.0/", "10.0.0.0/33", "fd00::/129", "1-2", "10.0.0.2-10.0.0.1"),
        *(
            "10.0.0.1-::1",
            "10.0.0.1-",
            "-10.0.0.1",
            "10.0.0.0/8-10.0.0.1",
            "[fd00::1",
            "[]",
            "fe80::1%1",
            "a",
        ),
    ],
)
def test_no_addresses(text: str) -> None:
    """Anything else is refused: half a range, one over two families, an open bracket, a zone."""
    with pytest.raises(ValueError):
        read_addresses(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web", "tags must start with 'tag:'"),
        ("Tag:web", "tags must start with 'tag:'"),
        ("tag:", "tag names must start with a letter, after 'tag:'"),
        ("tag:1a", "tag names must start with a letter, after 'tag:'"),
        ("tag:é", "tag names must start with a letter, after 'tag:'"),
        ("tag:a b", "tag names can only contain letters, numbers and dashes, after 'tag:'"),
        ("tag:a_b", "tag names can only contain letters, numbers and dashes, after 'tag:'"),
        ("tag:a\n", "tag names can only contain letters, numbers and dashes, after 'tag:'"),
    ],
)
def test_no_name_of_a_tag(text: str, message: str) -> None:
    """A tag is a letter, then ASCII letters, digits and dashes."""
    with pytest.raises(ValueError) as caught:
        check_tag_name(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["tag:a", "tag:A-1", "tag:a-"])
def test_names_of_tags(text: str) -> None:
    """These are names of tags."""
    check_tag_name(text)
