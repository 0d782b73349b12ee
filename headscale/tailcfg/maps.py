"""POST /machine/map: the request, and the pieces of the answer that are not spliced as bytes."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from headscale.keys import ZERO_DISCO_KEY
from headscale.tailcfg.asks import PingRequest
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.dns import DNSConfig
from headscale.tailcfg.filters import FilterRule
from headscale.tailcfg.health import ClientVersion, DisplayMessage
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.limits import DiscoKeyText, Endpoint, NodeKeyText, Version
from headscale.tailcfg.names import wire_names
from headscale.tailcfg.node import Node, PeerChange, UserProfile
from headscale.tailcfg.ssh import SSHPolicy

COMPRESS_ZSTD = "zstd"
# From this capability version on `default-auto-update` is read, and the field of that name is not
# (tailscale v1.102.4, tailcfg.go).
AUTO_UPDATE_ATTRIBUTE = 131


class MapRequest(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """Stream: the long poll. Not stream, omit peers: a lite update. Neither: a one-shot map."""

    node_key: NodeKeyText
    version: Version = 0
    compress: str = ""
    keep_alive: bool = False
    disco_key: DiscoKeyText = ZERO_DISCO_KEY
    stream: bool = False
    hostinfo: Hostinfo | None = None
    endpoints: tuple[Endpoint, ...] | None = None
    endpoint_types: tuple[int, ...] = ()
    read_only: bool = False
    omit_peers: bool = False


class Debug(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """Switches for the client; log uploads go to the vendor, so a self-hosted server turns them off."""

    disable_log_tail: bool = False


class MapResponse(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename=wire_names({"derp_map": "DERPMap", "dns_config": "DNSConfig", "ssh_policy": "SSHPolicy"}),
):
    """One message of a map stream. Absent means unchanged; peers may be spliced in as encoded bytes.

    `packet_filters` maps a name to its rules: `{"base": []}` blocks everything, absence changes nothing. So it is with
    `ssh_policy`: no rules takes back what there was. `health` is a whole list (none: all is well), `display_messages` a
    patch whose None takes a message back; a client gets one or the other (`tailcfg.health`).
    `default_auto_update` is for clients below AUTO_UPDATE_ATTRIBUTE; later ones have a node attribute for it.
    """

    control_time: datetime
    ping_request: PingRequest | None = None
    keep_alive: bool = False
    node: Node | None = None
    derp_map: DERPMap | None = None
    peers: tuple[msgspec.Raw, ...] = ()
    peers_changed: tuple[msgspec.Raw, ...] = ()
    peers_removed: tuple[int, ...] = ()
    peers_changed_patch: tuple[PeerChange, ...] = ()
    dns_config: DNSConfig | None = None
    domain: str = ""
    collect_services: bool | UnsetType = UNSET
    packet_filters: dict[str, tuple[FilterRule, ...]] | UnsetType = UNSET
    ssh_policy: SSHPolicy | None = None
    health: tuple[str, ...] | UnsetType = UNSET
    display_messages: dict[str, DisplayMessage | None] | UnsetType = UNSET
    client_version: ClientVersion | None = None
    default_auto_update: bool | UnsetType = UNSET
    user_profiles: tuple[UserProfile, ...] = ()
    debug: Debug | None = None
