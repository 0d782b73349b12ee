"""Policies for scenarios: short to write, and exactly what they say."""

import json
from typing import Any

import pytest

from harness import policies
from harness.policies import ALLOW_ALL, NOBODY, acl, grant, policy, ssh


def read(text: str) -> Any:
    return json.loads(text)


def test_a_grant_alone_is_a_policy() -> None:
    """One line gives a complete document; single texts become the lists that the language wants."""
    assert read(policy(grant("alice@", to="bob@", ip="tcp:80"))) == {
        "grants": [{"src": ["alice@"], "dst": ["bob@"], "ip": ["tcp:80"]}]
    }


def test_a_grant_without_more_opens_everything() -> None:
    """Who names no ports means all of them."""
    assert grant(["alice@", "bob@"], to="*")["ip"] == ["*"]


def test_a_grant_to_applications_opens_no_port() -> None:
    """A capability alone lets no packet through."""
    assert grant("*", to="*", app={"example.com/cap/x": [{}]}) == {
        "src": ["*"],
        "dst": ["*"],
        "app": {"example.com/cap/x": [{}]},
    }


def test_via_names_the_routers() -> None:
    """The routers' tags stand in the grant."""
    assert grant("*", to="10.0.0.0/8", via="tag:router")["via"] == ["tag:router"]


def test_rules_go_where_they_belong_in_order() -> None:
    """Grants, acls and ssh rules may be mixed; each section keeps the order given."""
    document = read(
        policy(
            acl("alice@", "bob@:22", proto="tcp"),
            grant("alice@", to="bob@"),
            ssh("alice@", to="bob@", users="root", action="check", checkPeriod="1h"),
            acl("*", "*:*"),
        )
    )
    assert [rule["dst"] for rule in document["acls"]] == [["bob@:22"], ["*:*"]]
    assert document["acls"][0]["proto"] == "tcp"
    assert [rule["dst"] for rule in document["grants"]] == [["bob@"]]
    assert document["ssh"] == [
        {"action": "check", "src": ["alice@"], "dst": ["bob@"], "users": ["root"], "checkPeriod": "1h"}
    ]


def test_every_tag_used_is_defined() -> None:
    """The language wants an owner's entry for each tag: in rules, before ports, as a router, as an approver."""
    text = policy(
        grant("tag:a", to="10.0.0.0/8", via="tag:b"),
        acl("tag:c", "tag:d:80,443"),
        routes={"10.0.0.0/8": "tag:e"},
        exit_nodes=["tag:f"],
        tag_owners={"tag:a": ["alice@"], "tag:g": ["bob@"]},
    )
    owners: dict[str, list[str]] = {f"tag:{letter}": [] for letter in "bcdef"}
    assert read(text)["tagOwners"] == owners | {"tag:a": ["alice@"], "tag:g": ["bob@"]}


def test_approvers_of_routes_and_exit_nodes() -> None:
    """Both kinds of approval are written in their own place."""
    text = policy(routes={"10.0.0.0/8": "alice@"}, exit_nodes="bob@")
    assert read(text)["autoApprovers"] == {"routes": {"10.0.0.0/8": ["alice@"]}, "exitNode": ["bob@"]}


def test_other_sections_are_passed_on() -> None:
    """What has no word of its own is given by its name."""
    assert read(policy(randomizeClientPort=True))["randomizeClientPort"] is True


def test_groups_and_hosts_stand_as_given() -> None:
    """Names for users and places."""
    document = read(policy(groups={"group:eng": ("erin@",)}, hosts={"lab": "10.0.0.0/8"}))
    assert document["groups"] == {"group:eng": ["erin@"]}
    assert document["hosts"] == {"lab": "10.0.0.0/8"}


def test_no_rules_let_nobody_through() -> None:
    """An empty list of grants closes the tailnet; leaving the list out would open it."""
    assert read(NOBODY) == {"grants": []}


def test_allow_all_is_one_grant() -> None:
    """Everything to everybody, in the language's own words."""
    assert read(ALLOW_ALL) == {"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}


@pytest.mark.parametrize(
    "text",
    [
        '{"acls": [1]}',
        '{"acls": [1,],}',
        '{ // all of it\n "acls": [1 /* , */ , ] }',
        '{"acls": /* "two" \n lines */ [1]}',
    ],
)
def test_comments_and_last_commas_are_left_out(text: str) -> None:
    """As people write policies."""
    assert policies.read(text) == {"acls": [1]}


def test_what_looks_like_a_comment_inside_a_text_stays() -> None:
    """A URL has two strokes, and a text may end in a quotation mark."""
    assert policies.read(r'{"a": "http://b,]", "c": "\\", "d": "\"//"}') == {
        "a": "http://b,]",
        "c": "\\",
        "d": '"//',
    }


def test_a_policy_is_an_object() -> None:
    """Everything else is a ValueError."""
    with pytest.raises(ValueError, match="a policy is an object"):
        policies.read("[]")
