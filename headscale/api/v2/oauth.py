"""/oauth/token: an OAuth client trades its secret for an access token (RFC 6749, client credentials)."""

import secrets
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from aiohttp import BasicAuth, hdrs, web

from headscale.api.acts import ACTOR, Actor
from headscale.api.v2.endpoints import Call, Endpoint, not_served
from headscale.errors import Refused, Unavailable
from headscale.state.credentials import PREFIX_BYTES, SECRET_BYTES, draw_secret
from headscale.state.oauth import (
    TOKEN_KIND,
    TOKEN_LIFETIME,
    BadScope,
    BadTags,
    issue_token,
    recognise_client,
)

GRANT_TYPE: Final = "client_credentials"
FORM: Final = "application/x-www-form-urlencoded"
_KNOWN: Final = frozenset({"grant_type", "client_id", "client_secret", "scope", "tags"})
# No cache may keep what this answers (RFC 6749, 5.1).
_UNCACHED: Final = {hdrs.CACHE_CONTROL: "no-store", hdrs.PRAGMA: "no-cache"}


class Token(msgspec.Struct, frozen=True):
    """An access token and how long it lives, in seconds; `scope` is what it may do, space by space."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class TokenRefusal(msgspec.Struct, frozen=True):
    """Why there is none."""

    error: str
    error_description: str


class _No(Exception):
    """The request is refused: an error code of RFC 6749 or 8707, and what is wrong."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


async def issue(call: Call[bytes]) -> web.Response:
    """A token for the scopes and tags that are asked for, or for all that the client has."""
    try:
        return _told(HTTPStatus.OK, await _issue(call))
    except _No as refusal:
        status = HTTPStatus.UNAUTHORIZED if refusal.code == "invalid_client" else HTTPStatus.BAD_REQUEST
        return _told(status, TokenRefusal(refusal.code, str(refusal)))
    except Unavailable as problem:
        return _told(HTTPStatus.INTERNAL_SERVER_ERROR, TokenRefusal("server_error", str(problem)))


async def _issue(call: Call[bytes]) -> Token:
    form = _form(call.request, call.body)
    if form.get("grant_type", GRANT_TYPE) != GRANT_TYPE:
        raise _No("unsupported_grant_type", f"expected {GRANT_TYPE}")
    try:
        client = recognise_client(call.snapshot, form.get("client_secret") or _basic_secret(call.request))
    except Refused as refusal:
        raise _No("invalid_client", str(refusal)) from None
    call.request[ACTOR] = Actor(f"OAuth client {client.prefix}")
    secret = draw_secret(secrets.token_bytes(PREFIX_BYTES + SECRET_BYTES), kind=TOKEN_KIND)
    step = partial(
        issue_token,
        secret=secret,
        client_id=client.prefix,
        scopes=tuple(form.get("scope", "").split()),
        tags=tuple(form.get("tags", "").split()),
    )
    try:
        token = await call.apply("oauth_token.issue", step)
    except BadScope as refusal:
        raise _No("invalid_scope", str(refusal)) from None
    except BadTags as refusal:
        raise _No("invalid_target", str(refusal)) from None
    return Token(secret.reveal(), "Bearer", round(TOKEN_LIFETIME.total_seconds()), " ".join(token.scopes))


def _form(request: web.Request, body: bytes) -> Mapping[str, str]:
    """The parameters, each of which may be there once (RFC 6749, 3.2)."""
    if body and request.content_type != FORM:
        raise _No("invalid_request", f"expected a body of the type {FORM}")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise _No("invalid_request", "the body is no form") from None
    known = [(name, value) for name, value in pairs if name in _KNOWN]
    form = dict(known)
    if len(form) != len(known):
        raise _No("invalid_request", "a parameter is there twice")
    return {name: value for name, value in form.items() if value}


def _basic_secret(request: web.Request) -> str:
    """The password of HTTP Basic; the user name, the client's id, stands in the secret once more."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(given) != 1:
        return ""
    try:
        return unquote_plus(BasicAuth.decode(given[0], encoding="utf-8").password)
    except ValueError:
        return ""


def _told(status: HTTPStatus, document: msgspec.Struct) -> web.Response:
    answer = web.Response(
        status=status, body=msgspec.json.encode(document), content_type="application/json", headers=_UNCACHED
    )
    if status is HTTPStatus.UNAUTHORIZED:
        answer.headers[hdrs.WWW_AUTHENTICATE] = 'Basic realm="headscale"'
    return answer


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/oauth/token",
        handler=issue,
        body=bytes,
        body_type=FORM,
        answer=Token,
        is_public=True,
        problem=TokenRefusal,
        summary="Trade an OAuth client's secret for an access token",
    ),
    Endpoint(
        method="POST",
        path="/oauth/token-exchange",
        handler=not_served("federated identities are not served: make an OAuth client"),
        body=bytes,
        is_public=True,
        summary="Not served: trade somebody else's identity token for an access token",
    ),
)
