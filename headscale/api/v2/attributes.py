"""/device/{id}/attributes: what a device's client, or an administrator, says of it."""

from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from headscale.api.bodies import id_of
from headscale.api.v2.endpoints import Call, Endpoint
from headscale.errors import NotFound
from headscale.records import AttributeValue, Node
from headscale.state.attributes import set_attributes, set_attributes_of
from headscale.state.audit import DETAILS_MAX
from headscale.state.nodes import find_node
from headscale.state.scopes import DEVICE_ATTRIBUTES, read

# What Go writes for no time at all.
_NEVER: Final = ("", "0001-01-01T00:00:00Z")


class Attributes(msgspec.Struct, frozen=True):
    """By name. Nothing here ends by itself, so there are no `expiries`."""

    attributes: dict[str, AttributeValue]
    expiries: dict[str, str]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the attribute is to be; `comment` goes to the audit log."""

    value: AttributeValue
    expiry: str | None = None
    comment: str | None = None


class Update(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one attribute of several is to be."""

    value: AttributeValue
    expiry: str | None = None


class Updates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By device and name; null takes an attribute away. `comment` goes to the audit log."""

    nodes: dict[str, dict[str, Update | None]]
    comment: str | None = None


def attributes_object(node: Node) -> Attributes:
    """What is known of the node: what its host info says, and `custom:` ones."""
    told = node.hostinfo
    built_in: dict[str, AttributeValue] = {
        "node:os": told.os,
        "node:osVersion": told.os_version,
        "node:tsVersion": told.ipn_version.partition("-")[0],
    }
    return Attributes({name: text for name, text in built_in.items() if text} | dict(node.attributes), {})


async def get_attributes(call: Call[None]) -> Attributes:
    """All of them."""
    return attributes_object(find_node(call.snapshot, call.id("device")))


async def set_attribute(call: Call[Value]) -> Attributes:
    """One `custom:` attribute."""
    _check_lasts(call.body.expiry)
    step = partial(
        set_attributes, node_id=call.id("device"), update={call.text("attribute"): call.body.value}
    )
    details = (call.body.comment or "")[:DETAILS_MAX]
    return attributes_object(await call.apply("node.attributes", step, details=details))


async def delete_attribute(call: Call[None]) -> None:
    """Take one away; one that is not there is no error."""
    step = partial(set_attributes, node_id=call.id("device"), update={call.text("attribute"): None})
    await call.apply("node.attributes", step)


async def set_several(call: Call[Updates]) -> None:
    """Attributes of several devices: all or none."""
    updates: dict[int, dict[str, AttributeValue | None]] = {}
    for text, asked in call.body.nodes.items():
        node_id = id_of(text)
        if node_id is None:
            raise NotFound(f"no device has the id {text[:40]!r}")
        for update in asked.values():
            _check_lasts(update.expiry if update is not None else None)
        updates[node_id] = {name: update.value if update else None for name, update in asked.items()}
    details = (call.body.comment or "")[:DETAILS_MAX]
    await call.apply("node.attributes", partial(set_attributes_of, updates=updates), details=details)


def _check_lasts(expiry: str | None) -> None:
    if expiry not in (None, *_NEVER):
        raise web.HTTPNotImplemented(
            text="attributes do not end here: leave expiry out, and delete it when it is time"
        )


ENDPOINTS: Final = (
    Endpoint(
        method="PATCH",
        path="/tailnet/{tailnet}/device-attributes",
        scopes=(DEVICE_ATTRIBUTES,),
        handler=set_several,
        body=Updates,
        summary="Set custom: attributes of several devices",
    ),
    Endpoint(
        method="GET",
        path="/device/{id}/attributes",
        scopes=(read(DEVICE_ATTRIBUTES),),
        handler=get_attributes,
        answer=Attributes,
        summary="Get a device's attributes",
    ),
    Endpoint(
        method="POST",
        path="/device/{id}/attributes/{attribute}",
        scopes=(DEVICE_ATTRIBUTES,),
        handler=set_attribute,
        body=Value,
        answer=Attributes,
        summary="Set a custom: attribute of a device",
    ),
    Endpoint(
        method="DELETE",
        path="/device/{id}/attributes/{attribute}",
        scopes=(DEVICE_ATTRIBUTES,),
        handler=delete_attribute,
        summary="Take an attribute from a device",
    ),
)
