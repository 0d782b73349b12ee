"""What a node tells of itself with a map request: endpoints, host info, disco key, version.

A streaming request of a current client is read-only (capability version 68): its report comes as a lite
update beside it and may be older here, so only what is there and non-zero counts, and nothing is cleared.
"""

import ipaddress
import re
from dataclasses import replace
from typing import Final

from msgspec import structs

from headscale.keys import ZERO_DISCO_KEY, DiscoKey, is_zero
from headscale.records import Node, Update
from headscale.state.approvals import approved
from headscale.state.effect import Effect, Moment
from headscale.state.names import is_derived, label_of, unique_label
from headscale.state.routes import with_plain_routes
from headscale.state.snapshot import Snapshot, put_node
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.maps import MapRequest

# More than any client has; a peer's map must not grow without bound by one node's doing.
ENDPOINTS_MAX = 64


def report(snapshot: Snapshot, moment: Moment, *, node_id: int, request: MapRequest) -> Effect[Node | None]:
    """The node as it now describes itself. None when it was deleted meanwhile."""
    node = snapshot.nodes.get(node_id)
    if node is None:
        return Effect(snapshot, None)
    after = replace(node, cap_version=request.version or node.cap_version)
    if not is_zero(request.disco_key):
        after = replace(after, disco_key=DiscoKey(request.disco_key.lower()))
    if request.hostinfo is not None and not _is_blank(request.hostinfo):
        after = described(snapshot, after, request.hostinfo)
    if request.endpoints is not None and not request.stream:
        after = replace(after, endpoints=usable_endpoints(request.endpoints))
    if after.hostinfo.routable_ips != node.hostinfo.routable_ips:
        after = approved(snapshot.policy, after)
    if after == node:
        return Effect(snapshot, node)
    if after.disco_key not in (node.disco_key, ZERO_DISCO_KEY):
        # Clients from 1.98 on drop a new disco key that comes without a newer time (docs/protocol.md).
        after = replace(after, last_seen=moment.now)
    return Effect(put_node(snapshot, after), after, (Update(after),), frozenset({node_id}))


def described(snapshot: Snapshot, node: Node, hostinfo: Hostinfo) -> Node:
    """The node with new host info; its name follows while nobody has chosen another."""
    told = with_plain_routes(hostinfo)
    renewed = replace(node, hostinfo=_carry_net_info(node.hostinfo, told))
    if not hostinfo.hostname or hostinfo.hostname == node.hostname:
        return renewed
    given = node.given_name
    if is_derived(given, node.hostname):
        taken = snapshot.node_by_name
        others = taken.delete(given) if taken.get(given) == node.id else taken
        given = unique_label(label_of(hostinfo.hostname), others)
    return replace(renewed, hostname=hostinfo.hostname, given_name=given)


def usable_endpoints(endpoints: tuple[str, ...]) -> tuple[str, ...]:
    """The endpoints that a peer can dial: no zones, no IPv6 link-local, nothing that is no address and port."""
    return tuple(endpoint for endpoint in endpoints[:ENDPOINTS_MAX] if _is_usable(endpoint))


_ENDPOINT: Final = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})", re.ASCII
)


def _is_usable(endpoint: str) -> bool:
    found = _ENDPOINT.fullmatch(endpoint)
    if found is None or not 0 < int(found["port"]) < 65536:
        return False
    try:
        if found["v4"]:
            ipaddress.IPv4Address(found["v4"])
            return True
        return not ipaddress.IPv6Address(found["v6"]).is_link_local
    except ValueError:
        return False


def _is_blank(hostinfo: Hostinfo) -> bool:
    return hostinfo == Hostinfo()


def _carry_net_info(known: Hostinfo, told: Hostinfo) -> Hostinfo:
    """Clients repeat what they know of their network only when it changes, and 0 means "no relay yet"."""
    if known.net_info is None:
        return told
    if told.net_info is None:
        return structs.replace(told, net_info=known.net_info)
    if not told.net_info.preferred_derp:
        home = known.net_info.preferred_derp
        return structs.replace(told, net_info=structs.replace(told.net_info, preferred_derp=home))
    return told
