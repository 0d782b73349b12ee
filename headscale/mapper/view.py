"""Who sees whom, and what a node may receive.

All that builds a message asks the policy here and nowhere else: full maps, deltas, patches, profiles, filters. What
is asked of a node that the policy does not know is answered with nothing.
"""

from collections.abc import Hashable, Iterator, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from headscale.policy.subjects import EXIT_ROUTES, Network
from headscale.state.routes import in_force
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.filters import FilterRule
from headscale.tailcfg.node import CapMap
from headscale.tailcfg.ssh import SSHPolicy

# Up to so many nodes are asked for one by one; for more, all that a viewer sees is intersected at once.
FEW: Final = 16
NO_SSH: Final = SSHPolicy()


class Ways(NamedTuple):
    """What a viewer may send through a peer besides the peer's own addresses, and where the peer is primary."""

    routes: tuple[Network, ...] = ()
    primary: tuple[Network, ...] = ()


NO_WAYS: Final = Ways()


@dataclass(frozen=True, slots=True)
class Look:
    """How a node is shown, as far as its record does not say."""

    capabilities: CapMap = field(default_factory=dict)
    hides_ipv4: bool = False


def peers_of(snapshot: Snapshot, viewer_id: int) -> frozenset[int]:
    """The nodes that this one sees."""
    return snapshot.policy.peers_of(viewer_id)


def seen_by_class(snapshot: Snapshot, viewer_id: int) -> tuple[int, ...]:
    """The nodes that all viewers of this one's class see, but for themselves: they may be among them."""
    return snapshot.policy.seen_by_class(viewer_id)


def seen_of(snapshot: Snapshot, viewer_id: int, nodes: Set[int]) -> Set[int]:
    """Those of these nodes that the viewer sees."""
    if len(nodes) > FEW:
        return nodes & snapshot.policy.peers_of(viewer_id)
    sees = snapshot.policy.sees
    return {node_id for node_id in nodes if sees(viewer_id, node_id)}


def class_of(snapshot: Snapshot, viewer_id: int) -> object:
    """Equal for viewers that see the same nodes, each but itself, and may use the same routes; of one snapshot."""
    return snapshot.policy.class_of(viewer_id)


def packet_filter(snapshot: Snapshot, node_id: int) -> tuple[FilterRule, ...]:
    """What the node lets in."""
    return snapshot.policy.filter_of(node_id)


def filter_key(snapshot: Snapshot, node_id: int) -> Hashable:
    """Equal for nodes that let the same in; of one snapshot."""
    return snapshot.policy.filter_key(node_id)


def has_other_filter(old: Snapshot, new: Snapshot, node_id: int) -> bool:
    """Whether the node lets in something else than before."""
    return old.policy is not new.policy and not new.policy.keeps_filter(node_id, old.policy)


def ssh_policy(snapshot: Snapshot, node_id: int) -> SSHPolicy:
    """Who may log in to the node. The identical object while nothing about it changed."""
    return snapshot.policy.ssh_of(node_id) or NO_SSH


def peer_look(snapshot: Snapshot, node_id: int) -> Look:
    """How the node looks to others."""
    return Look(snapshot.policy.peer_caps_of(node_id), snapshot.policy.hides_ipv4(node_id))


def own_look(snapshot: Snapshot, node_id: int) -> Look:
    """How the node looks to its own client."""
    return Look(snapshot.policy.caps_of(node_id), snapshot.policy.hides_ipv4(node_id))


def lacks_ipv4(snapshot: Snapshot, viewer_id: int) -> bool:
    """Whether the viewer is to see no IPv4 address, neither its own nor a peer's."""
    return snapshot.policy.hides_ipv4(viewer_id)


def ways_through(snapshot: Snapshot, viewer_id: int, peer_id: int) -> Ways:
    """Which routes the viewer may use through this peer."""
    if peer_id not in snapshot.gateways:
        return NO_WAYS
    routes = snapshot.policy.routes_for(viewer_id, peer_id, snapshot.primaries, snapshot.favourites)
    return _ways(snapshot, peer_id, routes)


def own_ways(snapshot: Snapshot, node_id: int) -> Ways:
    """The routes that the node itself serves or stands by for."""
    if node_id not in snapshot.gateways:
        return NO_WAYS
    return _ways(snapshot, node_id, in_force(snapshot.nodes[node_id]))


def restyled(old: Snapshot, new: Snapshot) -> Iterator[int]:
    """The nodes in both that look different to others because the policy did, not they."""
    for node_id in new.nodes:
        if node_id in old.nodes and peer_look(old, node_id) != peer_look(new, node_id):
            yield node_id


def rerouting(old: Snapshot, new: Snapshot) -> Iterator[int]:
    """The nodes through which others went for a route, or go now: primaries, and those to whom the policy steers."""
    if old.primaries is not new.primaries:
        for route in {*old.primaries, *new.primaries}:
            before, after = old.primaries.get(route), new.primaries.get(route)
            if before != after:
                yield from (node_id for node_id in (before, after) if node_id is not None)
    if old.favourites is not new.favourites:
        for key in {*old.favourites, *new.favourites}:
            if old.favourites.get(key) != new.favourites.get(key):
                for snapshot in (old, new):
                    yield from snapshot.routers.get(key[0], ())


def others_on_its_routes(old: Snapshot, new: Snapshot, node_id: int) -> Iterator[int]:
    """The nodes that share a route with this one, through whom others may go when it came, went or changed."""
    for snapshot in (old, new):
        if node_id in snapshot.gateways:
            for route in in_force(snapshot.nodes[node_id]):
                for known in (old, new):
                    yield from known.routers.get(route, ())


def _ways(snapshot: Snapshot, node_id: int, routes: tuple[Network, ...]) -> Ways:
    if not routes:
        return NO_WAYS
    own = (r for r in routes if r not in EXIT_ROUTES and snapshot.primaries.get(r) == node_id)
    return Ways(routes, tuple(own))
