"""How a route of REST v2 is declared and served: who may ask, what it takes, what it answers.

A route is one `Endpoint` in the table (`table.py`). Before its handler runs, the caller's grant has one of its scopes,
the tailnet in the path is ours, and the body is of its type: unknown fields and wrong types are a 422, what is no JSON
a 400, another content type a 415.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from headscale.api.acts import Acts
from headscale.api.bodies import answer, id_of, receive
from headscale.api.description import Nothing, Operation
from headscale.api.grants import GRANT, check_route
from headscale.api.parts import ApiParts
from headscale.errors import Malformed, NotFound
from headscale.records import TailnetSettings
from headscale.state.effect import Step
from headscale.state.scopes import Grant
from headscale.state.snapshot import Snapshot

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)
T = TypeVar("T")

BASE: Final = "/api/v2"
_JSON_TYPES: Final = frozenset({"application/json", "text/json"})
_THIS: Final = "-"


@dataclass(frozen=True, slots=True)
class Call(Generic[B_co]):
    """One request, as its handler has it."""

    request: web.Request
    parts: ApiParts
    acts: Acts
    body: B_co

    @property
    def snapshot(self) -> Snapshot:
        """The state of this moment."""
        return self.acts.snapshot

    @property
    def grant(self) -> Grant:
        """What the caller may do."""
        return self.request[GRANT]

    def text(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    def id(self, what: str) -> int:
        """The path's {id} as a number; raises NotFound: to this API's clients a malformed id is an unknown one."""
        text = self.text("id")
        found = id_of(text)
        if found is None:
            raise NotFound(f"no {what} has the id {text[:40]!r}")
        return found

    async def apply(self, action: str, step: Step[T], *, details: str = "") -> T:
        """The step's result, once it and its audit event are durable."""
        return await self.acts.apply(self.request, action, step, details=details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[B]):
    """One route. The path stands behind /api/v2, and `scopes` are those of which one is enough.

    The handler answers a document, or a whole response; None is `{}`. `body` is its type, or `bytes` for whatever is
    sent, of `body_max_bytes` where that is not what bodies have everywhere. Everybody may ask a route that `is_public`,
    without a login. One that `is_own` everybody may ask of their own devices.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[Call[B]], Awaitable[object]]
    scopes: tuple[str, ...] = ()
    body: type[B] | None = None
    body_type: str = "application/json"
    answer: type[Any] = Nothing
    answer_type: str = "application/json"
    other_answer_type: str = ""
    query: tuple[str, ...] = ()
    body_max_bytes: int | None = None
    is_public: bool = False
    is_own: bool = False
    problem: type[msgspec.Struct] | None = None

    @property
    def is_served(self) -> bool:
        """Whether it does anything but say why not."""
        return not isinstance(self.handler, NotServed)

    @property
    def operation(self) -> Operation:
        """Its description."""
        body: Any = self.body
        return Operation(
            summary=self.summary,
            body=body,
            body_type=self.body_type,
            answer=self.answer,
            answer_type=self.answer_type,
            other_answer_type=self.other_answer_type,
            query=self.query,
            scopes=self.scopes,
            is_own=self.is_own,
            is_public=self.is_public,
            needs_body=self.body not in (None, bytes),
            problem=self.problem,
        )

    def route(self, parts: ApiParts, acts: Acts) -> web.RouteDef:
        """Where it is mounted."""
        return web.route(self.method, BASE + self.path, partial(_serve, self, parts, acts))


@dataclass(frozen=True, slots=True)
class NotServed:
    """The handler of a route that the hosted service has and we do not: a 501 that says why."""

    why: str

    async def __call__(self, call: Call[bytes]) -> object:
        raise web.HTTPNotImplemented(text=self.why)


def not_served(why: str) -> NotServed:
    """A handler that refuses, by name."""
    return NotServed(why)


def tailnet_names(settings: TailnetSettings) -> frozenset[str]:
    """What may stand for {tailnet}: `-`, its domain, and the server's host, which is what clients are told."""
    host = urlsplit(settings.server_url).hostname or ""
    return frozenset({_THIS, settings.dns.base_domain, host}) - {""}


async def _serve(
    endpoint: Endpoint[Any], parts: ApiParts, acts: Acts, request: web.Request
) -> web.StreamResponse:
    if not endpoint.is_public:
        check_route(request, acts.snapshot, endpoint.scopes, is_own=endpoint.is_own)
    tailnet = request.match_info.get("tailnet", _THIS)
    if tailnet not in tailnet_names(acts.snapshot.settings):
        raise NotFound(f"no tailnet is named {tailnet[:80]!r}: {_THIS} is the one that there is")
    if endpoint.body_max_bytes is not None:
        request = request.clone(client_max_size=endpoint.body_max_bytes)
    body = await _body(request, endpoint.body) if endpoint.body is not None else None
    told = await endpoint.handler(Call(request, parts, acts, body))
    return told if isinstance(told, web.StreamResponse) else answer({} if told is None else told)


async def _body(request: web.Request, wanted: type[T]) -> T:
    if wanted is bytes:
        return await receive(request)  # type: ignore[return-value]
    if hdrs.CONTENT_TYPE in request.headers and request.content_type not in _JSON_TYPES:
        raise web.HTTPUnsupportedMediaType(text=f"send JSON, not {request.content_type[:80]}")
    return decode_strictly(await receive(request), wanted)


def decode_strictly(body: bytes, wanted: type[T]) -> T:
    """The JSON document as `wanted`. Raises Malformed for what is no JSON, HTTP 422 for any other document."""
    if not body.strip():
        raise Malformed("a body is missing: send a JSON document")
    try:
        document = msgspec.json.decode(body)
        msgspec.json.encode(document)  # half a character is none that anybody can keep
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise Malformed(f"the body is not JSON: {problem}") from None
    try:
        return msgspec.convert(document, wanted)
    except (msgspec.ValidationError, RecursionError) as problem:
        raise web.HTTPUnprocessableEntity(text=f"the body is not what this takes: {problem}") from None
