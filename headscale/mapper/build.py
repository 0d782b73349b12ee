"""The full map: everything that a node's client needs to start from nothing."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import structs

from headscale.derp.regions import for_client
from headscale.mapper.dns import dns_for, shared_dns
from headscale.mapper.notices import client_version, notice_fields
from headscale.mapper.render import PeerBytes, owner_id, profile_of, self_node
from headscale.mapper.view import (
    lacks_ipv4,
    own_look,
    own_ways,
    packet_filter,
    peers_of,
    ssh_policy,
    ways_through,
)
from headscale.records import Node
from headscale.state.snapshot import Snapshot
from headscale.tailcfg import node as wire
from headscale.tailcfg.maps import AUTO_UPDATE_ATTRIBUTE, Debug, MapResponse
from headscale.tailcfg.node import UserProfile

# The one name under which we send all rules; a client keeps each name's until it hears of that name again.
BASE_FILTER: Final = "base"


def build_map(
    snapshot: Snapshot, node: Node, *, peer_bytes: PeerBytes, version: int, now: datetime
) -> MapResponse:
    """The first message of a stream, and the only one of a one-shot request."""
    peers, owners = sorted(peers_of(snapshot, node.id)), peer_bytes.table(snapshot).owners
    told = frozenset({owner_id(node), *map(owners.__getitem__, peers)})
    head = build_head(snapshot, node, owners=told, peer_bytes=peer_bytes, version=version, now=now)
    return structs.replace(head, peers=encoded_peers(snapshot, node.id, peers, peer_bytes=peer_bytes))


def build_head(
    snapshot: Snapshot,
    node: Node,
    *,
    owners: frozenset[int],
    peer_bytes: PeerBytes,
    version: int,
    now: datetime,
) -> MapResponse:
    """The full map but for the peers, who have these owners, and the node one of them."""
    settings = snapshot.settings
    return MapResponse(
        control_time=now,
        node=own_node(snapshot, node),
        derp_map=for_client(snapshot.derp_map, version),
        dns_config=dns_for(shared_dns(snapshot), snapshot, node),
        domain=urlsplit(settings.server_url).hostname or "",
        collect_services=False,
        packet_filters={BASE_FILTER: packet_filter(snapshot, node.id)},
        ssh_policy=ssh_policy(snapshot, node.id),
        user_profiles=peer_bytes.profiles(snapshot, owners),
        debug=Debug(disable_log_tail=not settings.log_tail),
        client_version=client_version(settings, node),
        default_auto_update=settings.auto_update if version < AUTO_UPDATE_ATTRIBUTE else msgspec.UNSET,
        **notice_fields(settings, None, node, version=version),
    )


def own_node(snapshot: Snapshot, node: Node) -> wire.Node:
    """The node as its own client is shown it."""
    look, ways = own_look(snapshot, node.id), own_ways(snapshot, node.id)
    return self_node(snapshot.settings, node, look, ways)


def profiles(snapshot: Snapshot, node_ids: Iterable[int]) -> tuple[UserProfile, ...]:
    """The owners of these nodes, each once, by id."""
    owners = {owner_id(snapshot.nodes[node_id]) for node_id in node_ids}
    return tuple(profile_of(owner, snapshot.users.get(owner)) for owner in sorted(owners))


def encoded_peers(
    snapshot: Snapshot, viewer_id: int, peers: list[int], *, peer_bytes: PeerBytes
) -> tuple[msgspec.Raw, ...]:
    """The peers as this viewer sees them; all but gateways look the same to nearly everybody."""
    plain, hidden = peer_bytes.table(snapshot).plain, lacks_ipv4(snapshot, viewer_id)
    own_form = frozenset(peers) if hidden else snapshot.gateways.intersection(peers)
    if not own_form:
        return tuple(map(plain.__getitem__, peers))
    return tuple(
        peer_bytes.of(
            snapshot,
            snapshot.nodes[peer_id],
            ways_through(snapshot, viewer_id, peer_id),
            without_ipv4=hidden,
        )
        if peer_id in own_form
        else plain[peer_id]
        for peer_id in peers
    )
