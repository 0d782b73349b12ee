"""The full map: everything that a node's client needs to start from nothing."""

from datetime import datetime
from urllib.parse import urlsplit

from headscale.derp.regions import for_client
from headscale.mapper.dns import dns_config
from headscale.mapper.render import PeerBytes, owner_id, profile_of, self_node
from headscale.mapper.view import packet_filter, peers_of
from headscale.records import Node
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.maps import Debug, MapResponse
from headscale.tailcfg.node import UserProfile


def build_map(
    snapshot: Snapshot, node: Node, *, peer_bytes: PeerBytes, version: int, now: datetime
) -> MapResponse:
    """The first message of a stream, and the only one of a one-shot request."""
    settings = snapshot.settings
    peers = list(peers_of(snapshot, node.id))
    return MapResponse(
        control_time=now,
        node=self_node(settings, node),
        derp_map=for_client(snapshot.derp_map, version),
        peers=tuple(map(peer_bytes.of, peers)),
        dns_config=dns_config(settings),
        domain=urlsplit(settings.server_url).hostname or "",
        collect_services=False,
        packet_filters={"base": packet_filter(snapshot, node)},
        user_profiles=profiles(snapshot, [node, *peers]),
        debug=Debug(disable_log_tail=not settings.log_tail),
    )


def profiles(snapshot: Snapshot, nodes: list[Node]) -> tuple[UserProfile, ...]:
    """The owners of these nodes, each once, by id."""
    owners = sorted({owner_id(node) for node in nodes})
    return tuple(profile_of(owner, snapshot.users.get(owner)) for owner in owners)
