"""The way of a person through the identity provider and back: to it with a question of this browser's, back with its
answer, a page that shows what it is about, and only a yes on that page has an effect.
"""

import base64
import hashlib
import html
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from headscale.clock import Clock
from headscale.config.settings import OIDCProvider
from headscale.errors import HeadscaleError, Malformed, NotFound, Refused
from headscale.login.oidc.attempts import LIFETIME, Attempts, nonce_of
from headscale.login.oidc.errands import KINDS, Errand, Errands
from headscale.login.oidc.identity import check_admission, check_token, identity_of, said_email_of
from headscale.login.oidc.provider import Provider
from headscale.pages.page import listed, page
from headscale.sealing import Sealer
from headscale.state.people import Profile
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

START: Final = "/oidc/start"
CALLBACK: Final = "/oidc/callback"
CONFIRM: Final = "confirm"
_SECRET: Final = re.compile(r"[0-9a-f]{64}")
# With the beginning of the key behind it, so that several tabs do not disturb each other.
_LOGIN_COOKIE: Final = "headscale_login_"
_CONFIRM_COOKIE: Final = "headscale_confirm_"
FORM_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, repr=False)
class Away:
    """A browser is at the provider; `verifier` proves that the answer is redeemed by who asked (PKCE, RFC 7636)."""

    kind: str
    errand_id: str
    provider: str
    verifier: str


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """A person is known and was asked."""

    kind: str
    errand_id: str
    profile: Profile
    expiry: datetime | None


# What becomes of a person who is known now: by which provider, and what they had wanted.
Arrival = Callable[[Profile, str, str], Awaitable[web.StreamResponse]]


class SignIn:
    """The pages of people who log in at an identity provider. `errands` are what for, by kind."""

    def __init__(
        self,
        providers: tuple[OIDCProvider, ...],
        errands: Mapping[str, Errands],
        writer: Writer,
        sealer: Sealer,
        clock: Clock,
    ) -> None:
        self.providers: Mapping[str, Provider] = {each.name: Provider(each, clock) for each in providers}
        self._errands = errands
        self._writer = writer
        self._sealer = sealer
        self._clock = clock
        self._arrivals: dict[str, Arrival] = {}
        self._away: Attempts[Away] = Attempts(clock, secrets.token_bytes)
        self._asked: Attempts[Asked] = Attempts(clock, secrets.token_bytes)

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.get(f"{START}/{{provider}}/{{kind}}/{{id}}", self.start),
            web.get(CALLBACK, self.callback),
            *(
                web.post(f"{base}/{CONFIRM}/{{id}}", partial(self.confirm, kind))
                for kind, base in KINDS.items()
            ),
        ]

    def use(self, providers: tuple[OIDCProvider, ...]) -> None:
        """From now on these; people who are at one that stays go on."""
        self.providers = {
            each.name: known
            if (known := self.providers.get(each.name)) is not None and known.settings == each
            else Provider(each, self._clock)
            for each in providers
        }

    def receive(self, kind: str, arrival: Arrival) -> None:
        """From now on people come back to this who went to a provider for `kind`, with nothing that waits for them."""
        self._arrivals[kind] = arrival

    async def go(self, kind: str, name: str, *, wanted: str) -> web.StreamResponse:
        """On to the provider of this name, for `kind` and what is wanted there. Raises NotFound or Unavailable."""
        return await self._go(kind, wanted, name)

    async def begin(self, kind: str, errand_id: str) -> web.StreamResponse:
        """The first page: on to the one provider, or a choice among several. Raises for what does not wait."""
        errand = self._errands[kind].find(errand_id)
        names = list(self.providers)
        if len(names) == 1:
            return await self._go(kind, errand_id, names[0])
        links = "".join(
            f'<li><a href="{START}/{name}/{kind}/{errand_id}">{html.escape(name)}</a></li>' for name in names
        )
        body = f"{listed(errand.rows())}<p>Log in to go on:</p><ul>{links}</ul>"
        return page(errand.words.title, body, HTTPStatus.OK)

    async def start(self, request: web.Request) -> web.StreamResponse:
        """On to the provider that was chosen."""
        kind, errand_id = request.match_info["kind"], request.match_info["id"]
        try:
            if kind not in self._errands:
                raise NotFound("there is no such login")
            self._errands[kind].find(errand_id)
            return await self._go(kind, errand_id, request.match_info["provider"])
        except HeadscaleError as problem:
            return trouble(problem)

    async def callback(self, request: web.Request) -> web.StreamResponse:
        """Back from the provider: who it is, and whether the device is theirs."""
        try:
            return await self._back(request)
        except HeadscaleError as problem:
            log.info("login refused remote=%s reason=%s", request.remote, problem)
            return trouble(problem)

    async def confirm(self, kind: str, request: web.Request) -> web.StreamResponse:
        """A person said yes or no."""
        try:
            return await self._decided(kind, request)
        except HeadscaleError as problem:
            log.info("login refused remote=%s reason=%s", request.remote, problem)
            return trouble(problem)

    async def _go(self, kind: str, errand_id: str, name: str) -> web.StreamResponse:
        provider = self.providers.get(name)
        if provider is None:
            raise NotFound("there is no identity provider of this name")
        found = await provider.metadata()
        browser, verifier = self._away.secret(), secrets.token_urlsafe(48)
        state = self._away.hold(Away(kind, errand_id, name, verifier), browser=browser)
        settings = provider.settings
        query = {
            **settings.extra_params,
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(settings.scopes),
            "state": state,
            "nonce": nonce_of(browser, state),
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(found.authorization_endpoint).query else "?"
        answer = web.Response(
            status=HTTPStatus.FOUND,
            headers={
                "Location": f"{found.authorization_endpoint}{joint}{urlencode(query)}",
                "Cache-Control": "no-store",
            },
        )
        # Lax: it must come along when the provider sends the browser back.
        self._set_cookie(answer, _LOGIN_COOKIE + state[:6], browser, path=CALLBACK, same_site="Lax")
        return answer

    async def _back(self, request: web.Request) -> web.StreamResponse:
        state = request.query.get("state", "")
        if not _SECRET.fullmatch(state):
            raise Malformed("this is no answer to a login that began here: start again from the device")
        cookie = _LOGIN_COOKIE + state[:6]
        away = self._away.take(state, browser=(browser := request.cookies.get(cookie, "")))
        if away is None:
            raise Malformed(
                "this login did not begin in this browser, took too long, or is used up: start again from the device"
            )
        provider = self.providers.get(away.provider)
        if provider is None:
            raise NotFound("the identity provider of this login is no longer configured")
        issuer = (await provider.metadata()).issuer
        if request.query.get("iss", issuer) != issuer:  # RFC 9207
            raise Refused("the answer comes from another identity provider than was asked")
        if "error" in request.query:
            said = request.query["error"][:80]
            raise Refused(f"the identity provider says no ({said}): start again from the device")
        code = request.query.get("code", "")
        if not code:
            raise Malformed("the identity provider's answer has no code: start again from the device")
        tokens = await provider.redeem(code, verifier=away.verifier, redirect_uri=self._redirect_uri)
        check_token(
            tokens.claims,
            provider=provider.settings,
            issuer=issuer,
            nonce=nonce_of(browser, state),
            now=self._clock.now(),
        )
        profile, expires_at = await self.profile_of(provider, issuer, tokens.claims, tokens.access_token)
        if provider.settings.recheck is not None:
            if not tokens.refresh_token:
                log.warning(
                    "the identity provider gives no refresh token, so nobody is asked about again provider=%s: "
                    "its scopes may need offline_access",
                    away.provider,
                )
            sealed = self._sealer.seal(tokens.refresh_token) if tokens.refresh_token else b""
            profile = replace(profile, sealed_refresh=sealed)
        if (arrival := self._arrivals.get(away.kind)) is not None:
            return await arrival(profile, away.provider, away.errand_id)
        errand = self._still_waiting(away.kind, away.errand_id)
        errand.check_person(profile)
        return self._ask(errand, Asked(away.kind, away.errand_id, profile, expires_at))

    async def profile_of(
        self,
        provider: Provider,
        issuer: str,
        claims: Mapping[str, Any],
        access_token: str,
        *,
        needs_userinfo: bool = False,
    ) -> tuple[Profile, datetime | None]:
        """Who it is, and when what the provider says ends, where that counts. Raises Refused for who may not join.

        `needs_userinfo`: what only the userinfo document may say must not count as not said; raises Unavailable.
        """
        info = await provider.userinfo(access_token, needed=needs_userinfo)
        settings = provider.settings
        identity = identity_of(claims, info, provider=settings, issuer=issuer)
        check_admission(identity, provider=settings, said_email=said_email_of(claims, info))
        profile = Profile(
            identifier=identity.identifier,
            name=identity.name,
            display_name=identity.display_name,
            email=identity.email,
            picture_url=identity.picture_url,
            groups=identity.groups,
        )
        return profile, identity.expires_at if settings.expiry_from_token else None

    def _ask(self, errand: Errand, asked: Asked) -> web.StreamResponse:
        browser = self._asked.secret()
        key = self._asked.hold(asked, browser=browser)
        who = asked.profile.email or asked.profile.name or asked.profile.display_name or "you"
        target = f"{KINDS[asked.kind]}/{CONFIRM}/{asked.errand_id}"
        body = (
            f"{listed(errand.rows())}"
            f"<p>You are logged in as <strong>{html.escape(who)}</strong>. {errand.words.question}</p>"
            f'<form method="post" action="{target}"><input type="hidden" name="token" value="{key}">'
            f'<button name="answer" value="yes">{errand.words.yes}</button>'
            '<button name="answer" value="no">No</button></form>'
        )
        answer = page(errand.words.title, body, HTTPStatus.OK, has_form=True)
        # Strict: it comes along with the form of our own page, and with no other.
        self._set_cookie(answer, _CONFIRM_COOKIE + key[:6], browser, path=target, same_site="Strict")
        return answer

    async def _decided(self, kind: str, request: web.Request) -> web.StreamResponse:
        form = await request.clone(client_max_size=FORM_MAX_BYTES).post()
        key, said = form.get("token", ""), form.get("answer", "")
        if not isinstance(key, str) or not _SECRET.fullmatch(key) or said not in ("yes", "no"):
            raise Malformed("this is not the form of a login: start again from the device")
        browser = request.cookies.get(_CONFIRM_COOKIE + key[:6], "")
        asked = self._asked.take(key, browser=browser)
        if asked is None or (asked.kind, asked.errand_id) != (kind, request.match_info["id"]):
            raise Malformed(
                "this form is not of this browser's login, took too long, or was answered already: start again from "
                "the device"
            )
        errand = self._still_waiting(kind, asked.errand_id)
        if said == "no":
            await errand.refuse(asked.profile)
            return page(errand.words.turned_away, "<p>You may close this page.</p>", HTTPStatus.OK)
        await errand.accept(asked.profile, asked.expiry)
        return page(errand.words.done, "<p>You may close this page and go on there.</p>", HTTPStatus.OK)

    def _still_waiting(self, kind: str, errand_id: str) -> Errand:
        try:
            return self._errands[kind].find(errand_id)
        except NotFound as problem:
            raise Gone(str(problem)) from None

    @property
    def _redirect_uri(self) -> str:
        return f"{self._writer.snapshot.settings.server_url}{CALLBACK}"

    def _set_cookie(
        self, answer: web.StreamResponse, name: str, value: str, *, path: str, same_site: str
    ) -> None:
        answer.set_cookie(
            name,
            value,
            path=path,
            max_age=int(LIFETIME.total_seconds()),
            httponly=True,
            samesite=same_site,
            secure=self._writer.snapshot.settings.server_url.startswith("https://"),
        )


class Gone(HeadscaleError):
    """The device does not wait any more (HTTP 410)."""

    status = HTTPStatus.GONE


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def trouble(problem: HeadscaleError) -> web.Response:
    """The page that says what is wrong."""
    return page("This login did not work", f"<p>{html.escape(str(problem))}</p>", problem.status)
