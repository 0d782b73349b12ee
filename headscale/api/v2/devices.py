"""/tailnet/{tailnet}/devices and /device/{id}: nodes as devices."""

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from ipaddress import IPv4Address
from typing import Final

import msgspec

from headscale.api.v2.deviceobjects import Device, Devices, device_object, routes_object
from headscale.api.v2.deviceobjects import Routes as RoutesShown
from headscale.api.v2.endpoints import Call, Endpoint
from headscale.api.v2.granted import check_tags
from headscale.errors import Malformed
from headscale.records import Node
from headscale.state.approvals import approve_routes
from headscale.state.nodes import delete_node, expire_node, find_node, rename_node
from headscale.state.preferences import authorize_node
from headscale.state.readdress import set_ipv4
from headscale.state.scopes import DEVICE_ROUTES, DEVICES, read
from headscale.state.tags import set_tags

FIELDS: Final = "fields"
ALL: Final = "all"
# The fields that always are there, of texts, truths and lists.
FILTERS: Final = frozenset(
    each.encode_name
    for each in msgspec.structs.fields(Device)
    if each.required and each.encode_name not in ("created",)
)


class Authorization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the device is in."""

    authorized: bool


class Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Its name in the tailnet; with the tailnet's domain behind it or without."""

    name: str


class Tags(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All tags that it is to have; none changes nothing, because a device cannot lose them all."""

    tags: tuple[str, ...] | None = None


class KeyProperties(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Whether its key never ends."""

    key_expiry_disabled: bool


class EnabledRoutes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All routes that are to be approved, advertised or not."""

    routes: tuple[str, ...]


class Ip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Its IPv4 address."""

    ipv4: str


async def list_devices(call: Call[None]) -> Devices:
    """All by id, or those that every other parameter of the query fits; ?fields=all has their routes too."""
    snapshot, all_fields, filters = call.snapshot, _all_fields(call), _filters(call)
    seen = (node for node in snapshot.nodes.values() if call.grant.sees(node))
    nodes = sorted(seen, key=lambda node: node.id)
    devices = (device_object(snapshot, node, all_fields=all_fields) for node in nodes)
    return Devices(tuple(device for device in devices if not filters or fits(device, filters)))


async def get_device(call: Call[None]) -> Device:
    """One of them."""
    return device_object(call.snapshot, _node(call), all_fields=_all_fields(call))


async def delete(call: Call[None]) -> None:
    """It is gone for everyone, and its client has to log in again."""
    await call.apply("node.delete", partial(delete_node, node_id=call.id("device")))


async def authorize(call: Call[Authorization]) -> None:
    """Let it in, or make it wait for approval (again)."""
    step = partial(authorize_node, node_id=call.id("device"), on=call.body.authorized)
    await call.apply("node.authorize", step)


async def expire(call: Call[None]) -> None:
    """Its key ends now."""
    step = partial(expire_node, node_id=call.id("device"), expiry=call.parts.clock.now())
    await call.apply("node.expire", step)


async def rename(call: Call[Name]) -> None:
    """Another name, exactly as asked."""
    domain = call.snapshot.settings.dns.base_domain
    name = call.body.name.removesuffix(".")
    label = name.removesuffix(f".{domain}") if domain else name
    await call.apply("node.rename", partial(rename_node, node_id=call.id("device"), name=label))


async def tag(call: Call[Tags]) -> None:
    """It is these tags' from now on; a token gives only what it may. Without tags nothing changes."""
    node = _node(call)
    if call.body.tags:
        check_tags(call, call.body.tags)
        await call.apply("node.tags", partial(set_tags, node_id=node.id, tags=call.body.tags))


async def set_key(call: Call[KeyProperties]) -> None:
    """Its key never ends; or it ends as a new one's does (`node.expiry`), where that has a lifetime."""
    node = _node(call)
    lifetime = call.snapshot.settings.node_expiry
    if call.body.key_expiry_disabled:
        expiry = None
    elif node.expiry is None and lifetime is not None:
        expiry = call.parts.clock.now() + lifetime
    else:
        return
    await call.apply("node.expire", partial(expire_node, node_id=node.id, expiry=expiry))


async def get_routes(call: Call[None]) -> RoutesShown:
    """What it advertises, and what is approved."""
    return routes_object(_node(call))


async def set_routes(call: Call[EnabledRoutes]) -> RoutesShown:
    """These are approved and no others; one exit route stands for both families."""
    step = partial(approve_routes, node_id=call.id("device"), routes=call.body.routes)
    return routes_object(await call.apply("node.routes", step))


async def set_ip(call: Call[Ip]) -> None:
    """Another IPv4 address, of the tailnet's prefix and nobody's."""
    try:
        address = IPv4Address(call.body.ipv4)
    except ValueError:
        raise Malformed(f"{call.body.ipv4[:80]!r} is not an IPv4 address") from None
    await call.apply("node.address", partial(set_ipv4, node_id=call.id("device"), address=address))


def _node(call: Call[object]) -> Node:
    return find_node(call.snapshot, call.id("device"))


def fits(device: Device, filters: Mapping[str, Collection[str]]) -> bool:
    """Whether each of the fields has one of the texts, or a list one that has."""
    shown = msgspec.to_builtins(device)
    return all(not _texts(shown.get(name)).isdisjoint(wanted) for name, wanted in filters.items())


def _texts(value: object) -> set[str]:
    if isinstance(value, bool):
        return {str(value).lower()}
    return (
        set(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else {str(value)}
    )


def _filters(call: Call[None]) -> dict[str, list[str]]:
    """What the query asks of devices. Raises Malformed for a field that none has: nothing may match by mistake."""
    query = call.request.query
    unknown = sorted(set(query) - FILTERS - {FIELDS})
    if unknown:
        raise Malformed(
            f"{unknown[0][:40]!r} is not a field to look for: expected {', '.join(sorted(FILTERS))}"
        )
    return {name: query.getall(name) for name in query if name != FIELDS}


def _all_fields(call: Call[object]) -> bool:
    return call.request.query.get(FIELDS) == ALL


_READ: Final = (read(DEVICES),)
_WRITE: Final = (DEVICES,)
ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/tailnet/{tailnet}/devices",
        scopes=_READ,
        is_own=True,
        handler=list_devices,
        answer=Devices,
        query=(FIELDS, *sorted(FILTERS)),
        summary="List devices; fields=all shows their routes and how they are connected",
    ),
    Endpoint(
        method="GET",
        path="/device/{id}",
        scopes=_READ,
        is_own=True,
        handler=get_device,
        answer=Device,
        query=(FIELDS,),
        summary="Get a device",
    ),
    Endpoint(
        method="DELETE",
        path="/device/{id}",
        scopes=_WRITE,
        is_own=True,
        handler=delete,
        summary="Delete a device",
    ),
    Endpoint(
        method="POST",
        path="/device/{id}/authorized",
        scopes=_WRITE,
        handler=authorize,
        body=Authorization,
        summary="Let a device in, or make it wait for approval",
    ),
    Endpoint(
        method="POST",
        path="/device/{id}/expire",
        scopes=_WRITE,
        is_own=True,
        handler=expire,
        summary="End a device's key now",
    ),
    Endpoint(
        method="POST",
        path="/device/{id}/name",
        scopes=_WRITE,
        handler=rename,
        body=Name,
        summary="Rename a device",
    ),
    Endpoint(
        method="POST",
        path="/device/{id}/tags",
        scopes=_WRITE,
        handler=tag,
        body=Tags,
        summary="Set a device's tags",
    ),
    Endpoint(
        method="POST",
        path="/device/{id}/key",
        scopes=_WRITE,
        handler=set_key,
        body=KeyProperties,
        summary="Let a device's key end, or never",
    ),
    Endpoint(
        method="GET",
        path="/device/{id}/routes",
        scopes=(read(DEVICE_ROUTES),),
        handler=get_routes,
        answer=RoutesShown,
        summary="Get a device's routes",
    ),
    Endpoint(
        method="POST",
        path="/device/{id}/routes",
        scopes=(DEVICE_ROUTES,),
        handler=set_routes,
        body=EnabledRoutes,
        answer=RoutesShown,
        summary="Set which routes of a device are approved",
    ),
    Endpoint(
        method="POST",
        path="/device/{id}/ip",
        scopes=_WRITE,
        handler=set_ip,
        body=Ip,
        summary="Give a device another IPv4 address",
    ),
)
