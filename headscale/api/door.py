"""The API's door on the main listener: who may come in, and how much they may send.

`Authorization: Bearer <API key>`, for every path below /api but the public ones, unknown paths included; on v2 also
`Basic`, with the key as the user name and any password, and an OAuth client's access token. An API key that is nobody's
may do everything, as on the Unix socket, a person's what their role says, an access token what its scopes say. The
answer to everybody else is one and the same.
"""

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import BasicAuth, hdrs, web

from headscale.api.acts import ACTOR, Actor
from headscale.api.grants import GRANT
from headscale.api.problems import PROBLEM_TYPE, Handler, is_v2, problem
from headscale.api.v1.description import DESCRIPTION as V1
from headscale.api.v2.description import DESCRIPTION as V2
from headscale.api.v2.table import ENDPOINTS
from headscale.clock import Clock
from headscale.errors import Refused, Unavailable
from headscale.records import ApiKey
from headscale.state.apikeys import is_seen_late, mark_api_key_seen, recognise_api_key
from headscale.state.imported import ImportedKeys
from headscale.state.oauth import TOKEN_START, recognise_token
from headscale.state.scopes import EVERYTHING, grant_of_person
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

# Word for word the peer's, which has no `errors` here.
_UNAUTHORIZED: Final = msgspec.json.encode({"title": "Unauthorized", "status": 401, "detail": "Unauthorized"})
# Descriptions of the API, which say nothing of the tailnet; and routes that ask for a credential of their own.
PUBLIC: Final = frozenset(
    {
        *(path for version in (V1, V2) for path in (version.json_path, version.yaml_path)),
        *(V2.base + endpoint.path for endpoint in ENDPOINTS if endpoint.is_public),
    }
)
_PLAIN_ENCODINGS: Final = frozenset({"", "identity"})


class KeyDoor:
    """Lets requests in that carry an API key. It notes when each key was used last, beside the requests."""

    def __init__(self, writer: Writer, imported: ImportedKeys, clock: Clock, *, body_max_bytes: int) -> None:
        self._writer = writer
        self._imported = imported
        self._clock = clock
        self._body_max_bytes = body_max_bytes
        self._noting: dict[int, asyncio.Task[None]] = {}

    @web.middleware
    async def admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse, or pass on with the cap that bodies have here (a route may raise its own)."""
        if not is_public(request):
            await self._imported.settle_api_key(_credential(request))
            try:
                self._recognise(request, _credential(request))
            except Refused:
                return _unauthorized(request)
        # Nothing on this listener unpacks a body, so that there is no bomb to defuse.
        if request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() not in _PLAIN_ENCODINGS:
            raise web.HTTPUnsupportedMediaType(text="send the body as it is, without a Content-Encoding")
        return await handler(request.clone(client_max_size=self._body_max_bytes))

    async def close(self) -> None:
        """Let what is being noted be noted."""
        await asyncio.gather(*self._noting.values(), return_exceptions=True)

    def _recognise(self, request: web.Request, text: str) -> None:
        """Note who asks and what it may; raises Refused for nobody. Access tokens are good for v2 only."""
        now = self._clock.now()
        if text.startswith(TOKEN_START) and is_v2(request):
            client, request[GRANT] = recognise_token(self._writer.snapshot, text, now)
            request[ACTOR] = Actor(f"OAuth client {client.prefix}")
            return
        key = recognise_api_key(self._writer.snapshot, text, now)
        self._note(key)
        request[ACTOR], request[GRANT] = Actor(f"API key {key.prefix}"), EVERYTHING
        if key.user_id is not None:
            user = self._writer.snapshot.users[key.user_id]
            request[ACTOR] = Actor(f"person {user.login}, API key {key.prefix}")
            request[GRANT] = grant_of_person(user)

    def _note(self, key: ApiKey) -> None:
        if key.id in self._noting or not is_seen_late(key, self._clock.now()):
            return
        task = asyncio.create_task(self._mark_seen(key.id), name="API key seen")
        self._noting[key.id] = task
        task.add_done_callback(lambda _: self._noting.pop(key.id, None))

    async def _mark_seen(self, key_id: int) -> None:
        try:
            await self._writer.apply(partial(mark_api_key_seen, key_id=key_id))
        except Unavailable as problem:
            log.warning("the use of API key %d is not noted: %s", key_id, problem)


def is_public(request: web.Request) -> bool:
    """Whether everybody may ask this."""
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in PUBLIC


def _credential(request: web.Request) -> str:
    """What the one Authorization header says who asks; empty when there is none, or more than one."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    scheme, _, credential = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() == "bearer":
        return credential.strip()
    if scheme.lower() == "basic" and is_v2(request):
        try:
            return str(BasicAuth.decode(given[0], encoding="utf-8").login)
        except ValueError:
            return ""
    return ""


def _unauthorized(request: web.Request) -> web.Response:
    if is_v2(request):
        told = problem(request, HTTPStatus.UNAUTHORIZED, "unauthorized")
    else:
        told = web.Response(status=401, body=_UNAUTHORIZED, content_type=PROBLEM_TYPE)
    told.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return told
