"""Who sees whom, and which routes are open to whom."""

from ipaddress import ip_network
from typing import Any

import pytest

from headscale.policy.compiled import Compiled
from headscale.policy.subjects import Subject
from tests.unit.policy.small import ANN, BOB, EVE, acl, device, engine, grant, tagged

NODES = (device(1, ANN), device(2, ANN), device(3, BOB), tagged(4, "tag:web"))


def pairs(compiled: Compiled) -> set[str]:
    """The nodes that see each other: `12` for nodes 1 and 2. Asked one by one and all at once."""
    ids = sorted(compiled.subjects)
    found = {(a, b) for a in ids for b in ids if compiled.sees(a, b)}
    assert found == {(b, a) for a, b in found} == {(a, b) for a in ids for b in compiled.peers_of(a)}
    return {f"{a}{b}" for a, b in found if a < b}


@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        ({}, {"12", "13", "14", "23", "24", "34"}),
        ({"acls": []}, set()),
        ({"acls": [acl("ann@", "bob@:22")]}, {"13", "23"}),
        ({"acls": [acl("ann@", "ann@:22")]}, {"12"}),
        ({"acls": [acl("autogroup:member", "autogroup:self:22")]}, {"12"}),
        ({"acls": [acl("*", "tag:web:22")]}, {"14", "24", "34"}),
        ({"acls": [acl("100.64.0.3", "100.64.0.1:22")]}, {"13"}),
        ({"acls": [acl("100.64.0.0/30", "tag:web:1")]}, {"14", "24", "34"}),
        ({"acls": [acl("bob@", "fd7a:115c:a1e0::/64:22")]}, set()),
        ({"grants": [grant("tag:web", "bob@", app={"x.org/a": []})]}, {"34"}),
        ({"ssh": [], "acls": []}, set()),
    ],
)
def test_nodes_see_each_other_when_a_rule_leads_from_one_to_the_other(
    policy: dict[str, Any], seen: set[str]
) -> None:
    """Whatever its ports, and in both directions; without rules all do, with none nobody."""
    assert pairs(engine(policy, *NODES)) == seen


def test_families_do_not_mix() -> None:
    """Who has an IPv6 address alone is not let in by a rule for IPv4 addresses."""
    six = Subject(2, BOB.id, ipv6=device(2, six=True).ipv6)
    for src in ("100.64.0.0/10", "ann@", "*"):
        assert pairs(engine({"acls": [acl(src, "bob@:*")]}, device(1), six)) == set()
    assert pairs(engine({"acls": [acl("ann@", "bob@:*")]}, device(1, six=True), six)) == {"12"}


def test_a_router_is_seen_for_what_is_behind_it() -> None:
    """By those who may reach it there, and by those whom what is there may reach."""
    router = tagged(4, "tag:router", routes=["10.0.0.0/8"])
    assert pairs(engine({"acls": [acl("ann@", "10.1.1.1:22")]}, *NODES[:3], router)) == {"14", "24"}
    assert pairs(engine({"acls": [acl("10.1.1.1", "bob@:22")]}, *NODES[:3], router)) == {"34"}


def test_nobody_sees_a_stranger_or_themself() -> None:
    """Unknown nodes have no peers, and no node is its own."""
    compiled = engine({}, *NODES)
    assert (compiled.sees(1, 99), compiled.sees(99, 1), compiled.sees(1, 1)) == (False, False, False)
    assert compiled.peers_of(99) == frozenset()
    assert 1 not in compiled.peers_of(1)


ROUTER = tagged(9, "tag:router", routes=["10.0.0.0/16", "0.0.0.0/0"])
LAN, EXIT = ip_network("10.0.0.0/16"), ip_network("0.0.0.0/0")


@pytest.mark.parametrize(
    ("rule", "routes"),
    [
        (acl("*", "*:*"), (LAN, EXIT)),
        (acl("ann@", "10.0.1.1:22"), (LAN,)),
        (acl("ann@", "10.0.0.0/8:22"), (LAN,)),
        (acl("ann@", "10.1.0.0/16:22"), ()),
        (acl("ann@", "autogroup:internet:443"), (EXIT,)),
        (acl("ann@", "8.8.8.8:443"), (EXIT,)),
        (acl("ann@", "tag:router:*"), ()),
        (acl("bob@", "*:*"), ()),
        (acl("10.0.1.1", "ann@:*"), (LAN,)),
    ],
)
def test_the_routes_that_a_rule_opens(rule: dict[str, Any], routes: tuple[object, ...]) -> None:
    """Where any of its destinations lie, or where its sources are for whom it lets in; exit routes for the internet."""
    compiled = engine({"acls": [rule, acl("*", "tag:router:1")]}, device(1), ROUTER)
    assert compiled.routes_for(1, 9, {LAN: 9}) == routes


@pytest.mark.parametrize("primary", [9, 8, None])
def test_a_subnet_goes_through_its_primary(primary: int | None) -> None:
    """And through nobody while there is none; an exit node serves whoever picks it."""
    compiled = engine({}, device(1), ROUTER)
    primaries = {} if primary is None else {LAN: primary}
    assert compiled.routes_for(1, 9, primaries) == ((LAN, EXIT) if primary == 9 else (EXIT,))


def test_a_router_uses_its_fellows_route() -> None:
    """Whoever routes the same subnet may use it, whatever the rules, when they see each other."""
    fellow = tagged(8, "tag:web", routes=["10.0.0.0/16"])
    compiled = engine({"acls": [acl("tag:web", "tag:router:1")]}, fellow, ROUTER)
    assert compiled.routes_for(8, 9, {LAN: 9}) == (LAN,)


def steering(**more: Any) -> Compiled:
    routers = (
        tagged(5, "tag:web", routes=["10.0.0.0/16"]),
        tagged(6, "tag:db", routes=["10.0.0.0/16"]),
        tagged(7, "tag:db", routes=["10.0.0.0/16", "0.0.0.0/0"]),
        tagged(8, "tag:web", routes=["0.0.0.0/0"]),
    )
    grants = [
        grant("ann@", "10.0.0.0/16", via=["tag:db"]),
        grant("ann@ bob@", "autogroup:internet", via=["tag:web"]),
        grant("eve@", "10.0.0.0/16"),
        *more.get("grants", ()),
    ]
    return engine({"grants": grants}, device(1, ANN), device(2, BOB), device(3, EVE), *routers)


@pytest.mark.parametrize(("primary", "through"), [(5, 6), (6, 6), (7, 7), (None, 6)])
def test_via_steers_to_a_router_with_the_tag(primary: int | None, through: int) -> None:
    """To the primary when it has the tag, else to the oldest that has; all others serve them nothing."""
    compiled = steering()
    primaries = {} if primary is None else {LAN: primary}
    serving = [i for i in (5, 6, 7, 8) if LAN in compiled.routes_for(1, i, primaries)]
    assert serving == [through]


def test_via_steers_nobody_else() -> None:
    """Who is let in by another rule goes through the primary, and who by none nowhere."""
    compiled = steering()
    assert [i for i in (5, 6, 7) if LAN in compiled.routes_for(3, i, {LAN: 5})] == [5]
    assert [i for i in (5, 6, 7) if LAN in compiled.routes_for(2, i, {LAN: 5})] == []


def test_another_rule_opens_what_via_steers() -> None:
    """Then the primary serves them as well as anybody."""
    compiled = steering(grants=[grant("ann@", "10.0.0.0/16", "22")])
    assert [i for i in (5, 6, 7) if LAN in compiled.routes_for(1, i, {LAN: 5})] == [5]


def test_via_an_exit_node() -> None:
    """Only those with the tag serve as exit nodes."""
    compiled = steering()
    assert [i for i in (7, 8) if EXIT in compiled.routes_for(2, i, {})] == [8]


def test_routes_of_who_is_not_seen() -> None:
    """There are none, and none of strangers."""
    compiled = engine({"acls": []}, device(1), ROUTER)
    assert (
        compiled.routes_for(1, 9, {LAN: 9})
        == compiled.routes_for(1, 99, {})
        == compiled.routes_for(99, 1, {})
        == ()
    )
