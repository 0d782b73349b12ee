"""Nodes, changes of nodes, and the people behind them, as maps carry them."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from headscale.tailcfg.dns import Resolver
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.names import wire_names

# A capability without data has no values.
CapMap = dict[str, list[msgspec.Raw]]

_NAMES = wire_names(
    {
        "id": "ID",
        "node_id": "NodeID",
        "stable_id": "StableID",
        "allowed_ips": "AllowedIPs",
        "derp": "DERP",
        "home_derp": "HomeDERP",
        "derp_region": "DERPRegion",
        "profile_pic_url": "ProfilePicURL",
        "is_wireguard_only": "IsWireGuardOnly",
        "exit_node_dns_resolvers": "ExitNodeDNSResolvers",
    }
)


class Node(msgspec.Struct, frozen=True, omit_defaults=True, rename=_NAMES):
    """A node as its own client or a peer sees it.

    `endpoints`, `allowed_ips` and `online` are UNSET when absent, because a client keeps what it knew for an
    absent one; `derp` is the form before capability version 111, sent beside `home_derp` to everyone.
    """

    id: int
    stable_id: str
    name: str
    user: int
    key: str
    machine: str
    addresses: tuple[str, ...]
    hostinfo: Hostinfo
    allowed_ips: tuple[str, ...] | UnsetType = UNSET
    endpoints: tuple[str, ...] | UnsetType = UNSET
    key_expiry: datetime | None = None
    disco_key: str = ""
    derp: str = ""
    home_derp: int = 0
    primary_routes: tuple[str, ...] = ()
    created: datetime | None = None
    cap: int = 0
    tags: tuple[str, ...] = ()
    last_seen: datetime | None = None
    online: bool | UnsetType = UNSET
    machine_authorized: bool = False
    expired: bool = False
    is_wireguard_only: bool = False
    exit_node_dns_resolvers: tuple[Resolver, ...] = ()
    cap_map: CapMap | UnsetType = UNSET


class PeerChange(msgspec.Struct, frozen=True, omit_defaults=True, rename=_NAMES):
    """A change of a known peer; what is absent stays as it was."""

    node_id: int
    derp_region: int = 0
    cap: int = 0
    endpoints: tuple[str, ...] | UnsetType = UNSET
    key: str = ""
    disco_key: str = ""
    online: bool | UnsetType = UNSET
    last_seen: datetime | None = None
    key_expiry: datetime | None = None


class UserProfile(msgspec.Struct, frozen=True, omit_defaults=True, rename=_NAMES):
    """The person (or, for tagged nodes, the stand-in) behind nodes."""

    id: int
    login_name: str
    display_name: str
    profile_pic_url: str = ""
