"""Routes that need no administrator, and tags that people may give."""

from ipaddress import ip_network

import pytest

from headscale.policy.compiled import Compiled
from tests.unit.policy.small import ANN, BOB, device, engine, tagged

pytestmark = pytest.mark.bar("A8")


def approving() -> Compiled:
    routes = {
        "10.0.0.0/8": ["ann@"],
        "fd00::/64": ["tag:router"],
        "0.0.0.0/0": ["bob@"],
        "192.168.0.0/16": [],
    }
    return engine({"autoApprovers": {"routes": routes, "exitNode": ["tag:web", "ann@"]}})


@pytest.mark.parametrize(
    ("route", "ann", "bob", "router", "web"),
    [
        ("10.0.0.0/8", True, True, False, False),
        ("10.1.0.0/16", True, True, False, False),
        ("8.0.0.0/6", False, True, False, False),
        ("192.168.0.0/16", False, True, False, False),
        ("fd00::/64", False, False, True, False),
        ("fd00::/63", False, False, False, False),
        ("0.0.0.0/1", False, True, False, False),
        ("0.0.0.0/0", True, False, False, True),
        ("::/0", True, False, False, True),
    ],
)
def test_an_approver_approves_what_lies_within(
    route: str, ann: bool, bob: bool, router: bool, web: bool
) -> None:
    """A prefix and all in it, of its family; exit routes only by `exitNode`, even beside 0.0.0.0/0 under `routes`."""
    policy = approving()
    subjects = (device(1, ANN), device(2, BOB), tagged(3, "tag:router"), tagged(4, "tag:web"))
    assert [policy.approves(each, ip_network(route)) for each in subjects] == [ann, bob, router, web]


def test_no_policy_approves_nothing() -> None:
    """Without approvers an administrator decides."""
    assert not engine({}).approves(device(1), ip_network("10.0.0.0/8"))


def owning() -> Compiled:
    owners = {
        "tag:web": ["ann@", "tag:router"],
        "tag:router": ["tag:db"],
        "tag:db": ["bob@", "tag:web"],
        "tag:free": ["autogroup:member"],
        "tag:none": [],
    }
    return engine({"tagOwners": owners}, device(1, ANN), tagged(2, "tag:db"), tagged(3, "tag:none"))


@pytest.mark.parametrize(
    ("tag", "ann", "bob", "eve"),
    [
        ("tag:web", True, True, False),
        ("tag:router", True, True, False),
        ("tag:free", True, True, True),
        ("tag:none", False, False, False),
        ("tag:unknown", False, False, False),
    ],
)
def test_who_may_give_a_tag(tag: str, ann: bool, bob: bool, eve: bool) -> None:
    """Its owners, and the owners of tags that own it, even where tags own each other in a circle."""
    assert [owning().owns_tag(tag, person_id=i) for i in (1, 2, 3)] == [ann, bob, eve]


def test_a_node_gives_tags_as_what_it_is() -> None:
    """As its owner's, or as the tag that it has."""
    policy = owning()
    assert [policy.owns_tag("tag:router", node_id=i) for i in (1, 2, 3, 99)] == [True, True, False, False]
    assert policy.owns_tag("tag:none", person_id=1, node_id=3) is False


def test_the_tags_that_there_are() -> None:
    """Those of tagOwners, owned or not."""
    assert owning().tags == {"tag:web", "tag:router", "tag:db", "tag:free", "tag:none"}
