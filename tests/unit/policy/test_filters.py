"""Packet filter rules as a node is sent them: which of them, merged how, and with which spelling."""

from typing import Any

import pytest

from headscale.policy.compiled import Compiled
from headscale.policy.filters import say_the_same
from headscale.policy.subjects import Subject
from tests.unit.policy.small import ANN, BOB, acl, device, engine, grant, lines, tagged


def told(subject: Subject, *acls: dict[str, Any], others: tuple[Subject, ...] = (), **more: Any) -> list[str]:
    """The filter of a node, for the eye."""
    return lines(engine({"acls": list(acls), **more}, subject, *others).filter_of(subject.id))


HOSTS: dict[str, Any] = {
    "hosts": {"net": "100.64.0.0/30", "range": "100.64.0.1-100.64.0.3", "far": "10.0.0.1"}
}


@pytest.mark.parametrize(
    ("dst", "opened"),
    [
        ("ann@:22", ["100.64.0.1:22 fd7a:115c:a1e0::1:22"]),
        ("*:22", ["*:22"]),
        ("100.64.0.1:22", ["100.64.0.1:22"]),
        ("net:22", ["100.64.0.0/30:22"]),
        ("range:22", ["100.64.0.1-100.64.0.3:22"]),
        ("far:22", []),
        ("bob@:22", []),
        ("fd7a:115c:a1e0::1:22", ["fd7a:115c:a1e0::1:22"]),
        ("ann@:22,80-90", ["100.64.0.1:22 100.64.0.1:80-90 fd7a:115c:a1e0::1:22 fd7a:115c:a1e0::1:80-90"]),
        ("bob@:22 net:* ann@:80", ["100.64.0.0/30:* 100.64.0.1:80 fd7a:115c:a1e0::1:80"]),
        ("autogroup:internet:*", []),
    ],
)
def test_only_what_concerns_the_node(dst: str, opened: list[str]) -> None:
    """Its own addresses for what names nodes, and the policy's spelling for what is written as addresses."""
    found = told(device(1, six=True), acl("192.0.2.1", dst), **HOSTS)
    assert found == [f"192.0.2.1 > {ports}" for ports in opened]


@pytest.mark.parametrize(
    ("routes", "opened"),
    [
        (("10.0.0.0/8",), ["10.0.0.1:*", "10.0.0.0/16:*"]),
        (("10.0.128.0/17",), ["10.0.0.0/16:*"]),
        (("10.1.0.0/16",), []),
        (("0.0.0.0/0",), ["8.8.8.8:*"]),
        (("::/0",), []),
    ],
)
def test_what_a_router_lets_through(routes: tuple[str, ...], opened: list[str]) -> None:
    """All that is written as addresses and that its routes meet; as an exit node what is on the internet."""
    rules = [
        acl("192.0.2.1", f"{dst}:*", proto=proto)
        for dst, proto in (("10.0.0.1", "1"), ("10.0.0.0/16", "2"), ("8.8.8.8", "3"))
    ]
    found = told(tagged(1, "tag:router", routes=routes), *rules)
    assert [line.partition(" > ")[2] for line in found] == opened


def test_the_internet_behind_an_exit_node() -> None:
    """Public addresses of the families that it serves."""
    (line,) = told(device(1, ANN, "::/0"), acl("192.0.2.1", "autogroup:internet:*"))
    assert line == "192.0.2.1 > 2000::/3:*"


@pytest.mark.parametrize("tag", ["tag:router", "tag:web"])
def test_a_via_rule_is_for_its_routers(tag: str) -> None:
    """The one with the tag opens the route; the other does not, nor is a destination named so opened at itself."""
    node = tagged(1, tag, routes=["10.0.0.0/8"])
    found = told(node, grants=[grant("192.0.2.1", "10.1.0.0/16 100.64.0.1", "22", via=["tag:router"])])
    assert found == (["192.0.2.1 > 10.1.0.0/16:22"] if tag == "tag:router" else [])


def test_rules_with_the_same_sources_and_protocol_are_merged() -> None:
    """Into the first of them, even one that is about other nodes; equal ports once; others stay apart."""
    found = told(
        device(1),
        acl("192.0.2.1", "bob@:1"),
        acl("192.0.2.2", "ann@:2"),
        acl("192.0.2.1", "ann@:3"),
        acl("192.0.2.1", "ann@:4 ann@:3"),
        acl("192.0.2.1", "ann@:5", proto="tcp"),
    )
    assert found == [
        "192.0.2.1 > 100.64.0.1:3 100.64.0.1:4",
        "192.0.2.2 > 100.64.0.1:2",
        "6 192.0.2.1 > 100.64.0.1:5",
    ]


def test_rules_whose_sources_are_nobody_are_left_out() -> None:
    """But for capabilities, which keep their rule (recording grant-h6)."""
    assert told(device(1), acl("bob@", "ann@:22")) == []
    assert told(device(1), grants=[grant("bob@", "ann@", app={"x.org/a": []})]) == [
        " > 100.64.0.1/32 x.org/a"
    ]


def test_own_devices_hear_each_other() -> None:
    """Each node hears its own person's, and nobody tagged hears anything."""
    others = (device(2, ANN), device(3, BOB), tagged(4, "tag:web"))
    rules = (acl("autogroup:member", "autogroup:self:22"),)
    assert told(device(1), *rules, others=others) == ["100.64.0.1-100.64.0.2 > 100.64.0.1:22"]
    assert told(tagged(4, "tag:web"), *rules, others=others[:2]) == []


@pytest.mark.parametrize(
    ("dst", "at"),
    [
        ("ann@", "100.64.0.1/32,fd7a:115c:a1e0::1/128"),
        ("*", "100.64.0.1/32,fd7a:115c:a1e0::1/128"),
        ("autogroup:self", "100.64.0.1/32,fd7a:115c:a1e0::1/128"),
        ("100.64.0.0/24", "100.64.0.1/32"),
        ("100.64.0.2", None),
        ("bob@", None),
    ],
)
def test_capabilities_at_a_nodes_own_addresses(dst: str, at: str | None) -> None:
    """All of them, or those that the policy spells out; never a network."""
    found = told(device(1, six=True), grants=[grant("ann@", dst, app={"x.org/a": [], "x.org/b": []})])
    sources = "100.64.0.1,fd7a:115c:a1e0::1"
    assert found == ([f"{sources} > {at} x.org/a+x.org/b"] if at else [])


def test_rules_with_capabilities_are_not_merged() -> None:
    """Each grant has its own (recordings acl-mr*, grant-g1)."""
    found = told(
        device(1), grants=[grant("192.0.2.1", "ann@", app={name: []}) for name in ("x.org/a", "x.org/b")]
    )
    assert found == ["192.0.2.1 > 100.64.0.1/32 x.org/a", "192.0.2.1 > 100.64.0.1/32 x.org/b"]


def test_values_are_sent_as_they_were_written() -> None:
    """The application reads them, not we."""
    compiled = engine({"grants": [grant("*", "*", app={"x.org/a": [{"k": [1, None]}]})]}, device(1))
    (rule,) = compiled.filter_of(1)
    assert bytes(rule.cap_grant[0].cap_map["x.org/a"][0]) == b'{"k":[1,null]}'


def template(compiled: Compiled, node_id: int) -> Any:
    return compiled._template(compiled.nodes[node_id])


def test_a_fixed_filter_names_no_node() -> None:
    """Without a node's own addresses in it, it is the same for all of a kind."""
    nodes = (device(1), device(2))
    assert template(engine({"acls": [acl("*", "*:*")]}, *nodes), 1).is_fixed
    assert not template(engine({"acls": [acl("*", "ann@:*")]}, *nodes), 1).is_fixed


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"hosts": {"x": "10.0.0.1"}}, True),
        ({"acls": [acl("*", "ann@:23")]}, False),
        ({"acls": [acl("bob@", "ann@:22")]}, False),
        ({"acls": [acl("*", "ann@:22", proto="tcp")]}, False),
        ({"acls": [acl("*", "ann@:22"), acl("tag:web", "ann@:22")]}, False),
    ],
)
def test_filters_of_different_policies_may_say_the_same(changes: dict[str, Any], same: bool) -> None:
    """Two templates are compared by what they say, rule by rule."""
    nodes = (device(1), tagged(2, "tag:web"))
    one, other = (engine({"acls": [acl("*", "ann@:22")], **more}, *nodes) for more in ({}, changes))
    assert say_the_same(template(one, 1), template(other, 1)) is same


def test_a_rule_for_somebody_and_everybody() -> None:
    """Only the devices of those whom the rule names have their addresses spelled out beside the `*`."""
    compiled = engine({"acls": [acl("*", "ann@:* *:*")]}, device(1, ANN), device(2, BOB))
    (own,), (other,) = (compiled.filter_of(node_id) for node_id in (1, 2))
    assert {target.ip for target in own.dst_ports} == {"*", "100.64.0.1"}
    assert [target.ip for target in other.dst_ports] == ["*"]
