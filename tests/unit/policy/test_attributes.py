"""Which attributes nodes have, which of them peers are shown, and where new addresses come from."""

from ipaddress import IPv4Network
from typing import Any

import pytest

from headscale.policy.compiled import compile_policy
from headscale.policy.subjects import Subject
from tests.unit.policy.small import ANN, BOB, device, engine, tagged


def caps(subject: Subject, *entries: dict[str, Any], **more: Any) -> dict[str, list[str]]:
    found = engine({"nodeAttrs": list(entries), **more}, subject).caps_of(subject.id)
    return {name: [bytes(value).decode() for value in values] for name, values in found.items()}


@pytest.mark.parametrize(
    ("target", "has"),
    [
        (["*"], True),
        (["ann@"], True),
        (["bob@"], False),
        (["bob@", "autogroup:member"], True),
        (["autogroup:tagged"], False),
        (["100.64.0.0/31"], True),
        (["100.64.0.2"], False),
        (["fd7a:115c:a1e0::1"], True),
        ([], False),
    ],
)
def test_a_target_has_the_attribute(target: list[str], has: bool) -> None:
    """By any of its labels or either of its addresses."""
    assert caps(device(1, ANN, six=True), {"target": target, "attr": ["x"]}) == ({"x": []} if has else {})


def test_tagged_nodes_have_attributes() -> None:
    """By their tags and as tagged ones, not by whoever tagged them."""
    entries = [
        {"target": [name], "attr": [name[:3]]} for name in ("tag:web", "autogroup:tagged", "autogroup:member")
    ]
    assert set(caps(tagged(1, "tag:web"), *entries)) == {"tag", "aut"}


def test_attributes_add_up() -> None:
    """Each name once, with the values of all entries in their order."""
    found = caps(
        device(1),
        {"target": ["*"], "attr": ["x", "x"], "app": {"a.b/c": [1, {"k": []}]}},
        {"target": ["ann@"], "attr": ["a.b/c"], "app": {"a.b/c": ["two"]}},
        {"target": ["bob@"], "app": {"a.b/c": [3]}},
    )
    assert found == {"x": [], "a.b/c": ["1", '{"k":[]}', '"two"']}


@pytest.mark.parametrize(("switch", "found"), [(True, {"randomize-client-port": []}), (False, {})])
def test_everybody_with_random_ports(switch: bool, found: dict[str, list[str]]) -> None:
    """`randomizeClientPort` is an attribute of every node."""
    assert caps(device(1), randomizeClientPort=switch) == found
    assert caps(tagged(1, "tag:web"), randomizeClientPort=switch) == found


def test_a_node_that_is_not_there_has_none() -> None:
    """Nothing is said of unknown nodes."""
    policy = engine({"nodeAttrs": [{"target": ["*"], "attr": ["x", "disable-ipv4"]}]})
    assert (policy.caps_of(9), policy.peer_caps_of(9), policy.hides_ipv4(9)) == ({}, {}, False)


@pytest.mark.parametrize(("route", "shown"), [("::/0", ["suggest-exit-node"]), ("10.0.0.0/8", [])])
def test_what_peers_are_shown(route: str, shown: list[str]) -> None:
    """Of an exit node that it is one; nothing else, whatever attributes it has."""
    policy = engine({"nodeAttrs": [{"target": ["*"], "attr": ["x"]}]}, device(1, ANN, route))
    assert list(policy.peer_caps_of(1)) == shown


def test_without_ipv4() -> None:
    """Only nodes with the attribute hide their IPv4 address."""
    policy = engine(
        {"nodeAttrs": [{"target": ["bob@"], "attr": ["disable-ipv4"]}]}, device(1, ANN), device(2, BOB)
    )
    assert [policy.hides_ipv4(i) for i in (1, 2)] == [False, True]
    assert compile_policy(None, people={}, subjects=[device(1)]).hides_ipv4(1) is False


def test_pools() -> None:
    """The first entry that means the node and has pools decides, for all of its kind, whatever comes after."""
    policy = engine(
        {
            "nodeAttrs": [
                {"target": ["ann@"], "attr": ["x"]},
                {"target": ["ann@"], "ipPool": ["100.81.0.0/16", "100.82.0.0/16"]},
                {"target": ["tag:web", "ann@"], "ipPool": ["100.83.0.0/16"]},
                {"target": ["100.64.0.1"], "ipPool": ["100.84.0.0/16"]},
            ]
        }
    )
    assert policy.pools_of(1) == (IPv4Network("100.81.0.0/16"), IPv4Network("100.82.0.0/16"))
    assert policy.pools_of(("tag:web",)) == (IPv4Network("100.83.0.0/16"),)
    assert policy.pools_of(2) == ()


def test_a_pool_for_everybody() -> None:
    """`*` has a pool for whoever no entry before it meant."""
    pool = IPv4Network("100.90.0.0/16")
    assert engine({"nodeAttrs": [{"target": ["*"], "ipPool": [str(pool)]}]}).pools_of(("tag:db",)) == (pool,)
