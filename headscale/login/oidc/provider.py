"""One identity provider, asked over HTTP: what it is (discovery), its keys, a code for tokens, and who somebody is.

Its answers are bounded in size and time, no redirect is followed, and nothing that it says is believed before its
signature and claims are checked.
"""

import asyncio
import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from headscale.clock import Clock
from headscale.config.settings import OIDCProvider
from headscale.errors import Refused, Unavailable

log = logging.getLogger(__name__)

ANSWER_S: Final = 10.0
ANSWER_MAX_BYTES: Final = 512 * 1024
# Signatures by the provider's private key. None with a shared secret: ours may have leaked, or be its public key.
ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
# Unknown keys are asked for again, but not at anybody's pace.
KEYS_PAUSE_S: Final = 10.0
METADATA_S: Final = 3600.0
# What a token endpoint says of a client that it does not know, or not with this secret (RFC 6749, section 5.2).
_OF_CLIENTS: Final = frozenset({"invalid_client", "unauthorized_client"})
SUFFIX: Final = "/.well-known/openid-configuration"


class Metadata(msgspec.Struct, frozen=True):
    """What discovery tells (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    code_challenge_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None


class TokenAnswer(msgspec.Struct, frozen=True):
    """The token endpoint's answer."""

    id_token: str = ""
    access_token: str = ""
    refresh_token: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Tokens:
    """What a code or a refresh token was good for; `claims` are those of a good ID token's signature, unchecked."""

    claims: Mapping[str, Any]
    access_token: str
    refresh_token: str


class Provider:
    """See the module. What it raises is for the person at the browser; the log has more."""

    def __init__(self, settings: OIDCProvider, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._metadata: Metadata | None = None
        self._metadata_at = 0.0
        self._keys: KeySet | None = None
        self._keys_at = float("-inf")
        self._turn = asyncio.Lock()

    async def metadata(self) -> Metadata:
        """What it is; asked for when it is not known, or was an hour ago. Raises Unavailable."""
        async with self._turn:
            now = self._clock.monotonic()
            if self._metadata is None or now - self._metadata_at > METADATA_S:
                try:
                    self._metadata = await self._discover()
                except Unavailable:
                    if self._metadata is None:
                        raise
                self._metadata_at = now
            return self._metadata

    async def redeem(self, code: str, *, verifier: str, redirect_uri: str) -> Tokens:
        """The tokens for a code. Raises Refused for a code that is not good, Unavailable."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        return await self._tokens(form)

    async def refresh(self, refresh_token: str) -> Tokens:
        """Newer tokens; claims are empty when there is no new ID token.

        Raises Refused when the person's grant is over, and Unavailable for anything else.
        """
        return await self._tokens(
            {"grant_type": "refresh_token", "refresh_token": refresh_token}, needs_id_token=False
        )

    async def userinfo(self, access_token: str, *, needed: bool = False) -> Mapping[str, Any] | None:
        """The userinfo document; None where there is none, or it is no JSON object.

        `needed`: raises Unavailable when there should be one.
        """
        endpoint = (await self.metadata()).userinfo_endpoint
        if not endpoint or not access_token:
            return None
        try:
            status, body = await self._ask(
                "GET", endpoint, headers={"Authorization": f"Bearer {access_token}"}
            )
        except Unavailable as problem:
            if needed:
                raise
            log.warning("userinfo not read provider=%s: %s", self.settings.name, problem)
            return None
        document = _json(body)
        if status != 200 or not isinstance(document, dict):
            log.warning("userinfo not read provider=%s: it answers %d", self.settings.name, status)
            if needed:
                raise Unavailable(f"the identity provider's userinfo is not there: it answers {status}")
            return None
        return document

    async def _discover(self) -> Metadata:
        url = self.settings.issuer.rstrip("/") + SUFFIX
        status, body = await self._ask("GET", url)
        try:
            found = msgspec.json.decode(body, type=Metadata) if status == 200 else None
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise Unavailable(f"the identity provider's discovery document is unusable: {problem}") from None
        if found is None:
            raise Unavailable(f"the identity provider's discovery document is not there: it answers {status}")
        if found.issuer.rstrip("/") != self.settings.issuer.rstrip("/"):
            raise Unavailable(f"the identity provider calls itself {found.issuer[:200]}, not as configured")
        return found

    async def _tokens(self, form: dict[str, str], *, needs_id_token: bool = True) -> Tokens:
        found = await self.metadata()
        settings = self.settings
        methods = found.token_endpoint_auth_methods_supported or ("client_secret_basic",)
        headers = {}
        if "client_secret_basic" in methods or "client_secret_post" not in methods:
            # RFC 6749, section 2.3.1: each encoded as in a form.
            pair = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form = {**form, "client_id": settings.client_id, "client_secret": settings.client_secret}
        status, body = await self._ask("POST", found.token_endpoint, data=form, headers=headers)
        if status in (400, 401, 403):
            said = _said(body)
            is_us = said in _OF_CLIENTS or (said != "invalid_grant" and not needs_id_token)
            log.log(
                logging.WARNING if is_us else logging.INFO,
                "the identity provider refused provider=%s grant=%s: %s",
                settings.name,
                form["grant_type"],
                said,
            )
            if is_us:  # whom it does not like, not the person
                raise Unavailable(
                    f"the identity provider refused this server ({said}): whoever runs it has to look at the "
                    "client's id and secret"
                )
            raise Refused("the identity provider did not accept this login: start again")
        try:
            answer = msgspec.json.decode(body, type=TokenAnswer) if status == 200 else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if answer is None:
            raise Unavailable(f"the identity provider's tokens are unusable: it answers {status}")
        if not answer.id_token and needs_id_token:
            raise Refused("the identity provider says nothing of who you are: its scopes lack openid")
        claims = await self._claims(answer.id_token) if answer.id_token else {}
        return Tokens(claims, answer.access_token, answer.refresh_token)

    async def _claims(self, token: str) -> dict[str, Any]:
        """The claims of a token with a good signature; a key that is not known is looked for once."""
        keys = await self._key_set()
        try:
            return _verified(token, keys)
        except (JoseError, ValueError, TypeError, KeyError):
            fresh = await self._key_set(fresh=True)
            if fresh is keys:
                raise Refused("the identity provider's answer has no good signature") from None
        try:
            return _verified(token, fresh)
        except (JoseError, ValueError, TypeError, KeyError):
            raise Refused("the identity provider's answer has no good signature") from None

    async def _key_set(self, *, fresh: bool = False) -> KeySet:
        found = await self.metadata()
        async with self._turn:
            now = self._clock.monotonic()
            if self._keys is not None and not (fresh and now - self._keys_at >= KEYS_PAUSE_S):
                return self._keys
            status, body = await self._ask("GET", found.jwks_uri)
            document = _json(body)
            try:
                if status != 200 or not isinstance(document, dict):
                    raise ValueError(f"it answers {status}")
                self._keys = KeySet.import_key_set(document)  # type: ignore[arg-type]
            except (JoseError, ValueError, TypeError, KeyError) as problem:
                raise Unavailable(f"the identity provider's keys are unusable: {problem}") from None
            self._keys_at = now
            return self._keys

    async def _ask(self, method: str, url: str, **more: Any) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
                async with session.request(
                    method,
                    url,
                    allow_redirects=False,
                    headers={"Accept": "application/json", **more.pop("headers", {})},
                    **more,
                ) as answer:
                    body = await answer.content.read(ANSWER_MAX_BYTES + 1)
                    while len(body) <= ANSWER_MAX_BYTES and (rest := await answer.content.read(65536)):
                        body += rest
                    if len(body) > ANSWER_MAX_BYTES:
                        raise Unavailable("the identity provider's answer is too long")
                    return answer.status, body
        except TimeoutError:
            raise Unavailable(f"the identity provider did not answer within {ANSWER_S:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            log.warning("identity provider not reached provider=%s: %s", self.settings.name, problem)
            raise Unavailable("the identity provider cannot be reached: try again in a while") from problem


def _verified(token: str, keys: KeySet) -> dict[str, Any]:
    found = jws.deserialize_compact(token, keys, algorithms=list(ALGORITHMS))
    claims = _json(found.payload)
    if not isinstance(claims, dict):
        raise ValueError("the claims are no JSON object")
    return claims


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _said(body: bytes) -> str:
    """An error answer of RFC 6749, for the log."""
    document = _json(body)
    said = document.get("error") if isinstance(document, dict) else None
    return str(said)[:80] if said else "no reason given"
