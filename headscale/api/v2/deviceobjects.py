"""Nodes as REST v2 shows them: devices."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from headscale.mapper.notices import client_version
from headscale.records import TAGGED_LOGIN, Node
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.hostinfo import NetInfo


class Latency(msgspec.Struct, frozen=True, rename="camel"):
    """How far a relay region is."""

    latency_ms: float
    preferred: bool


class ClientSupports(msgspec.Struct, frozen=True, rename="camel"):
    """What the device's network can; null for what its client has not found out."""

    hair_pinning: bool | None
    ipv6: bool | None
    pcp: bool | None
    pmp: bool | None
    udp: bool | None
    upnp: bool | None


class Connectivity(msgspec.Struct, frozen=True, rename="camel"):
    """How the device reaches the network; `latency` by region name."""

    endpoints: tuple[str, ...]
    mapping_varies_by_dest_ip: bool | None = msgspec.field(name="mappingVariesByDestIP")
    latency: dict[str, Latency]
    client_supports: ClientSupports


class Distro(msgspec.Struct, frozen=True, rename="camel"):
    """The device's Linux distribution."""

    name: str
    version: str
    code_name: str


class Device(msgspec.Struct, frozen=True, rename="camel"):
    """A device. `last_seen` is there only while it is away, `expires` only when its key ends, and from
    `advertised_routes` on fields are there with fields=all only, routes then only if there are any."""

    id: str
    node_id: str
    name: str
    hostname: str
    user: str
    addresses: tuple[str, ...]
    tags: tuple[str, ...]
    authorized: bool
    key_expiry_disabled: bool
    blocks_incoming_connections: bool
    is_ephemeral: bool
    is_external: bool
    connected_to_control: bool
    created: datetime
    machine_key: str
    node_key: str
    os: str
    client_version: str
    update_available: bool
    tailnet_lock_error: str
    tailnet_lock_key: str
    expires: datetime | UnsetType = UNSET
    last_seen: datetime | UnsetType = UNSET
    advertised_routes: tuple[str, ...] | UnsetType = UNSET
    enabled_routes: tuple[str, ...] | UnsetType = UNSET
    ssh_enabled: bool | UnsetType = UNSET
    client_connectivity: Connectivity | UnsetType = UNSET
    distro: Distro | UnsetType = UNSET


class Devices(msgspec.Struct, frozen=True):
    """Several devices."""

    devices: tuple[Device, ...]


class Routes(msgspec.Struct, frozen=True, rename="camel"):
    """What a device advertises, and what is approved of it, advertised or not."""

    advertised_routes: tuple[str, ...]
    enabled_routes: tuple[str, ...]


def device_object(snapshot: Snapshot, node: Node, *, all_fields: bool) -> Device:
    """The node as a device."""
    owner = snapshot.users.get(node.user_id or 0)
    version = client_version(snapshot.settings, node)
    device = Device(
        id=str(node.id),
        node_id=str(node.id),
        name=node.given_name,
        hostname=node.hostname,
        user=owner.login if owner else TAGGED_LOGIN,
        addresses=tuple(map(str, node.addresses)),
        tags=node.tags,
        authorized=node.authorized,
        key_expiry_disabled=node.expiry is None,
        blocks_incoming_connections=node.hostinfo.shields_up,
        is_ephemeral=node.ephemeral,
        is_external=False,
        connected_to_control=node.online,
        created=node.created_at,
        machine_key=node.machine_key,
        node_key=node.node_key,
        os=node.hostinfo.os,
        client_version=node.hostinfo.ipn_version,
        update_available=version is not None and not version.running_latest,
        tailnet_lock_error="",
        tailnet_lock_key="",
        expires=node.expiry or UNSET,
        last_seen=UNSET if node.online else node.last_seen or UNSET,
    )
    return _with_all_fields(snapshot, device, node) if all_fields else device


def routes_object(node: Node) -> Routes:
    """The node's routes."""
    return Routes(node.hostinfo.routable_ips, node.approved_routes)


def _with_all_fields(snapshot: Snapshot, device: Device, node: Node) -> Device:
    told = node.hostinfo
    return msgspec.structs.replace(
        device,
        advertised_routes=told.routable_ips or UNSET,
        enabled_routes=node.approved_routes or UNSET,
        ssh_enabled=bool(told.ssh_host_keys),
        client_connectivity=_connectivity(snapshot, node),
        distro=Distro(told.distro, told.distro_version, told.distro_code_name) if told.distro else UNSET,
    )


def _connectivity(snapshot: Snapshot, node: Node) -> Connectivity:
    found = node.hostinfo.net_info or NetInfo()
    return Connectivity(
        endpoints=node.endpoints,
        mapping_varies_by_dest_ip=found.mapping_varies_by_dest_ip,
        latency=_latency(snapshot, found),
        client_supports=ClientSupports(
            hair_pinning=found.hair_pinning,
            ipv6=found.working_ipv6,
            pcp=found.pcp,
            pmp=found.pmp,
            udp=found.working_udp,
            upnp=found.upnp,
        ),
    )


def _latency(snapshot: Snapshot, found: NetInfo) -> dict[str, Latency]:
    """The best of what was measured of each region; clients say `12-v4`, seconds."""
    measured: dict[str, Latency] = {}
    for text, seconds in found.derp_latency.items():
        number = text.partition("-")[0]
        region = (
            snapshot.derp_map.regions.get(int(number)) if number.isascii() and number.isdecimal() else None
        )
        if region is None:
            continue
        name = region.region_name
        known = measured.get(name)
        if known is None or seconds * 1000 < known.latency_ms:
            measured[name] = Latency(round(seconds * 1000, 3), region.region_id == found.preferred_derp)
    return measured
