"""Pre-auth keys and OAuth clients as REST v2 shows them: both are keys."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from headscale.errors import Refused
from headscale.records import OAuthClient, PreAuthKey
from headscale.state.credentials import check_valid


class Create(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What devices that join with the key are like; all four have to be said. Shown without tags it has `[]`, because
    clients of typed languages take no null there."""

    reusable: bool
    ephemeral: bool
    preauthorized: bool
    tags: tuple[str, ...] | None


class DeviceCapabilities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the key does with devices."""

    create: Create


class Capabilities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the key does."""

    devices: DeviceCapabilities


class Key(msgspec.Struct, frozen=True, rename="camel"):
    """A pre-auth key (`auth`) or OAuth client (`client`). `key` is its text, in the answer that creates it only."""

    id: str
    key_type: str
    created: datetime
    invalid: bool
    capabilities: Capabilities
    key: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    expiry_seconds: int | UnsetType = UNSET
    expires: datetime | UnsetType = UNSET
    revoked: datetime | UnsetType = UNSET
    updated: datetime | UnsetType = UNSET
    scopes: tuple[str, ...] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


class Keys(msgspec.Struct, frozen=True):
    """Several keys."""

    keys: tuple[Key, ...]


def auth_key_object(key: PreAuthKey, now: datetime, *, text: str | None = None) -> Key:
    """The pre-auth key; it is `invalid` when it lets nobody in any more."""
    created = Create(key.reusable, key.ephemeral, key.preauthorized, key.tags)
    lifetime = key.expiration - key.created_at if key.expiration is not None and key.revoked is None else None
    return Key(
        id=str(key.id),
        key_type="auth",
        created=key.created_at,
        invalid=not _is_valid(key, now),
        capabilities=Capabilities(DeviceCapabilities(created)),
        key=text or UNSET,
        description=key.description or UNSET,
        expiry_seconds=round(lifetime.total_seconds()) if lifetime is not None else UNSET,
        expires=key.expiration or UNSET,
        revoked=key.revoked or UNSET,
        user_id=str(key.user_id) if key.user_id is not None else UNSET,
    )


def client_object(client: OAuthClient, *, text: str | None = None) -> Key:
    """The OAuth client."""
    return Key(
        id=client.prefix,
        key_type="client",
        created=client.created_at,
        invalid=False,
        capabilities=Capabilities(DeviceCapabilities(Create(False, False, False, ()))),
        key=text or UNSET,
        description=client.description or UNSET,
        updated=client.updated_at or UNSET,
        scopes=client.scopes,
        tags=client.tags or UNSET,
    )


def _is_valid(key: PreAuthKey, now: datetime) -> bool:
    try:
        check_valid(key, now)
    except Refused:
        return False
    return True
