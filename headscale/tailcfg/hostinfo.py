"""What a client says about its machine: Hostinfo and NetInfo."""

from typing import Any

import msgspec

from headscale.tailcfg.limits import Port, RegionId
from headscale.tailcfg.names import wire_names


class NetInfo(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """How the client reaches the network; `preferred_derp` becomes the node's home DERP (0: not known yet)."""

    mapping_varies_by_dest_ip: bool | None = msgspec.field(default=None, name="MappingVariesByDestIP")
    hair_pinning: bool | None = None
    working_ipv6: bool | None = msgspec.field(default=None, name="WorkingIPv6")
    os_has_ipv6: bool | None = msgspec.field(default=None, name="OSHasIPv6")
    working_udp: bool | None = msgspec.field(default=None, name="WorkingUDP")
    working_icmpv4: bool | None = msgspec.field(default=None, name="WorkingICMPv4")
    have_port_map: bool = False
    upnp: bool | None = msgspec.field(default=None, name="UPnP")
    pmp: bool | None = msgspec.field(default=None, name="PMP")
    pcp: bool | None = msgspec.field(default=None, name="PCP")
    preferred_derp: RegionId = msgspec.field(default=0, name="PreferredDERP")
    link_type: str = ""
    derp_latency: dict[str, float] = msgspec.field(default_factory=dict, name="DERPLatency")
    firewall_mode: str = ""


class Service(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """A listening service; `proto` is tcp, udp, peerapi4, peerapi6 or peerapi-dns-proxy."""

    proto: str = ""
    port: Port = 0
    description: str = ""


class Location(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """Where an exit node stands, for people who pick one; codes are upper case (SE, GOT)."""

    country: str = ""
    country_code: str = ""
    city: str = ""
    city_code: str = ""
    latitude: float = 0
    longitude: float = 0
    priority: int = 0


class Hostinfo(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """The client's description of itself. Fields that only travel through are kept as plain JSON values."""

    ipn_version: str = msgspec.field(default="", name="IPNVersion")
    frontend_log_id: str = msgspec.field(default="", name="FrontendLogID")
    backend_log_id: str = msgspec.field(default="", name="BackendLogID")
    os: str = msgspec.field(default="", name="OS")
    os_version: str = msgspec.field(default="", name="OSVersion")
    container: bool | None = None
    env: str = ""
    distro: str = ""
    distro_version: str = ""
    distro_code_name: str = ""
    app: str = ""
    desktop: bool | None = None
    package: str = ""
    device_model: str = ""
    hostname: str = ""
    shields_up: bool = False
    sharee_node: bool = False
    no_logs_no_support: bool = False
    wire_ingress: bool = False
    ingress_enabled: bool = False
    allows_update: bool = False
    remote_config: bool = False
    machine: str = ""
    go_arch: str = ""
    go_arch_var: str = ""
    go_version: str = ""
    routable_ips: tuple[str, ...] = msgspec.field(default=(), name="RoutableIPs")
    request_tags: tuple[str, ...] = ()
    wol_macs: tuple[str, ...] = msgspec.field(default=(), name="WoLMACs")
    services: tuple[Service, ...] = ()
    net_info: NetInfo | None = None
    ssh_host_keys: tuple[str, ...] = msgspec.field(default=(), name="sshHostKeys")
    cloud: str = ""
    userspace: bool | None = None
    userspace_router: bool | None = None
    app_connector: bool | None = None
    services_hash: str = ""
    peer_relay: bool = False
    exit_node_id: str = msgspec.field(default="", name="ExitNodeID")
    location: dict[str, Any] | None = None
    tpm: dict[str, Any] | None = msgspec.field(default=None, name="TPM")
    state_encrypted: bool | None = None
