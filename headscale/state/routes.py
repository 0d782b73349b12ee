"""Subnet and exit routes: what a node advertises, what of it is in force, and who is primary for it.

A route is *advertised* by its node's host info, *approved* by an administrator or the policy, and in force when it is
both, prefix for prefix. For each subnet route in force one node is *primary*: the one through which the others go.
Exit routes have no primary, because every client picks its exit node by itself.
"""

import re
from collections.abc import Iterable, Set
from dataclasses import replace
from enum import IntEnum
from functools import lru_cache
from ipaddress import ip_network
from typing import Final, NamedTuple

from msgspec import structs

from headscale.policy.subjects import EXIT_ROUTES, Network
from headscale.records import Node
from headscale.tailcfg.hostinfo import Hostinfo

# More than any router has; the policy looks at each of them, and every viewer of the node is told of those in force.
ADVERTISED_MAX: Final = 4096
_EXIT_TEXTS: Final = frozenset(map(str, EXIT_ROUTES))
_PREFIX: Final = re.compile(r"[0-9a-fA-F:.]{2,45}/[0-9]{1,3}", re.ASCII)


def with_plain_routes(hostinfo: Hostinfo) -> Hostinfo:
    """The host info with its routes sorted, each once and without host bits; what is no prefix is left out."""
    routes = plain_routes(hostinfo.routable_ips[:ADVERTISED_MAX])
    return hostinfo if routes == hostinfo.routable_ips else structs.replace(hostinfo, routable_ips=routes)


def plain_routes(texts: Iterable[str]) -> tuple[str, ...]:
    """The prefixes among these texts in the form and order in which we keep them."""
    networks = {network for text in texts if (network := network_of(text)) is not None}
    return tuple(map(str, sorted(networks, key=lambda n: (n.version, int(n.network_address), n.prefixlen))))


@lru_cache(maxsize=8192)
def network_of(text: str) -> Network | None:
    """The prefix that a text is, host bits cleared; None when it is none (an address without a length is none)."""
    if not _PREFIX.fullmatch(text):
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def in_force(node: Node) -> tuple[Network, ...]:
    """The node's routes that are advertised and approved, exit routes among them."""
    if not node.approved_routes or not node.hostinfo.routable_ips:
        return ()
    approved = frozenset(node.approved_routes)
    both = (text for text in node.hostinfo.routable_ips if text in approved)
    return tuple(network for text in both if (network := network_of(text)) is not None)


def with_approvals(node: Node, granted: Iterable[str]) -> Node:
    """The node with these of its advertised routes approved as well; one exit route stands for both families."""
    added = {*granted} - {*node.approved_routes}
    if not added.isdisjoint(_EXIT_TEXTS):
        added |= _EXIT_TEXTS & {*node.hostinfo.routable_ips}
    if not added:
        return node
    return replace(node, approved_routes=plain_routes({*node.approved_routes, *added}))


class Standing(IntEnum):
    """How well a router can serve its routes, best first."""

    WELL = 0
    SILENT = 1
    """It is online, and did not answer when it was asked last."""
    AWAY = 2


class Favourite(NamedTuple):
    """The router that serves a route to those who are steered to a tag; of several the least is taken.

    `since` is the epoch from which it has stood so: a router that comes back takes nothing from one that served
    meanwhile.
    """

    standing: Standing
    since: int
    node_id: int


def standing_of(node: Node, silent: Set[int]) -> Standing:
    """Where the node stands; `silent` are the nodes that did not answer."""
    if not node.online:
        return Standing.AWAY
    return Standing.SILENT if node.id in silent else Standing.WELL


def elect(candidates: Iterable[Node], current: int | None, silent: Set[int] = frozenset()) -> int | None:
    """The primary among the nodes that have a subnet route in force; None for nobody.

    Who is primary stays so while none stands better, so that a router that comes back takes no connections down.
    Else it is the lowest number of those that stand best; with nobody online it stays with the last one, if that
    still has the route.
    """
    standings = {node.id: standing_of(node, silent) for node in candidates}
    best = min(standings.values(), default=Standing.AWAY)
    if best is Standing.AWAY or standings.get(current or 0) is best:
        return current if current in standings else None
    return min(node_id for node_id, standing in standings.items() if standing is best)
