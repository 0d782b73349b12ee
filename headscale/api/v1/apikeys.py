"""/api/v1/apikey"""

import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from headscale.api.acts import Acts
from headscale.api.grants import GRANT
from headscale.api.v1.body import answer, in_utc, parse_id, read_body
from headscale.api.v1.objects import api_key_object
from headscale.clock import Clock
from headscale.state.apikeys import KIND, create_api_key, delete_api_key, expire_api_key
from headscale.state.credentials import PREFIX_BYTES, SECRET_BYTES, draw_secret

# For a body without `expiration`: what the CLI gives. (The peer makes a key that is born expired.)
DEFAULT_LIFETIME: Final = timedelta(days=90)


class NewApiKey(msgspec.Struct, frozen=True):
    """The body of a creation. `user` is the id of whose it becomes (ours); a key of nobody's may do everything."""

    expiration: datetime | None = None
    user: str | int = ""


class ApiKeyName(msgspec.Struct, frozen=True):
    """The body that names a key: by one of the two."""

    prefix: str = ""
    id: str | int = ""


class ApiKeys:
    """Create, list, expire, delete."""

    def __init__(self, acts: Acts, clock: Clock) -> None:
        self._acts = acts
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.post("/api/v1/apikey", self.create),
            web.get("/api/v1/apikey", self.list),
            web.post("/api/v1/apikey/expire", self.expire),
            web.delete("/api/v1/apikey/{prefix}", self.delete),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """A new key: its whole text, which no other answer ever holds."""
        asked = await read_body(request, NewApiKey)
        secret = draw_secret(secrets.token_bytes(PREFIX_BYTES + SECRET_BYTES), kind=KIND)
        expiration = in_utc(asked.expiration or self._clock.now() + DEFAULT_LIFETIME)
        step = partial(
            create_api_key,
            secret=secret,
            expiration=expiration,
            user_id=parse_id(str(asked.user), "user") if asked.user not in ("", 0, "0") else None,
            by=request[GRANT].person,
        )
        await self._acts.apply(request, "apikey.create", step)
        return answer({"apiKey": secret.reveal()})

    async def list(self, request: web.Request) -> web.Response:
        """All keys by id, masked."""
        keys = sorted(self._acts.snapshot.api_keys.values(), key=lambda key: key.id)
        return answer({"apiKeys": [api_key_object(self._acts.snapshot, key) for key in keys]})

    async def expire(self, request: web.Request) -> web.Response:
        """The key stops working now."""
        asked = await read_body(request, ApiKeyName)
        await self._acts.apply(
            request,
            "apikey.expire",
            partial(expire_api_key, key_id=_optional_id(str(asked.id)), prefix=asked.prefix),
        )
        return answer({})

    async def delete(self, request: web.Request) -> web.Response:
        """The key is forgotten. (?id= beside the prefix is a 400, as the peer's.)"""
        key_id = _optional_id(request.query.get("id", ""))
        await self._acts.apply(
            request,
            "apikey.delete",
            partial(delete_api_key, key_id=key_id, prefix=request.match_info["prefix"]),
        )
        return answer({})


def _optional_id(text: str) -> int | None:
    """An id; none and 0 say that there is none, as the peer reads it."""
    return parse_id(text, "API key") if text not in ("", "0") else None
