"""/api/v1/preauthkey"""

import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from headscale.api.acts import Acts
from headscale.api.v1.body import answer, in_utc, parse_id, read_body
from headscale.api.v1.objects import key_object
from headscale.clock import Clock
from headscale.state.credentials import (
    PREFIX_BYTES,
    SECRET_BYTES,
    create_key,
    delete_key,
    draw_secret,
    expire_key,
)

# For a body without `expiration`: what the CLI gives. (The peer makes a key that is born expired.)
DEFAULT_LIFETIME: Final = timedelta(hours=1)


class NewKey(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a creation; `user` is the id as a string. `preauthorized` is ours: no approval is needed."""

    user: str | int = ""
    reusable: bool = False
    ephemeral: bool = False
    expiration: datetime | None = None
    acl_tags: tuple[str, ...] = ()
    preauthorized: bool = False


class KeyId(msgspec.Struct, frozen=True):
    """The body that names a key."""

    id: str | int = ""


class PreAuthKeys:
    """Create, list, expire, delete."""

    def __init__(self, acts: Acts, clock: Clock) -> None:
        self._acts = acts
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.post("/api/v1/preauthkey", self.create),
            web.get("/api/v1/preauthkey", self.list),
            web.post("/api/v1/preauthkey/expire", self.expire),
            web.delete("/api/v1/preauthkey", self.delete),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """A new key; the only answer that ever holds its secret."""
        asked = await read_body(request, NewKey)
        secret = draw_secret(secrets.token_bytes(PREFIX_BYTES + SECRET_BYTES))
        user = str(asked.user)
        expiration = asked.expiration or self._clock.now() + DEFAULT_LIFETIME
        key = await self._acts.apply(
            request,
            "preauthkey.create",
            partial(
                create_key,
                secret=secret,
                user_id=parse_id(user, "user") if user not in ("", "0") else None,
                tags=asked.acl_tags,
                reusable=asked.reusable,
                ephemeral=asked.ephemeral,
                preauthorized=asked.preauthorized,
                expiration=in_utc(expiration),
            ),
        )
        return answer({"preAuthKey": key_object(self._acts.snapshot, key, text=secret.reveal())})

    async def list(self, request: web.Request) -> web.Response:
        """All keys by id, masked."""
        snapshot = self._acts.snapshot
        keys = sorted(snapshot.pre_auth_keys.values(), key=lambda key: key.id)
        return answer({"preAuthKeys": [key_object(snapshot, key) for key in keys]})

    async def expire(self, request: web.Request) -> web.Response:
        """The key stops working now."""
        asked = await read_body(request, KeyId)
        await self._acts.apply(
            request, "preauthkey.expire", partial(expire_key, key_id=parse_id(str(asked.id), "pre-auth key"))
        )
        return answer({})

    async def delete(self, request: web.Request) -> web.Response:
        """The key is forgotten; nodes that joined with it stay."""
        key_id = parse_id(request.query.get("id", ""), "pre-auth key")
        await self._acts.apply(request, "preauthkey.delete", partial(delete_key, key_id=key_id))
        return answer({})
