"""A client's own view of itself and its peers, as frozen values read from LocalAPI's `status` answer.

Field names are tailscale's where it has one (ipn/ipnstate, 1.80 to 1.102); what a release leaves out has the
empty value of its type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Node:
    """The client itself, or a peer as it sees it."""

    stable_id: str
    name: str
    """The first label of the MagicDNS name, which is unique in a tailnet."""
    dns_name: str
    """With its trailing dot."""
    host_name: str
    """What the node calls itself; neither sanitised nor unique."""
    public_key: str
    addresses: tuple[Address, ...]
    allowed_ips: tuple[str, ...]
    primary_routes: tuple[str, ...]
    tags: tuple[str, ...]
    user_id: int
    online: bool
    expired: bool
    active: bool
    exit_node_option: bool
    peer_api: tuple[str, ...]
    """The URLs at which it serves its peers itself, such as names for those who use it as an exit node."""
    relay: str
    """The code of its home DERP region."""
    current_address: str
    """Where its packets go directly; empty while they go through DERP."""
    key_expiry: str
    rx_bytes: int
    tx_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """One answer of `status`."""

    state: str
    """NoState, NeedsLogin, NeedsMachineAuth, Stopped, Starting or Running."""
    version: str
    tun: bool
    have_node_key: bool
    auth_url: str
    magic_dns_suffix: str
    health: tuple[str, ...]
    self_node: Node | None
    peers: tuple[Node, ...]
    user_logins: Mapping[int, str]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The client's tailnet addresses; empty before it has any."""
        return self.self_node.addresses if self.self_node else ()

    def peer(self, name: str) -> Node | None:
        """The peer with that MagicDNS name, whole or first label, if this client has it."""
        return _by_name(self.peers, name)

    def named(self, name: str) -> Node | None:
        """The node, self included, with that MagicDNS name, whole or first label."""
        return _by_name(self.nodes, name)

    def holder(self, address: Address) -> Node | None:
        """The node, self included, that has this tailnet address."""
        return next((n for n in self.nodes if address in n.addresses), None)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The client itself, once it is one, and its peers."""
        return (self.self_node, *self.peers) if self.self_node else self.peers


def parse_status(raw: Mapping[str, Any]) -> Status:
    """Read the JSON of `/localapi/v0/status`."""
    own = raw.get("Self")
    peers = (_node(p) for p in (raw.get("Peer") or {}).values())
    return Status(
        state=raw.get("BackendState") or "",
        version=raw.get("Version") or "",
        tun=bool(raw.get("TUN")),
        have_node_key=bool(raw.get("HaveNodeKey")),
        auth_url=raw.get("AuthURL") or "",
        magic_dns_suffix=raw.get("MagicDNSSuffix") or "",
        health=tuple(raw.get("Health") or ()),
        self_node=_node(own) if own else None,
        peers=tuple(sorted(peers, key=lambda p: p.dns_name)),
        user_logins={int(k): v.get("LoginName") or "" for k, v in (raw.get("User") or {}).items()},
    )


def _by_name(nodes: tuple[Node, ...], name: str) -> Node | None:
    wanted = name.rstrip(".")
    return next((n for n in nodes if wanted in (n.name, n.dns_name.rstrip("."))), None)


def _node(raw: Mapping[str, Any]) -> Node:
    dns_name = raw.get("DNSName") or ""
    return Node(
        stable_id=raw.get("ID") or "",
        name=dns_name.partition(".")[0],
        dns_name=dns_name,
        host_name=raw.get("HostName") or "",
        public_key=raw.get("PublicKey") or "",
        addresses=tuple(ip_address(a) for a in raw.get("TailscaleIPs") or ()),
        allowed_ips=tuple(raw.get("AllowedIPs") or ()),
        primary_routes=tuple(raw.get("PrimaryRoutes") or ()),
        tags=tuple(raw.get("Tags") or ()),
        user_id=raw.get("UserID") or 0,
        online=bool(raw.get("Online")),
        expired=bool(raw.get("Expired")),
        active=bool(raw.get("Active")),
        exit_node_option=bool(raw.get("ExitNodeOption")),
        peer_api=tuple(raw.get("PeerAPIURL") or ()),
        relay=raw.get("Relay") or "",
        current_address=raw.get("CurAddr") or "",
        key_expiry=raw.get("KeyExpiry") or "",
        rx_bytes=raw.get("RxBytes") or 0,
        tx_bytes=raw.get("TxBytes") or 0,
    )
