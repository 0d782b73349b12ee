"""Routes: advertised, approved, in force, primary."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from headscale.errors import Malformed
from headscale.records import Update
from headscale.state.approvals import approve_routes
from headscale.state.presence import arrive, leave
from headscale.state.routes import (
    ADVERTISED_MAX,
    elect,
    in_force,
    network_of,
    plain_routes,
    with_approvals,
    with_plain_routes,
)
from headscale.state.snapshot import Snapshot, drop_node, put_node
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import NOW, moment, node, router, tailnet, with_nodes

pytestmark = pytest.mark.bar("A8")

NET = ip_network("10.1.0.0/16")


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (("10.1.2.3/16",), ("10.1.0.0/16",)),
        (("2001:DB8::1/32",), ("2001:db8::/32",)),
        (("10.0.0.0/8", "10.0.0.0/8", "10.9.9.9/8"), ("10.0.0.0/8",)),
        (("::/0", "10.2.0.0/16", "0.0.0.0/0"), ("0.0.0.0/0", "10.2.0.0/16", "::/0")),
        (("10.0.0.0/33", "10.0.0.0", "", "x", "10.0.0.0/255.0.0.0", "fe80::%1/64", "10.1/16"), ()),
        (("١٠.0.0.0/8", "10.0.0.0/8\n", " 10.0.0.0/8"), ()),
    ],
)
def test_what_a_client_advertises_is_kept_in_one_form(told: tuple[str, ...], kept: tuple[str, ...]) -> None:
    """Sorted, each once, without host bits; what is no prefix is left out and spoils nothing."""
    assert with_plain_routes(Hostinfo(routable_ips=told)).routable_ips == kept


def test_no_more_routes_are_looked_at_than_a_router_has() -> None:
    """The policy is asked for each of them."""
    told = tuple(f"10.{number >> 8}.{number & 255}.0/24" for number in range(ADVERTISED_MAX + 1))
    assert len(with_plain_routes(Hostinfo(routable_ips=told[:-1])).routable_ips) == ADVERTISED_MAX
    assert with_plain_routes(Hostinfo(routable_ips=told)).routable_ips == told[:-1]


def test_host_info_that_is_in_that_form_already_is_the_same_object() -> None:
    plain = Hostinfo(routable_ips=("10.0.0.0/8",))
    assert with_plain_routes(plain) is plain


def test_a_route_is_in_force_when_it_is_advertised_and_approved_prefix_for_prefix() -> None:
    shown = router(1, "10.1.0.0/16", "10.2.0.0/16", approved=False)
    assert in_force(shown) == ()
    assert in_force(replace(shown, approved_routes=("10.1.0.0/16", "10.2.0.0/24"))) == (NET,)
    assert in_force(replace(node(1), approved_routes=("10.1.0.0/16",))) == ()


def test_what_an_older_version_stored_does_no_harm() -> None:
    odd = replace(router(1, "no prefix"), approved_routes=("no prefix",))
    assert in_force(odd) == ()


@pytest.mark.parametrize("exit_route", ["0.0.0.0/0", "::/0"])
def test_one_exit_route_stands_for_both(exit_route: str) -> None:
    both = router(1, "0.0.0.0/0", "10.1.0.0/16", "::/0", approved=False)
    assert with_approvals(both, [exit_route]).approved_routes == ("0.0.0.0/0", "::/0")
    one = router(1, exit_route, approved=False)
    assert with_approvals(one, [exit_route]).approved_routes == (exit_route,)


def test_approvals_are_added_to_those_that_there_are() -> None:
    known = router(1, "10.2.0.0/16", "10.1.0.0/16", approved=False, approved_routes=("10.3.0.0/16",))
    assert with_approvals(known, ["10.1.0.0/16"]).approved_routes == ("10.1.0.0/16", "10.3.0.0/16")
    assert with_approvals(known, []) is known


@pytest.mark.parametrize(
    ("online", "offline", "current", "elected"),
    [
        ((3, 2), (1,), None, 2),
        ((2, 3), (), 3, 3),
        ((2, 3), (1,), 1, 2),
        ((), (1, 2), 2, 2),
        ((), (1, 2), 9, None),
        ((), (1, 2), None, None),
        ((), (), 1, None),
    ],
)
def test_a_primary_stays_while_it_can(
    online: tuple[int, ...], offline: tuple[int, ...], current: int | None, elected: int | None
) -> None:
    """The lowest number that is online, but for one that is primary already; with nobody online the last one."""
    candidates = [node(n, online=True) for n in online] + [node(n) for n in offline]
    assert elect(candidates, current) == elected


def two_routers() -> Snapshot:
    """Routers 1 and 2 of one subnet, online; 1 came first."""
    return with_nodes(
        tailnet("alice"), router(1, str(NET), online=True), router(2, str(NET), online=True), node(3)
    )


def test_a_primary_that_leaves_is_replaced_and_does_not_take_the_route_back() -> None:
    left = leave(two_routers(), moment(), node_id=1).snapshot
    assert left.primaries[NET] == 2
    assert arrive(left, moment(), node_id=1).snapshot.primaries[NET] == 2


def test_the_last_primary_keeps_the_route_while_nobody_is_there() -> None:
    nobody = leave(leave(two_routers(), moment(), node_id=1).snapshot, moment(), node_id=2).snapshot
    assert nobody.primaries[NET] == 2
    assert arrive(nobody, moment(), node_id=1).snapshot.primaries[NET] == 1


def test_a_deleted_router_leaves_no_trace() -> None:
    one = drop_node(two_routers(), two_routers().nodes[1], NOW)
    assert (one.primaries[NET], one.routers[NET], one.gateways) == (2, frozenset({2}), frozenset({2}))
    none = drop_node(one, one.nodes[2], NOW)
    assert (dict(none.primaries), dict(none.routers), none.gateways) == ({}, {}, frozenset())


def test_a_router_that_stops_advertising_is_no_longer_primary() -> None:
    """Its approval stays, for when it advertises again."""
    snapshot = two_routers()
    quiet = put_node(snapshot, replace(snapshot.nodes[1], hostinfo=Hostinfo()))
    assert (quiet.primaries[NET], quiet.gateways) == (2, frozenset({2}))


def test_an_exit_node_is_a_gateway_without_a_primary() -> None:
    snapshot = with_nodes(tailnet("alice"), router(1, "0.0.0.0/0", "::/0", online=True))
    assert (snapshot.gateways, dict(snapshot.primaries), dict(snapshot.routers)) == (frozenset({1}), {}, {})


def test_texts_are_parsed_once() -> None:
    """Every viewer's map asks for them."""
    assert network_of("10.1.0.0/16") is network_of("10.1.0.0/16")
    assert plain_routes(["::/0", "bad"]) == ("::/0",)


def test_an_administrators_list_takes_the_place_of_what_was_approved() -> None:
    """Sorted, each once, without host bits; none at all takes everything back."""
    snapshot = with_nodes(tailnet("alice"), router(1, "10.1.0.0/16", "10.2.0.0/16", online=True))
    effect = approve_routes(snapshot, moment(), node_id=1, routes=("10.2.1.1/16", "192.0.2.0/24"))
    assert effect.result.approved_routes == ("10.2.0.0/16", "192.0.2.0/24")
    assert dict(effect.snapshot.primaries) == {ip_network("10.2.0.0/16"): 1}
    assert (effect.touched, effect.writes) == ({1}, (Update(effect.result),))
    again = approve_routes(effect.snapshot, moment(), node_id=1, routes=("192.0.2.0/24", "10.2.0.0/16"))
    assert (again.snapshot, again.writes) == (effect.snapshot, ())
    assert approve_routes(snapshot, moment(), node_id=1, routes=()).result.approved_routes == ()


@pytest.mark.parametrize("route", ["0.0.0.0/0", "::/0"])
def test_one_approved_exit_route_stands_for_both(route: str) -> None:
    snapshot = with_nodes(tailnet("alice"), node(1))
    effect = approve_routes(snapshot, moment(), node_id=1, routes=(route, "10.0.0.0/8"))
    assert effect.result.approved_routes == ("0.0.0.0/0", "10.0.0.0/8", "::/0")


@pytest.mark.parametrize("route", ["", "x", "10.0.0.0", "10.0.0.0/33", "10/8", "fe80::%1/64", " 10.0.0.0/8"])
def test_what_is_no_prefix_cannot_be_approved(route: str) -> None:
    snapshot = with_nodes(tailnet("alice"), node(1))
    with pytest.raises(Malformed, match="is not a route"):
        approve_routes(snapshot, moment(), node_id=1, routes=("10.0.0.0/8", route))


def test_no_more_routes_are_approved_than_are_looked_at() -> None:
    snapshot = with_nodes(tailnet("alice"), node(1))
    routes = tuple(f"10.{number >> 8}.{number & 255}.0/24" for number in range(ADVERTISED_MAX + 1))
    assert (
        len(approve_routes(snapshot, moment(), node_id=1, routes=routes[1:]).result.approved_routes) == 4096
    )
    with pytest.raises(Malformed, match="at most 4096"):
        approve_routes(snapshot, moment(), node_id=1, routes=routes)
