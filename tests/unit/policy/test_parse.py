"""A policy text is a document, or everything that is wrong with it is said at once, each where it stands.

A « in a text stands before what the complaint points at.
"""

import json

import pytest

from headscale.policy.complaints import COMPLAINTS_MAX, Complaint
from headscale.policy.document import Document
from headscale.policy.parse import ELSEWHERE, FIELDS, PolicyRefused, parse_policy
from tests.unit.policy.small import complaint, complaints

NO_OWNERS = ("self", "internet", "danger-all", "nonroot", "tagged")
KNOWN = f" (known are {', '.join(FIELDS)})"


def test_an_empty_policy_restricts_nothing() -> None:
    """Neither acls nor grants: the document is the empty one, with its text."""
    assert parse_policy("{} // all") == Document(text="{} // all")


@pytest.mark.parametrize(("section", "restricts"), [("acls", True), ("grants", True), ("ssh", False)])
def test_an_empty_section_is_not_an_absent_one(section: str, restricts: bool) -> None:
    """`"acls": []` restricts traffic, `"acls": null` says nothing."""
    assert parse_policy(f'{{"{section}": []}}').restricts is restricts
    assert parse_policy(f'{{"{section}": null}}').restricts is False


def test_the_text_is_kept() -> None:
    """Comments and white space are given back as they came, from bytes too."""
    text = '{ // who\n"groups": {},\n}\n'
    assert parse_policy(text.encode()).text == text


def test_names_of_fields_have_no_case() -> None:
    """Fields are found in any case, as Go's decoder finds them."""
    document = parse_policy('{"TAGOWNERS": {"tag:a": []}, "Acls": [{"ACTION": "accept", "SRC": ["tag:a"]}]}')
    assert [alias.text for alias in document.acls[0].sources] == ["tag:a"]
    assert list(document.tag_owners) == ["tag:a"]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("«", "", "the document is empty, expected a value"),
        ("«null", "", "expected an object, found null"),
        ("«[]", "", "expected an object, found a list"),
        ('«"x"', "", "expected an object, found a string"),
        ("«1", "", "expected an object, found a number"),
        ("«true", "", "expected an object, found true"),
        ('{"groups": «[]}', "groups", "expected an object, found a list"),
        ('{"groups": {"group:a": «"x@"}}', 'groups["group:a"]', "expected a list, found a string"),
        ('{"groups": {"group:a": ["x@", «false]}}', 'groups["group:a"][1]', "expected a string, found false"),
        ('{"groups": {"group:a": [«{}]}}', 'groups["group:a"][0]', "expected a string, found an object"),
        ('{"groups": {"group:a": [«null]}}', 'groups["group:a"][0]', "expected a string, found null"),
        ('{"acls": «{}}', "acls", "expected a list, found an object"),
        ('{"randomizeClientPort": «1}', "randomizeClientPort", "expected true or false, found a number"),
        ('{"randomizeClientPort": «"x"}', "randomizeClientPort", "expected true or false, found a string"),
        ('{\n  «"acl": []\n}', "acl", 'unknown field: "acl", did you mean "acls"?'),
        ('{«"SSHtest": []}', "SSHtest", 'unknown field: "SSHtest", did you mean "sshTests"?'),
        ('{«"zzz": []}', "zzz", f'unknown field: "zzz"{KNOWN}'),
        ('{"acls": [],\n «"ACLs": []}', "ACLs", 'duplicate field: "ACLs" stands for "acls" a second time'),
    ],
)
def test_what_is_wrong_with_its_form(text: str, path: str, message: str) -> None:
    """What is no policy, or has something else where a field should be."""
    assert complaints(text) == (complaint(text, path, message),)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_the_hosted_service_has_and_we_do_not(name: str) -> None:
    """A section that we do not read is refused by name, with what to do instead."""
    text = f'{{«"{name}": {{}}}}'
    assert complaints(text) == (complaint(text, name, ELSEWHERE[name]),)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (
            '{"groups": {«"eng": []}}',
            "groups.eng",
            'groups["eng"]: the name of a group must start with "group:"',
        ),
        (
            '{"groups": {«"group:": []}}',
            'groups["group:"]',
            'groups["group:"]: the name of a group must start with "group:"',
        ),
        (
            '{"groups": {"group:a": [«"group:b"], "group:b": []}}',
            'groups["group:a"][0]',
            'groups["group:a"]: "group:b": group members cannot be recursive',
        ),
        (
            '{"groups": {"group:a": [«"tag:b"]}}',
            'groups["group:a"][0]',
            'groups["group:a"]: "tag:b": only users can be in a group',
        ),
        (
            '{"groups": {"group:a": [«"autogroup:member"]}}',
            'groups["group:a"][0]',
            'groups["group:a"]: "autogroup:member": only users can be in a group',
        ),
        (
            '{"groups": {"group:a": ["a@", «"ann"]}}',
            'groups["group:a"][1]',
            '"ann" is not a user: a login such as alice@example.com or alice@',
        ),
        (
            '{"hosts": {«"a b@c": "10.0.0.1"}}',
            'hosts["a b@c"]',
            'hosts["a b@c"]: a host name has none of * @ : / in it',
        ),
        ('{"hosts": {«"": "10.0.0.1"}}', 'hosts[""]', 'hosts[""]: a host name has none of * @ : / in it'),
        (
            '{"hosts": {"a": «"10.0.0"}}',
            "hosts.a",
            '"10.0.0" is neither an address nor a prefix nor a range of addresses',
        ),
        ('{"hosts": {"a": «["10.0.0.1"]}}', "hosts.a", "expected a string, found a list"),
        ('{"tagOwners": {«"web": []}}', "tagOwners.web", "tagOwners[\"web\"]: tags must start with 'tag:'"),
        (
            '{"tagOwners": {«"tag:1": []}}',
            'tagOwners["tag:1"]',
            "tagOwners[\"tag:1\"]: tag names must start with a letter, after 'tag:'",
        ),
        (
            '{"tagOwners": {"tag:a": [«"group:x"]}}',
            'tagOwners["tag:a"][0]',
            'group not found: "group:x"',
        ),
        *(
            (
                f'{{"tagOwners": {{"tag:a": [«"{owner}"]}}}}',
                'tagOwners["tag:a"][0]',
                f'"{owner}" cannot own anything: owners are users, groups, tags and roles',
            )
            for owner in ("*", "10.0.0.1", *(f"autogroup:{name}" for name in NO_OWNERS))
        ),
    ],
)
def test_what_is_wrong_with_definitions(text: str, path: str, message: str) -> None:
    """Groups have users, hosts have addresses, tags have a name of their own and owners."""
    assert complaints(text) == (complaint(text, path, message),)


def test_definitions_may_come_last() -> None:
    """Groups, hosts and tags are known to rules that stand before them, and tags to each other."""
    document = parse_policy(
        '{"acls": [{"action": "accept", "src": ["group:a", "h", "tag:b"], "dst": []}],'
        ' "tagOwners": {"tag:a": ["tag:b"], "tag:b": ["group:a", "autogroup:admin", "x@"]},'
        ' "groups": {"group:a": ["x@", "user:*@example.com"]}, "hosts": {"h": "10.0.0.1"}}'
    )
    assert [alias.text for alias in document.acls[0].sources] == ["group:a", "h", "tag:b"]


def test_only_domains_of_the_tailnet() -> None:
    """With a list of login domains a group may name no other."""
    text = '{"groups": {"group:a": ["user:*@example.org"]}}'
    assert parse_policy(text, domains=frozenset({"example.org"})).domains == frozenset({"example.org"})
    with pytest.raises(PolicyRefused, match=r"example\.org is not associated with this Tailnet"):
        parse_policy(text, domains=frozenset({"example.com"}))


def test_everything_is_said_at_once() -> None:
    """Wrong things in several sections are told together, each with its place."""
    text = '{"groups": {"group:a": ["ann"]},\n"acls": [{"action": "drop", "src": ["tag:x"], "dst": ["*"]}],\n"z": 1}'
    assert [(c.line, c.path) for c in complaints(text)] == [
        (3, "z"),
        (1, 'groups["group:a"][0]'),
        (2, "acls[0].action"),
        (2, "acls[0].src[0]"),
        (2, "acls[0].dst[0]"),
    ]


@pytest.mark.parametrize(
    ("number", "more"), [(COMPLAINTS_MAX, ()), (COMPLAINTS_MAX + 1, (Complaint("and 1 more"),))]
)
def test_so_many_complaints_and_no_more(number: int, more: tuple[Complaint, ...]) -> None:
    """At the limit all are told; past it only how many there were."""
    found = complaints(json.dumps({"groups": {"group:a": ["x"] * number}}))
    assert len(found) == COMPLAINTS_MAX + len(more)
    assert found[COMPLAINTS_MAX:] == more
