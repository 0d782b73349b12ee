"""Mistakes in which routes there are, and through whom they go."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from harness.mutants.patches import Function, Mutant, Patch
from headscale.mapper.view import Ways
from headscale.policy.subjects import EXIT_ROUTES
from headscale.state.routes import Standing, network_of, standing_of

ROUTES = "scenarios/test_routes.py"
FAILOVER = "scenarios/test_failover.py"


def _advertised(node: Any) -> tuple[Any, ...]:
    return tuple(network for text in node.hostinfo.routable_ips if (network := network_of(text)) is not None)


def _unapproved(original: Function) -> Function:
    def in_force(node: Any) -> tuple[Any, ...]:
        return _advertised(node)

    return in_force


def _unapproved_exits(original: Function) -> Function:
    def in_force(node: Any) -> tuple[Any, ...]:
        exits = (route for route in _advertised(node) if route in EXIT_ROUTES)
        return tuple(dict.fromkeys((*original(node), *exits)))

    return in_force


def _the_least(original: Function) -> Function:
    """As if nobody had been primary before: who comes back takes the route."""

    def elect(candidates: Iterable[Any], current: int | None, silent: Any = frozenset()) -> int | None:
        return original(candidates, None, silent) or current

    return elect


def _the_first_for_ever(original: Function) -> Function:
    def elect(candidates: Iterable[Any], current: int | None, silent: Any = frozenset()) -> int | None:
        standings = {node.id: standing_of(node, silent) for node in candidates}
        if current in standings:
            return current
        return min((i for i, at in standings.items() if at is not Standing.AWAY), default=None)

    return elect


def _primary_everywhere(original: Function) -> Function:
    def ways(snapshot: Any, viewer_id: int, peer_id: int) -> Ways:
        if peer_id not in snapshot.gateways:
            return Ways()
        subnets = tuple(r for r in snapshot.policy.subjects[peer_id].routes if r not in EXIT_ROUTES)
        return Ways(subnets, subnets) if subnets else original(snapshot, viewer_id, peer_id)

    return ways


def _kept(original: Function) -> Function:
    """What a router advertised once it is held to advertise."""

    def described(snapshot: Any, node: Any, hostinfo: Any) -> Any:
        import msgspec

        routes = tuple(dict.fromkeys((*node.hostinfo.routable_ips, *hostinfo.routable_ips)))
        return original(snapshot, node, msgspec.structs.replace(hostinfo, routable_ips=routes))

    return described


def _nothing_approves(original: Function) -> Function:
    def approves(approvals: Any, labels: Any, route: Any) -> bool:
        return False

    return approves


def _any_way(original: Function) -> Function:
    def steered_to(self: Any, route: Any, tags: Any, primary: int | None, favourites: Any) -> int | None:
        return primary

    return steered_to


def _approvals_lost(original: Function) -> Function:
    def renew(snapshot: Any, moment: Any, node: Any, request: Any, terms: Any, **more: Any) -> Any:
        return original(snapshot, moment, replace(node, approved_routes=()), request, terms, **more)

    return renew


MUTANTS = (
    Mutant(
        "unapproved-routes-served",
        "a route that nobody approved is in force",
        [f"{ROUTES}::test_a_route_is_advertised_then_approved_then_serves"],
        [Patch("headscale.state.routes:in_force", _unapproved)],
    ),
    Mutant(
        "exit-node-without-approval",
        "a node that offers itself as exit node is one",
        ["scenarios/test_exit_nodes.py::test_one_approved_exit_route_is_for_both_families"],
        [Patch("headscale.state.routes:in_force", _unapproved_exits)],
    ),
    Mutant(
        "primary-flaps",
        "a router that comes back takes the route from the one that serves it",
        [f"{FAILOVER}::test_a_flapping_router_does_not_take_the_route_along"],
        [Patch("headscale.state.routes:elect", _the_least)],
    ),
    Mutant(
        "no-failover",
        "the first router stays primary whatever becomes of it",
        [f"{FAILOVER}::test_another_router_takes_over_and_keeps_the_route[killed]"],
        [Patch("headscale.state.routes:elect", _the_first_for_ever)],
    ),
    Mutant(
        "two-primaries",
        "every router of a route is told to clients as the way",
        [f"{ROUTES}::test_a_route_has_one_way_at_a_time"],
        [Patch("headscale.mapper.view:ways_through", _primary_everywhere)],
    ),
    Mutant(
        "withdrawn-route-stays",
        "a route that its router no longer advertises goes on being served",
        [f"{ROUTES}::test_a_route_that_its_router_withdraws_is_gone_at_once"],
        [Patch("headscale.state.report:described", _kept)],
    ),
    Mutant(
        "no-auto-approval",
        "autoApprovers approve nothing",
        ["scenarios/test_auto_approval.py::test_a_router_has_its_routes_at_once"],
        [Patch("headscale.policy.approvals:approves", _nothing_approves)],
    ),
    Mutant(
        "via-ignored",
        "who is steered to a tag's router goes through the primary",
        [f"{ROUTES}::test_each_goes_through_the_router_that_the_policy_gives_them"],
        [Patch("headscale.policy.compiled:Compiled._steered_to", _any_way)],
    ),
    Mutant(
        "approvals-lost-at-logout",
        "a router that logs in again has to be approved again",
        ["scenarios/test_login.py::test_what_an_administrator_approved_outlives_a_logout"],
        [Patch("headscale.state.admission:renew", _approvals_lost)],
    ),
)
