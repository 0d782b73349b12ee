"""Users, keys and nodes as REST v1 shows them.

No field is ever left out: empty texts, false and `[]` are there, absent objects and times are `null`. Web
front ends depend on that shape.
"""

from datetime import datetime

import msgspec

from headscale import records
from headscale.policy.subjects import EXIT_ROUTES
from headscale.records import TAGGED_LOGIN, TAGGED_USER_ID
from headscale.state.apikeys import masked_api_key
from headscale.state.credentials import masked
from headscale.state.routes import in_force
from headscale.state.snapshot import LONG_AGO, Snapshot


class User(msgspec.Struct, frozen=True, rename="camel"):
    """A user."""

    id: str
    name: str
    created_at: datetime | None
    display_name: str
    email: str
    provider_id: str
    provider: str
    profile_pic_url: str


class PreAuthKey(msgspec.Struct, frozen=True, rename="camel"):
    """A pre-auth key; `key` is the whole text once, at creation, and masked ever after."""

    user: User | None
    id: str
    key: str
    reusable: bool
    ephemeral: bool
    used: bool
    expiration: datetime | None
    created_at: datetime
    acl_tags: tuple[str, ...]
    preauthorized: bool


class ApiKey(msgspec.Struct, frozen=True, rename="camel"):
    """An API key; `prefix` is the masked form. `user` is ours, and there only when the key is somebody's."""

    id: str
    prefix: str
    expiration: datetime | None
    created_at: datetime
    last_seen: datetime | None
    user: User | msgspec.UnsetType = msgspec.UNSET


class Node(msgspec.Struct, frozen=True, rename="camel"):
    """A node. `authorized` is ours: whether it is in, or still waits for approval."""

    id: str
    machine_key: str
    node_key: str
    disco_key: str
    ip_addresses: tuple[str, ...]
    name: str
    user: User | None
    last_seen: datetime | None
    expiry: datetime | None
    pre_auth_key: PreAuthKey | None
    created_at: datetime
    register_method: str
    given_name: str
    online: bool
    approved_routes: tuple[str, ...]
    available_routes: tuple[str, ...]
    subnet_routes: tuple[str, ...]
    tags: tuple[str, ...]
    authorized: bool


_METHODS = {
    records.RegisterMethod.AUTH_KEY: "REGISTER_METHOD_AUTH_KEY",
    records.RegisterMethod.CLI: "REGISTER_METHOD_CLI",
    records.RegisterMethod.OIDC: "REGISTER_METHOD_OIDC",
    records.RegisterMethod.CONFIG: "REGISTER_METHOD_UNSPECIFIED",
}
# Of a node that is none yet.
UNSPECIFIED = "REGISTER_METHOD_UNSPECIFIED"
# Whom a list shows as the owner of tagged nodes; a single node shows nobody.
_TAGGED = User(str(TAGGED_USER_ID), TAGGED_LOGIN, LONG_AGO, "Tagged Devices", "", "", "", "")


def user_object(user: records.User) -> User:
    """The user as v1 shows it."""
    return User(
        id=str(user.id),
        name=user.name or user.login,
        created_at=user.created_at,
        display_name=user.display_name,
        email=user.email,
        provider_id=user.provider_identifier or "",
        provider=user.provider,
        profile_pic_url=user.profile_pic_url,
    )


def key_object(snapshot: Snapshot, key: records.PreAuthKey, *, text: str | None = None) -> PreAuthKey:
    """The key as v1 shows it; `text` only in the answer that creates it."""
    owner = snapshot.users.get(key.user_id or 0)
    return PreAuthKey(
        user=user_object(owner) if owner else None,
        id=str(key.id),
        key=text or masked(key),
        reusable=key.reusable,
        ephemeral=key.ephemeral,
        used=key.used,
        expiration=key.expiration,
        created_at=key.created_at,
        acl_tags=key.tags,
        preauthorized=key.preauthorized,
    )


def api_key_object(snapshot: Snapshot, key: records.ApiKey) -> ApiKey:
    """The key as v1 shows it; its whole text is only ever in the answer that creates it."""
    return ApiKey(
        id=str(key.id),
        prefix=masked_api_key(key),
        expiration=key.expiration,
        created_at=key.created_at,
        last_seen=key.last_seen,
        user=user_object(snapshot.users[key.user_id]) if key.user_id is not None else msgspec.UNSET,
    )


def node_object(
    snapshot: Snapshot, node: records.Node, *, in_list: bool = False, with_primaries: bool = False
) -> Node:
    """The node as v1 shows it, alone or in a list.

    `subnet_routes` is what others go through it for, in a list; alone it is empty, or `with_primaries` without exit
    routes. (So it is with the peer.)
    """
    owner = snapshot.users.get(node.user_id or 0)
    key = snapshot.pre_auth_keys.get(node.auth_key_id or 0)
    return Node(
        id=str(node.id),
        machine_key=node.machine_key,
        node_key=node.node_key,
        disco_key=node.disco_key,
        ip_addresses=tuple(map(str, node.addresses)),
        name=node.hostname,
        user=user_object(owner) if owner else _TAGGED if in_list else None,
        last_seen=node.last_seen,
        expiry=node.expiry,
        pre_auth_key=key_object(snapshot, key) if key else None,
        created_at=node.created_at,
        register_method=_METHODS[node.register_method],
        given_name=node.given_name,
        online=node.online,
        approved_routes=node.approved_routes,
        available_routes=node.hostinfo.routable_ips,
        subnet_routes=_served(snapshot, node, exits=in_list) if in_list or with_primaries else (),
        tags=node.tags,
        authorized=node.authorized,
    )


def _served(snapshot: Snapshot, node: records.Node, *, exits: bool) -> tuple[str, ...]:
    """What others go through this node for: subnets of which it is primary, and exit routes."""
    primaries = snapshot.primaries
    routes = (r for r in in_force(node) if (exits if r in EXIT_ROUTES else primaries.get(r) == node.id))
    return tuple(map(str, routes))
