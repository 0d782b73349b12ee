"""An OpenID Connect provider in this process, for logins in tests: it knows people, and can be told to misbehave.

It speaks what a real one speaks (discovery, authorization codes with PKCE, signed ID tokens, userinfo, refresh tokens).
Who comes to it is logged in at once as `person`. `crooked` has what it does wrong.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from joserfc import jws
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID: Final = "headscale-tests"
CLIENT_SECRET: Final = "of-tests-only"  # noqa: S105
TOKEN_S: Final = 3600

Claims = dict[str, Any]


@dataclass
class Crooked:
    """What the provider does wrong. `claims` changes the ID token's; `token` makes the token itself."""

    claims: Callable[[Claims], Claims] | None = None
    token: Callable[[Claims, RSAKey], str] | None = None
    userinfo: Callable[[Claims], Claims] | None = None
    answers: Mapping[str, Callable[[], web.StreamResponse]] = field(default_factory=dict)
    callback: Mapping[str, str] = field(default_factory=dict)
    """More parameters of the way back, or others; an empty text takes one away."""


@dataclass(frozen=True, slots=True)
class _Code:
    person: str
    nonce: str
    challenge: str
    redirect_uri: str


class IdentityProvider:
    """See the module. `people` are claims by subject; `person` is the subject who logs in now."""

    def __init__(self) -> None:
        self.people: dict[str, Claims] = {}
        self.person = ""
        self.crooked = Crooked()
        self.key = _usual_key()
        self.url = ""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.token_lifetime_s = TOKEN_S
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, str] = {}
        self._refresh: dict[str, str] = {}
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; an address that clients and their browsers reach."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/jwks", self._jwks),
                web.get("/authorize", self._authorize),
                web.post("/token", self._token),
                web.get("/userinfo", self._userinfo),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        at = self._runner.addresses[0]
        self.url = f"http://{host}:{at[1]}"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def knows(self, subject: str, **claims: Any) -> None:
        """This person from now on, with these claims; and they are who logs in."""
        self.people[subject] = claims
        self.person = subject

    @property
    def refresh_tokens(self) -> tuple[str, ...]:
        """Those that are good."""
        return tuple(self._refresh)

    @property
    def configuration(self) -> dict[str, Any]:
        """The keys of a server's configuration that has people log in here."""
        return {
            "oidc.issuer": self.url,
            "oidc.client_id": CLIENT_ID,
            "oidc.client_secret": CLIENT_SECRET,
        }

    def _answer(self, name: str) -> web.StreamResponse | None:
        made = self.crooked.answers.get(name)
        return made() if made is not None else None

    async def _discovery(self, request: web.Request) -> web.StreamResponse:
        return self._answer("discovery") or web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "userinfo_endpoint": f"{self.url}/userinfo",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _jwks(self, request: web.Request) -> web.StreamResponse:
        return self._answer("jwks") or web.json_response(KeySet([self.key]).as_dict(private=False))

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        asked = dict(request.query)
        self.asked.append(("authorize", asked))
        if (answer := self._answer("authorize")) is not None:
            return answer
        back = {"state": asked.get("state", ""), "iss": self.url}
        if asked.get("client_id") != CLIENT_ID or asked.get("response_type") != "code":
            return web.Response(status=400, text="unknown client or response type")
        if self.person not in self.people:
            back["error"] = "access_denied"
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = _Code(
                self.person,
                asked.get("nonce", ""),
                asked.get("code_challenge", "") if asked.get("code_challenge_method") == "S256" else "",
                asked["redirect_uri"],
            )
            back["code"] = code
        back = {name: value for name, value in {**back, **self.crooked.callback}.items() if value}
        return web.Response(status=302, headers={"Location": f"{asked['redirect_uri']}?{urlencode(back)}"})

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        self.asked.append(("token", form))
        if (answer := self._answer("token")) is not None:
            return answer
        if not _is_ours(request, form):
            return web.json_response({"error": "invalid_client"}, status=401)
        if form.get("grant_type") == "refresh_token":
            subject = self._refresh.pop(form.get("refresh_token", ""), "")
            if subject not in self.people:
                return web.json_response({"error": "invalid_grant"}, status=400)
            return self._granted(subject, nonce="")
        code = self._codes.pop(form.get("code", ""), None)
        proof = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        is_good = (
            code is not None
            and code.redirect_uri == form.get("redirect_uri")
            and code.challenge == proof.rstrip(b"=").decode()
        )
        if code is None or not is_good:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return self._granted(code.person, nonce=code.nonce)

    def _granted(self, subject: str, *, nonce: str) -> web.Response:
        now = int(time.time())
        claims: Claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": subject,
            "iat": now,
            "exp": now + self.token_lifetime_s,
            **({"nonce": nonce} if nonce else {}),
            **self.people[subject],
        }
        if self.crooked.claims is not None:
            claims = self.crooked.claims(claims)
        token = (self.crooked.token or signed)(claims, self.key)
        access, refresh = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self._access[access] = subject
        self._refresh[refresh] = subject
        return web.json_response(
            {
                "access_token": access,
                "token_type": "Bearer",
                "id_token": token,
                "refresh_token": refresh,
                "expires_in": 300,
            }
        )

    async def _userinfo(self, request: web.Request) -> web.StreamResponse:
        if (answer := self._answer("userinfo")) is not None:
            return answer
        subject = self._access.get(request.headers.get("Authorization", "").removeprefix("Bearer "), "")
        if subject not in self.people:
            return web.json_response({"error": "invalid_token"}, status=401)
        claims = {"sub": subject, **self.people[subject]}
        return web.json_response(
            self.crooked.userinfo(claims) if self.crooked.userinfo is not None else claims
        )


@cache
def _usual_key() -> RSAKey:
    """One for all providers of a run: to make one takes longer than a test."""
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})


def signed(claims: Claims, key: RSAKey, *, algorithm: str = "RS256", kid: str = "one") -> str:
    """The claims as a JWT."""

    header = {"alg": algorithm, "typ": "JWT", "kid": kid}
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=[algorithm])


def _is_ours(request: web.Request, form: dict[str, str]) -> bool:
    header = request.headers.get("Authorization", "")
    if header.startswith("Basic "):
        given = base64.b64decode(header.removeprefix("Basic ")).decode()
        return given == f"{CLIENT_ID}:{CLIENT_SECRET}"
    return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)


def query_of(url: str) -> dict[str, str]:
    """The parameters of a URL, each once."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
