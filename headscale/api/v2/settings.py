"""/tailnet/{tailnet}/settings: what is in force in the tailnet. What the operator's configuration decides is a 409."""

from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import structs

from headscale.api.v2.endpoints import Call, Endpoint
from headscale.records import Choices
from headscale.state.preferences import set_device_approval
from headscale.state.scopes import SETTINGS, read
from headscale.state.settings import choose

ROLE: Final = "none"


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All of them. Those with a value here are what this server has no part for."""

    acls_externally_managed_on: bool
    acls_external_link: str = ""
    devices_approval_on: bool
    devices_auto_updates_on: bool
    devices_key_duration_days: int
    users_approval_on: bool = False
    users_role_allowed_to_join_external_tailnets: str = ROLE
    network_flow_logging_on: bool = False
    regional_routing_on: bool = False
    posture_identity_collection_on: bool = False
    https_enabled: bool
    route_selection: str = ""


class SettingsChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Those that are to be otherwise; null and what is left out stay."""

    acls_externally_managed_on: bool | None = None
    acls_external_link: str | None = None
    devices_approval_on: bool | None = None
    devices_auto_updates_on: bool | None = None
    devices_key_duration_days: int | None = None
    users_approval_on: bool | None = None
    users_role_allowed_to_join_external_tailnets: str | None = None
    network_flow_logging_on: bool | None = None
    regional_routing_on: bool | None = None
    posture_identity_collection_on: bool | None = None
    https_enabled: bool | None = None
    route_selection: str | None = None


# What administrators may change while the server runs.
CHANGEABLE: Final = frozenset({"devices_approval_on", "devices_auto_updates_on", "devices_key_duration_days"})


async def get(call: Call[None]) -> Settings:
    """What is in force."""
    return shown(call)


async def patch(call: Call[SettingsChanges]) -> Settings:
    """Change some; one that this server cannot change is a 501 and nothing is changed."""
    now, asked = shown(call), call.body
    fixed = [
        field.encode_name
        for field in structs.fields(SettingsChanges)
        if field.name not in CHANGEABLE and getattr(asked, field.name) not in (None, getattr(now, field.name))
    ]
    if fixed:
        raise web.HTTPNotImplemented(text=f"{', '.join(fixed)} cannot be changed here: nothing was changed")
    choices = Choices(
        auto_update=asked.devices_auto_updates_on, node_expiry_days=asked.devices_key_duration_days
    )
    if choices != Choices():
        await call.apply("settings.change", partial(choose, choices=choices))
    if asked.devices_approval_on not in (None, now.devices_approval_on):
        await call.apply("settings.change", partial(set_device_approval, on=asked.devices_approval_on))
    return shown(call)


def shown(call: Call[Any]) -> Settings:
    """The settings of this moment."""
    settings = call.snapshot.settings
    return Settings(
        acls_externally_managed_on=call.parts.policy.is_file,
        devices_approval_on=call.snapshot.needs_approval,
        devices_auto_updates_on=settings.auto_update,
        devices_key_duration_days=settings.node_expiry.days if settings.node_expiry is not None else 0,
        https_enabled=settings.dns.certificates,
    )


ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (
    Endpoint(
        method="GET",
        path="/tailnet/{tailnet}/settings",
        summary="Get the settings",
        handler=get,
        scopes=(read(SETTINGS),),
        answer=Settings,
    ),
    Endpoint(
        method="PATCH",
        path="/tailnet/{tailnet}/settings",
        summary="Change some settings",
        handler=patch,
        scopes=(SETTINGS,),
        body=SettingsChanges,
        answer=Settings,
    ),
)
