"""A node as its peers and as it itself see it, encoded once for everybody.

Every string here came from some client and goes to all others. tailscale-rs cannot decode a string with any
JSON escape in it (protocol notes in docs/protocol.md), so what would need one is left out.
"""

import re
from typing import Final

import msgspec

from headscale.keys import is_zero
from headscale.records import TAGGED_DISPLAY, TAGGED_LOGIN, TAGGED_USER_ID, Node, TailnetSettings, User
from headscale.tailcfg import node as wire
from headscale.tailcfg.hostinfo import Hostinfo, Service

# Where a relay region is written as an address: clients before capability version 111 read only this.
DERP_MAGIC: Final = "127.3.3.40"

CAP_ADMIN: Final = "https://tailscale.com/cap/is-admin"
CAP_SSH: Final = "https://tailscale.com/cap/ssh"
CAP_FILE_SHARING: Final = "https://tailscale.com/cap/file-sharing"
CAP_AUTO_UPDATE: Final = "default-auto-update"

_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f]')


def plain(text: str) -> str:
    """The text without what JSON would have to escape."""
    return _ESCAPED.sub("", text)


def dns_name(settings: TailnetSettings, node: Node) -> str:
    """The node's full name with its final dot; the bare label in a tailnet without a domain."""
    domain = settings.dns.base_domain
    return f"{node.given_name}.{domain}." if domain else node.given_name


def owner_id(node: Node) -> int:
    """The user that clients show as the node's owner."""
    return TAGGED_USER_ID if node.user_id is None else node.user_id


def profile_of(owner: int, user: User | None) -> wire.UserProfile:
    """The owner for clients; tagged nodes share a stand-in."""
    if user is None:
        return wire.UserProfile(owner, TAGGED_LOGIN, TAGGED_DISPLAY)
    return wire.UserProfile(
        owner,
        plain(user.login),
        plain(user.display_name) or plain(user.login),
        plain(user.profile_pic_url),
    )


def peer_node(settings: TailnetSettings, node: Node) -> wire.Node:
    """The node for everybody else. `online` is always explicit: clients lose a change from or to absent."""
    return _node(settings, node)


def self_node(settings: TailnetSettings, node: Node) -> wire.Node:
    """The node for its own client, with the capabilities that it has."""
    return msgspec.structs.replace(_node(settings, node), cap_map=_capabilities(settings))


def _node(settings: TailnetSettings, node: Node) -> wire.Node:
    addresses = tuple(f"{address}/{address.max_prefixlen}" for address in node.addresses)
    return wire.Node(
        id=node.id,
        stable_id=str(node.id),
        name=dns_name(settings, node),
        user=owner_id(node),
        key=node.node_key,
        machine=node.machine_key,
        addresses=addresses,
        allowed_ips=addresses,
        endpoints=node.endpoints,
        hostinfo=shared_hostinfo(node.hostinfo),
        key_expiry=node.expiry,
        disco_key="" if is_zero(node.disco_key) else node.disco_key,
        derp=f"{DERP_MAGIC}:{node.home_derp}" if node.home_derp else "",
        home_derp=node.home_derp,
        created=node.created_at,
        cap=node.cap_version,
        tags=node.tags,
        last_seen=None if node.online else node.last_seen,
        online=node.online,
        machine_authorized=True,
        expired=node.expired,
    )


def _capabilities(settings: TailnetSettings) -> wire.CapMap:
    """What every client has: admin texts in its UI, SSH, Taildrop, and whether it updates itself."""
    capabilities: wire.CapMap = {
        CAP_ADMIN: [],
        CAP_SSH: [],
        CAP_AUTO_UPDATE: [msgspec.Raw(b"true" if settings.auto_update else b"false")],
    }
    if settings.taildrop:
        capabilities[CAP_FILE_SHARING] = []
    return capabilities


def shared_hostinfo(hostinfo: Hostinfo) -> Hostinfo:
    """What peers need of a client's description; what it says about its owner and hardware stays here."""
    return Hostinfo(
        os=plain(hostinfo.os),
        hostname=plain(hostinfo.hostname),
        shields_up=hostinfo.shields_up,
        services=tuple(
            Service(proto=plain(service.proto), port=service.port) for service in hostinfo.services
        ),
        ssh_host_keys=tuple(map(plain, hostinfo.ssh_host_keys)),
        app_connector=hostinfo.app_connector,
        peer_relay=hostinfo.peer_relay,
    )


class PeerBytes:
    """Each node's encoding for its peers, made once a version of the node and shared by all viewers."""

    def __init__(self, settings: TailnetSettings) -> None:
        self._settings = settings
        self._encoder = msgspec.json.Encoder()
        self._known: dict[int, tuple[Node, msgspec.Raw]] = {}

    def of(self, node: Node) -> msgspec.Raw:
        """The JSON of this version of the node."""
        known = self._known.get(node.id)
        if known is not None and known[0] is node:
            return known[1]
        encoded = msgspec.Raw(self._encoder.encode(peer_node(self._settings, node)))
        self._known[node.id] = (node, encoded)
        return encoded

    def forget(self, node_id: int) -> None:
        """Let go of a node that was deleted."""
        self._known.pop(node_id, None)
