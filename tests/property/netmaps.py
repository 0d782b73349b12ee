"""Comparing what a client holds with what it would be told now."""

from datetime import datetime
from typing import Any

from harness.clients.netmap import Json, NetMap

ZERO_TIME = "0001-01-01T00:00:00Z"
# Of its own node a client knows these itself, and is not told of its own reports.
OWN_REPORTS = ("Endpoints", "DiscoKey", "Online", "LastSeen", "Cap")


def known(netmap: NetMap, now: datetime) -> dict[str, Any]:
    """What matters of a netmap, in one form for what clients take as the same."""
    assert netmap.node is not None
    peers = {node_id: settled(peer, now) for node_id, peer in netmap.peers.items()}
    owners = {node["User"] for node in (netmap.node, *netmap.peers.values())}
    return {
        "peers": peers,
        "self": settled({k: v for k, v in netmap.node.items() if k not in OWN_REPORTS}, now),
        "profiles": {owner: netmap.profiles.get(owner) for owner in owners},
        "dns": netmap.dns,
        "derp": netmap.derp_map,
        "filter": netmap.packet_filter,
        "ssh": netmap.ssh_policy,
        "domain": netmap.domain,
        "notices": (netmap.health or [], netmap.display_messages),
    }


def settled(node: Json, now: datetime) -> Json:
    """A node as a Go client acts upon it.

    The zero time is no expiry; a client marks a peer whose expiry is past as expired by itself
    (ipn/ipnlocal/expiry.go); when a node was last seen does not matter while it is online.
    """
    out = {name: value for name, value in node.items() if value not in (None, "", [], {}, 0)}
    if out.get("KeyExpiry") == ZERO_TIME:
        del out["KeyExpiry"]
    ended = "KeyExpiry" in out and datetime.fromisoformat(out["KeyExpiry"]) <= now
    out["Expired"] = bool(node.get("Expired")) or ended
    if node.get("Online"):
        out.pop("LastSeen", None)
    return out
