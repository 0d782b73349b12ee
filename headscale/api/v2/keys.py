"""/tailnet/{tailnet}/keys: pre-auth keys and OAuth clients, told apart by `keyType` and by their ids.

A caller knows of the kinds that its scopes name, and of no others: the id of an OAuth client is an unknown one to
somebody who may only ask for pre-auth keys.
"""

import secrets
from datetime import timedelta
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from headscale.api.bodies import id_of
from headscale.api.v2.endpoints import Call, Endpoint
from headscale.api.v2.granted import check_scopes, check_tags
from headscale.api.v2.keyobjects import Capabilities, Key, Keys, auth_key_object, client_object
from headscale.errors import Malformed, NotFound, Refused
from headscale.records import OAuthClient, PreAuthKey
from headscale.state.credentials import (
    PREFIX_BYTES,
    SECRET_BYTES,
    create_key,
    draw_secret,
    find_key,
    revoke_key,
)
from headscale.state.oauth import (
    change_client,
    create_client,
    delete_client,
    draw_client_secret,
    find_client,
)
from headscale.state.scopes import AUTH_KEYS, OAUTH_KEYS, read

AUTH: Final = "auth"
CLIENT: Final = "client"
FEDERATED: Final = "federated"
LIFETIME: Final = timedelta(days=90)
# Far beyond any use, and far from where the calendar ends.
LIFETIME_MAX: Final = timedelta(days=36_500)
_SECRET: Final = PREFIX_BYTES + SECRET_BYTES


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What is to be made: a pre-auth key of some `capabilities`, or an OAuth client of some `scopes`.

    `issuer` and what follows are of federated identities, which there are none of here.
    """

    key_type: str = AUTH
    description: str | None = None
    capabilities: Capabilities | None = None
    expiry_seconds: int | None = None
    scopes: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    issuer: str | None = None
    subject: str | None = None
    audience: str | None = None
    custom_claim_rules: dict[str, str] | None = None


class ChangedClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """All that an OAuth client is to be."""

    scopes: tuple[str, ...]
    key_type: str = CLIENT
    description: str | None = None
    tags: tuple[str, ...] | None = None
    issuer: str | None = None
    subject: str | None = None
    audience: str | None = None
    custom_claim_rules: dict[str, str] | None = None


async def create(call: Call[NewKey]) -> Key:
    """A new key; the only answer that ever holds its secret."""
    match call.body.key_type:
        case "auth" | "":
            _check_may(call, AUTH_KEYS)
            return await _create_auth_key(call)
        case "client":
            _check_may(call, OAUTH_KEYS)
            return await _create_client(call)
    raise _other_kind(call.body.key_type)


async def list_keys(call: Call[None]) -> Keys:
    """Those that the caller may know of: pre-auth keys by id, then OAuth clients."""
    snapshot, now, keys = call.snapshot, call.parts.clock.now(), list[Key]()
    if call.grant.allows(read(AUTH_KEYS)):
        auth_keys = sorted(snapshot.pre_auth_keys.values(), key=lambda key: key.id)
        keys += (auth_key_object(key, now) for key in auth_keys)
    if call.grant.allows(read(OAUTH_KEYS)):
        clients = sorted(snapshot.oauth_clients.values(), key=lambda client: client.id)
        keys += map(client_object, clients)
    return Keys(tuple(keys))


async def get(call: Call[None]) -> Key:
    """One of them, without its secret."""
    found = _find(call, read)
    return (
        client_object(found)
        if isinstance(found, OAuthClient)
        else auth_key_object(found, call.parts.clock.now())
    )


async def change(call: Call[ChangedClient]) -> Key:
    """An OAuth client with other scopes, tags and description; its secret stays."""
    if call.body.key_type not in (CLIENT, ""):
        raise _other_kind(call.body.key_type)
    client = _find(call, lambda scope: scope)
    if not isinstance(client, OAuthClient):
        raise Malformed("a pre-auth key cannot be changed: delete it and make another one")
    step = partial(change_client, client_id=client.prefix, **_described(call, call.body))
    return client_object(await call.apply("oauth_client.change", step))


async def delete(call: Call[None]) -> None:
    """A pre-auth key is revoked, and can still be read for a while; an OAuth client is gone, and its tokens with it."""
    found = _find(call, lambda scope: scope)
    if isinstance(found, OAuthClient):
        await call.apply("oauth_client.delete", partial(delete_client, client_id=found.prefix))
    else:
        await call.apply("preauthkey.revoke", partial(revoke_key, key_id=found.id))


async def _create_auth_key(call: Call[NewKey]) -> Key:
    """Without tags it is for devices of the person whose API key asks; nobody's has none."""
    asked = call.body
    if asked.capabilities is None:
        raise web.HTTPUnprocessableEntity(text="capabilities: missing, say what devices the key makes")
    made = asked.capabilities.devices.create
    owner = None if made.tags else call.grant.person
    if not made.tags and owner is None:
        if not call.grant.any_tag:
            raise Refused("a key needs tags: devices that join with an access token's keys are its tags'")
        raise Malformed(
            "a key needs tags here: keys for a user's devices are made with `headscale preauthkeys create`"
        )
    secret = draw_secret(secrets.token_bytes(_SECRET))
    step = partial(
        create_key,
        secret=secret,
        user_id=owner,
        tags=check_tags(call, made.tags or ()),
        reusable=made.reusable,
        ephemeral=made.ephemeral,
        preauthorized=made.preauthorized,
        expiration=call.parts.clock.now() + _lifetime(asked.expiry_seconds),
        description=asked.description or "",
    )
    key = await call.apply("preauthkey.create", step)
    return auth_key_object(key, call.parts.clock.now(), text=secret.reveal())


async def _create_client(call: Call[NewKey]) -> Key:
    secret = draw_client_secret(secrets.token_bytes(_SECRET))
    step = partial(create_client, secret=secret, **_described(call, call.body))
    return client_object(await call.apply("oauth_client.create", step), text=secret.reveal())


def _described(call: Call[object], asked: NewKey | ChangedClient) -> dict[str, Any]:
    """What a client is to be, once it is clear that the caller may hand it on."""
    check_scopes(call, asked.scopes or ())
    return {
        "scopes": asked.scopes or (),
        "tags": check_tags(call, asked.tags or ()),
        "description": asked.description or "",
    }


def _find(call: Call[object], needed: Any) -> PreAuthKey | OAuthClient:
    """The key of the path, if the caller has the scope for its kind; raises NotFound or Refused."""
    text = call.text("id")
    key_id = id_of(text)
    if key_id is not None:
        _check_may(call, needed(AUTH_KEYS))
        return find_key(call.snapshot, key_id)
    if call.grant.allows(needed(OAUTH_KEYS)):
        return find_client(call.snapshot, text)
    raise NotFound(f"no key has the id {text[:40]!r}")


def _check_may(call: Call[object], scope: str) -> None:
    call.grant.check(scope)


def _lifetime(seconds: int | None) -> timedelta:
    if seconds is None or seconds <= 0:
        return LIFETIME
    if seconds > LIFETIME_MAX.total_seconds():
        raise Malformed(f"expirySeconds: {seconds} is more than a key may live ({LIFETIME_MAX.days} days)")
    return timedelta(seconds=seconds)


def _other_kind(kind: str) -> Exception:
    if kind == FEDERATED:
        return web.HTTPNotImplemented(text="federated identities are not served: make an OAuth client")
    return Malformed(f"{kind[:40]!r} is not a keyType: expected {AUTH} or {CLIENT}")


_READ: Final = (read(AUTH_KEYS), read(OAUTH_KEYS))
_WRITE: Final = (AUTH_KEYS, OAUTH_KEYS)
_PATH: Final = "/tailnet/{tailnet}/keys"
ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path=_PATH,
        scopes=_WRITE,
        handler=create,
        body=NewKey,
        answer=Key,
        summary="Create a pre-auth key or an OAuth client",
    ),
    Endpoint(
        method="GET",
        path=_PATH,
        scopes=_READ,
        handler=list_keys,
        answer=Keys,
        query=("all",),
        summary="List pre-auth keys and OAuth clients",
    ),
    Endpoint(
        method="GET",
        path=f"{_PATH}/{{id}}",
        scopes=_READ,
        handler=get,
        answer=Key,
        summary="Get a pre-auth key or an OAuth client",
    ),
    Endpoint(
        method="PUT",
        path=f"{_PATH}/{{id}}",
        scopes=(OAUTH_KEYS,),
        handler=change,
        body=ChangedClient,
        answer=Key,
        summary="Change an OAuth client",
    ),
    Endpoint(
        method="DELETE",
        path=f"{_PATH}/{{id}}",
        scopes=_WRITE,
        handler=delete,
        summary="Revoke a pre-auth key, or delete an OAuth client",
    ),
)
