"""What a node has of a policy by its labels, addresses and routes."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from headscale.policy.bits import numbers_of
from headscale.policy.facts import Facts, leads_to
from headscale.policy.subjects import EXIT_ROUTES, Subject
from headscale.policy.who import Who
from tests.unit.policy.small import ANN, acl, device, engine, grant, tagged


def facts(subject: Subject, policy: dict[str, Any]) -> Facts:
    return engine(policy, subject).nodes[subject.id]


def rows(subject: Subject, *acls: dict[str, Any], **more: Any) -> tuple[int, ...]:
    return facts(subject, {"acls": list(acls), **more}).rows


def sends(subject: Subject, *acls: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The source sets that the node is in, by family."""
    compiled = engine({"acls": list(acls)}, subject)
    width = compiled.program.width
    numbers = list(numbers_of(compiled.nodes[subject.id].node_class.sends))
    return [n for n in numbers if n < width], [n - width for n in numbers if n >= width]


DESTINATIONS = [
    acl("eve@", f"{dst}:*") for dst in ("ann@", "tag:web", "100.64.0.1", "fd7a:115c:a1e0::/112", "*")
]


@pytest.mark.parametrize(
    ("subject", "numbers"),
    [
        (device(1), (0, 2, 4)),
        (device(2), (0, 4)),
        (device(2, ANN, "100.64.0.0/24"), (0, 2, 4)),
        (device(2, six=True), (0, 3, 4)),
        (tagged(1, "tag:web"), (1, 2, 4)),
        (tagged(2, "tag:db"), (4,)),
    ],
)
def test_the_rows_that_concern_a_node(subject: Subject, numbers: tuple[int, ...]) -> None:
    """By its labels, by addresses that it has or routes, and by `*`; in the order of the policy."""
    assert rows(subject, *DESTINATIONS) == numbers


SOURCES = [
    acl(src, "eve@:*") for src in ("ann@", "10.1.0.0/16", "fd7a:115c:a1e0::/112", "*", "autogroup:danger-all")
]


@pytest.mark.parametrize(
    ("subject", "numbers"),
    [
        (device(1), ([0, 3, 4], [])),
        (device(1, six=True), ([0, 3, 4], [0, 2, 3, 4])),
        (tagged(1, "tag:web"), ([3, 4], [])),
        (device(1, ANN, "10.0.0.0/8"), ([0, 1, 3, 4], [])),
        (device(1, ANN, "10.1.2.0/24", "fd00::/64"), ([0, 1, 3, 4], [3, 4])),
        (device(1, ANN, "0.0.0.0/0", "::/0"), ([0, 3, 4], [])),
    ],
)
def test_the_sources_that_a_node_counts_to(subject: Subject, numbers: tuple[list[int], list[int]]) -> None:
    """In each family that it has an address of, and with what it routes, but not as an exit node."""
    assert sends(subject, *SOURCES) == numbers


def test_star_as_a_source_is_the_tailnet() -> None:
    """A node with an address outside of it counts to danger-all alone."""
    stranger = replace(device(1), ipv4=IPv4Address("192.0.2.1"))
    assert sends(stranger, acl("*", "*:1"), acl("autogroup:danger-all", "*:2")) == ([1], [])


def test_nodes_of_a_kind_share_what_follows_from_it() -> None:
    """Two devices of one person, or with the same tags, have identical rows, and so one filter."""
    compiled = engine(
        {"acls": DESTINATIONS[:2]}, device(1), device(2), tagged(3, "tag:web"), tagged(4, "tag:web")
    )
    one, two, three, four = (compiled.nodes[i] for i in (1, 2, 3, 4))
    assert one.kind is two.kind
    assert one.standing is two.standing
    assert one.node_class is two.node_class
    assert three.kind is four.kind
    assert one.kind is not three.kind


@pytest.mark.parametrize(
    ("policy", "apart"),
    [
        ([acl("ann@", "ann@:*")], False),
        ([acl("ann@", "autogroup:self:*")], True),
    ],
)
def test_owners_are_told_apart_only_where_it_matters(policy: list[dict[str, Any]], apart: bool) -> None:
    """The class of a node has its owner only beside rules about one's own devices."""
    assert (facts(device(1), {"acls": policy}).node_class.user_id == ANN.id) is apart


def test_a_router_named_by_via_hears_what_it_leads_to() -> None:
    """For each route that leads to a destination, if it has the tag; capabilities make no rule for it."""
    policy = {
        "grants": [
            grant("ann@", "10.0.0.0/8", via=["tag:router"]),
            grant("ann@", "autogroup:internet", via=["tag:router"]),
            grant("ann@", "10.0.0.0/8", app={"x.org/a": []}, via=["tag:router"]),
        ]
    }
    routed = {
        tag: facts(tagged(1, tag, routes=["10.1.0.0/16"]), policy).rows for tag in ("tag:router", "tag:web")
    }
    assert routed == {"tag:router": (0,), "tag:web": ()}
    assert facts(tagged(1, "tag:router", routes=["0.0.0.0/0"]), policy).rows == (1,)


def test_where_a_route_leads() -> None:
    """An exit route to the internet alone, a subnet to addresses on it and to `*`."""
    subnet, address = (
        device(1, ANN, "10.0.0.0/8").routes[0],
        engine({"acls": [acl("*", "10.1.1.1:*")]}).program.targets[0],
    )
    assert leads_to(EXIT_ROUTES[0], Who(internet=True))
    assert not leads_to(EXIT_ROUTES[0], Who(everyone=True))
    assert leads_to(subnet, Who(everyone=True))
    assert leads_to(subnet, address)
    assert not leads_to(device(1, ANN, "10.2.0.0/16").routes[0], address)
