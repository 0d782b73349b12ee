"""Logins at an identity provider that must not come to anything (A4, A5): a provider or somebody on the way misbehaves.

Each is refused with a 4xx, makes no user and no node, and leaves others as they are.
"""

import asyncio
import base64
import hashlib
import hmac
import html
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from harness.servers.identity import CLIENT_ID, CLIENT_SECRET, IdentityProvider, query_of, signed
from headscale.errors import Unavailable
from headscale.login.oidc import provider as oidc_provider
from headscale.login.pending import PREFIX
from tests.integration.fakes import PATIENCE_S
from tests.integration.people import (
    ALICE,
    Place,
    confirm_url,
    logged_in,
    place,
    token_of,
    with_claims,
)
from tests.integration.test_dns import serving

# ---- A4: what the provider says, and what comes back from it

NOW = int(time.time())
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one"})


CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "another"},
    "no audience": {"aud": None},
    "an empty audience": {"aud": []},
    "audience of several, authorized for another": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "audience of several, authorized for nobody": {"aud": [CLIENT_ID, "another"]},
    "authorized for another": {"azp": "another"},
    "another nonce": {"nonce": "0" * 64},
    "no nonce": {"nonce": None},
    "expired": {"exp": NOW - 3600},
    "no expiry": {"exp": None},
    "expiry is a text": {"exp": "tomorrow"},
    "expiry is true": {"exp": True},
    "expiry beyond all years": {"exp": 10**18},
    "issued in the future": {"iat": NOW + 3600},
    "issued long ago": {"iat": NOW - 3 * 86400},
    "no time of issue": {"iat": None},
    "not valid yet": {"nbf": NOW + 3600},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a number as subject": {"sub": 7},
    "dots as subject": {"sub": ".."},
    "a slash as subject": {"sub": "/"},
    "a subject of 10 kB": {"sub": "x" * 10_240},
    "a subject with a line break": {"sub": "a\nb"},
    "a subject with a space at its end": {"sub": "a "},
    "a subject of another script": {"sub": "älice"},
}


@pytest.mark.parametrize("changes", CLAIMS.values(), ids=CLAIMS.keys())
async def test_claims_that_are_no_answer_to_our_question(here: Place, changes: dict[str, Any]) -> None:
    here.idp.crooked.claims = with_claims(**changes)
    here.idp.crooked.answers = {"userinfo": lambda: web.Response(status=404)}  # which would name another
    await here.refused_at(status=403)


def _part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def _unsigned(claims: dict[str, Any], key: RSAKey) -> str:
    return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}."


def _with_secret(claims: dict[str, Any], secret: bytes) -> str:
    text = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'one'})}.{_part(claims)}"
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _with_public_key(claims: dict[str, Any], key: RSAKey) -> str:
    """HS256 with the public key as the secret, which a careless verifier takes."""
    return _with_secret(claims, key.as_pem(private=False))


def _with_client_secret(claims: dict[str, Any], key: RSAKey) -> str:
    return _with_secret(claims, CLIENT_SECRET.encode())


def _changed_after(claims: dict[str, Any], key: RSAKey) -> str:
    head, _, tail = signed({**claims, "sub": "sub-mallory"}, key).split(".")
    return ".".join((head, signed(claims, key).split(".")[1], tail))


TOKENS: dict[str, Callable[[dict[str, Any], RSAKey], str]] = {
    "no signature": _unsigned,
    "the public key as a shared secret": _with_public_key,
    "the client's secret": _with_client_secret,
    "another key": lambda claims, key: signed(claims, OTHER_KEY),
    "an unknown key": lambda claims, key: signed(claims, OTHER_KEY, kid="nine"),
    "changed after it was signed": _changed_after,
    "no token at all": lambda claims, key: "nonsense",
    "an empty token": lambda claims, key: "",
    "a list as claims": lambda claims, key: signed([claims], key),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("make", TOKENS.values(), ids=TOKENS.keys())
async def test_tokens_that_nobody_signed(here: Place, make: Callable[[dict[str, Any], RSAKey], str]) -> None:
    here.idp.crooked.token = make
    await here.refused_at(status=403)


CALLBACKS: dict[str, dict[str, str]] = {
    "no state": {"state": ""},
    "a state of five characters": {"state": "abcde"},
    "another state": {"state": "0" * 64},
    "a state of capitals": {"state": "A" * 64},
    "another code": {"code": "nonsense"},
    "no code": {"code": ""},
    "an error": {"error": "access_denied"},
    "another issuer's answer": {"iss": "https://evil.example"},
}


@pytest.mark.parametrize("changes", CALLBACKS.values(), ids=CALLBACKS.keys())
async def test_answers_that_were_changed_on_the_way_back(here: Place, changes: dict[str, str]) -> None:
    here.idp.crooked.callback = changes
    await here.refused_at()


async def test_a_state_of_a_megabyte_is_cut_off(here: Place) -> None:
    """The server does not read it all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.tailnet.server.settings.port)
    writer.write(b"GET /oidc/callback?state=" + b"a" * 1024 * 1024 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        status = await reader.readline()
    writer.close()
    assert status.split()[1] in (b"400", b"414", b"431")


async def test_an_answer_is_used_once(here: Place) -> None:
    browser = await here.browser()
    _, url = await here.device()
    answer = await browser.sent_to(await browser.sent_to(url))
    assert (await browser.get(answer)).status == 200
    before = here.state
    assert (await browser.get(answer)).status == 400
    assert here.state == before


async def test_another_browser_cannot_use_an_answer_and_does_not_spoil_it(here: Place) -> None:
    own, other = await here.browser(), await here.browser()
    _, url = await here.device()
    await other.get(url)  # with cookies of its own login
    answer = await own.sent_to(await own.sent_to(url))
    assert (await other.get(answer)).status == 400
    assert (await own.get(answer)).status == 200


async def test_a_code_of_another_login_is_refused(here: Place) -> None:
    """Each code is bound to its own verifier and nonce."""
    browser = await here.browser()
    answers = [
        query_of(await browser.sent_to(await browser.sent_to((await here.device(n))[1]))) for n in ("a", "b")
    ]
    mixed = f"{here.tailnet.server.url}/oidc/callback?state={answers[0]['state']}&code={answers[1]['code']}"
    before = here.state
    assert (await browser.get(mixed)).status == 403
    assert here.state == before


async def test_userinfo_of_somebody_else_is_refused(here: Place) -> None:
    here.idp.crooked.userinfo = lambda claims: {**claims, "sub": "sub-boss", "email": "boss@example.com"}
    await here.refused_at(status=403)


FILTERS: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "a domain": ({"allowed_domains": ["example.com"]}, ALICE, True),
    "a domain in capitals": ({"allowed_domains": ["EXAMPLE.com"]}, ALICE, True),
    "another domain": ({"allowed_domains": ["example.org"]}, ALICE, False),
    "a domain that ends alike": ({"allowed_domains": ["ample.com"]}, ALICE, False),
    "a domain, no address": ({"allowed_domains": ["example.com"]}, {}, False),
    "a domain, address not verified": (
        {"allowed_domains": ["example.com"]},
        {"email": "a@example.com", "email_verified": False},
        False,
    ),
    "a domain, verification not asked for": (
        {"allowed_domains": ["example.com"], "email_verified_required": False},
        {"email": "a@example.com"},
        True,
    ),
    "two at signs": (
        {"allowed_domains": ["example.com"]},
        {"email": "a@evil.org@example.com", "email_verified": True},
        False,
    ),
    "a user": ({"allowed_users": ["Alice@example.com"]}, ALICE, True),
    "another user": ({"allowed_users": ["bob@example.com"]}, ALICE, False),
    "a group": ({"allowed_groups": ["eng"]}, {"groups": ["eng", "all"]}, True),
    "a group as a text": ({"allowed_groups": ["eng"]}, {"groups": "eng"}, True),
    "a group with Keycloak's slash": ({"allowed_groups": ["eng"]}, {"groups": ["/eng"]}, True),
    "another group": ({"allowed_groups": ["eng"]}, {"groups": ["engineering"]}, False),
    "no groups": ({"allowed_groups": ["eng"]}, {}, False),
    "groups of another kind": ({"allowed_groups": ["eng"]}, {"groups": {"eng": True}}, False),
    "groups elsewhere": (
        {"allowed_groups": ["eng"], "groups_claim": "realm_access.roles"},
        {"realm_access": {"roles": ["eng"]}},
        True,
    ),
    "groups under a URL": (
        {"allowed_groups": ["eng"], "groups_claim": "https://x.example/groups"},
        {"https://x.example/groups": ["eng"]},
        True,
    ),
    "all filters, one of them against": (
        {"allowed_domains": ["example.com"], "allowed_groups": ["eng"]},
        {**ALICE, "groups": ["all"]},
        False,
    ),
}


@pytest.mark.parametrize(("keys", "claims", "may"), FILTERS.values(), ids=FILTERS.keys())
async def test_whom_the_operator_lets_in(keys: dict[str, Any], claims: dict[str, Any], may: bool) -> None:
    async with place(**keys) as here:
        here.idp.knows("sub-x", **claims)
        if may:
            await logged_in(here)
        else:
            await here.refused_at(status=403)


ANSWERS: dict[str, tuple[str, Callable[[], web.StreamResponse]]] = {
    "no keys": ("jwks", lambda: web.Response(status=500)),
    "keys that are none": ("jwks", lambda: web.json_response({"keys": [{"kty": "x"}]})),
    "tokens that are no JSON": ("token", lambda: web.Response(text="<html>")),
    "tokens of a megabyte": ("token", lambda: web.Response(text="x" * 1024 * 1024)),
    "a redirect in place of tokens": (
        "token",
        lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    ),
}


@pytest.mark.parametrize(("where", "answer"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_provider_that_is_broken(
    here: Place, where: str, answer: Callable[[], web.StreamResponse]
) -> None:
    """A page says so (503), and the same login works when it is mended."""
    here.idp.crooked.answers = {where: answer}
    browser = await here.browser()
    _, url = await here.device()
    before = here.state
    seen = await browser.get(url)
    assert (seen.status, here.state) == (503, before)
    assert "Traceback" not in seen.text
    here.idp.crooked.answers = {}
    assert (await browser.get(url)).has_form


async def test_no_redirect_of_a_provider_is_followed(here: Place) -> None:
    """Not even to one that would say the right thing."""
    elsewhere = IdentityProvider()
    elsewhere.key = here.idp.key
    await elsewhere.start()
    here.stack.push_async_callback(elsewhere.close)
    location = {"Location": f"{elsewhere.url}/jwks"}
    here.idp.crooked.answers = {"jwks": lambda: web.Response(status=302, headers=location)}
    browser = await here.browser()
    _, url = await here.device()
    assert (await browser.get(url)).status == 503


async def test_a_provider_that_is_slow_is_not_waited_for(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc_provider, "ANSWER_S", 0.2)
    browser = await here.browser()
    _, url = await here.device()
    hung = asyncio.Event()

    class Slow(web.Response):
        async def prepare(self, request: web.BaseRequest) -> Any:
            await hung.wait()
            return await super().prepare(request)

    here.idp.crooked.answers = {"token": Slow}
    seen = await browser.get(url)
    hung.set()
    assert seen.status == 503
    assert "did not answer within" in seen.text


async def test_userinfo_that_fails_leaves_what_the_token_says(here: Place) -> None:
    here.idp.crooked.answers = {"userinfo": lambda: web.Response(status=500)}
    await logged_in(here)
    assert "alice@example.com" in {u.email for u in here.tailnet.server.app.writer.snapshot.users.values()}


async def test_a_server_does_not_start_without_its_provider() -> None:
    keys = {"oidc.issuer": "http://127.0.0.1:9", "oidc.client_id": "x", "oidc.client_secret": "y"}
    with pytest.raises(Unavailable, match="only_start_if_oidc_is_available"):
        async with serving(keys):
            pass


async def test_a_provider_that_comes_later_is_used_then() -> None:
    """Started without it, the server asks again at each login."""
    async with AsyncExitStack() as stack:
        idp = IdentityProvider()
        await idp.start()
        port = int(idp.url.rpartition(":")[2])
        keys = {**idp.configuration, "oidc.only_start_if_oidc_is_available": False}
        await idp.close()
        tailnet = await stack.enter_async_context(serving(keys))
        here = Place(tailnet, idp, stack)
        browser = await here.browser()
        _, url = await here.device()
        assert (await browser.get(url)).status == 503
        await idp.start(port=port)
        stack.push_async_callback(idp.close)
        idp.knows("sub-late", **ALICE)
        assert (await browser.get(url)).has_form


async def test_another_name_of_the_provider_is_refused_at_the_start() -> None:
    async with AsyncExitStack() as stack:
        idp = IdentityProvider()
        await idp.start()
        stack.push_async_callback(idp.close)
        keys = {**idp.configuration, "oidc.issuer": idp.url.replace("127.0.0.1", "localhost")}
        with pytest.raises(Unavailable, match="calls itself"):
            async with serving(keys):
                pass


# ---- A5: the page that asks


async def test_looking_at_the_page_lets_nobody_in(here: Place) -> None:
    browser = await here.browser()
    _, url = await here.device()
    before = here.state
    asked = await browser.get(url)
    for target in (confirm_url(url), f"{confirm_url(url)}?token={token_of(asked)}&answer=yes"):
        assert (await browser.get(target)).status == 405
    assert here.state == before


@dataclass(frozen=True, slots=True)
class Form:
    """What somebody sends in place of the form."""

    token: str | None = None
    answer: str = "yes"
    other_browser: bool = False
    other_login: bool = False
    without_cookie: bool = False


FORMS = {
    "no token": Form(token=""),
    "a short token": Form(token="abc"),
    "another token": Form(token="0" * 64),
    "no answer": Form(answer=""),
    "another answer": Form(answer="maybe"),
    "without the cookie": Form(without_cookie=True),
    "another browser": Form(other_browser=True),
    "another login's page": Form(other_login=True),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
async def test_forms_that_are_not_ours(here: Place, form: Form) -> None:
    browser, other = await here.browser(), await here.browser()
    (_, url), (_, second) = await here.device("one"), await here.device("two")
    asked = await browser.get(url)
    await browser.get(second)
    await other.get(second)
    before = here.state
    if form.without_cookie:
        browser.session.cookie_jar.clear()
    sender = other if form.other_browser else browser
    token = token_of(asked) if form.token is None else form.token
    target = confirm_url(second if form.other_login else url)
    said = await sender.post(target, token=token, answer=form.answer)
    assert (said.status, here.state) == (400, before)


async def test_an_answer_is_given_once(here: Place) -> None:
    browser = await here.browser()
    _, url = await here.device()
    asked = await browser.get(url)
    assert (await browser.post(confirm_url(url), token=token_of(asked), answer="yes")).status == 200
    before = here.state
    assert (await browser.post(confirm_url(url), token=token_of(asked), answer="yes")).status == 400
    assert here.state == before


async def test_a_login_that_lapsed_or_was_decided_is_gone(here: Place) -> None:
    browser = await here.browser()
    _, url = await here.device()
    asked = await browser.get(url)
    login_id = url.rpartition("/")[2]
    assert login_id.startswith(PREFIX)
    await here.tailnet.server.call("POST", "auth/reject", {"authId": login_id})
    before = here.state
    said = await browser.post(confirm_url(url), token=token_of(asked), answer="yes")
    assert (said.status, here.state) == (410, before)


async def test_what_a_device_calls_itself_is_text(here: Place) -> None:
    browser = await here.browser()
    _, url = await here.device('<script>alert("x")</script>')
    asked = await browser.get(url)
    assert "<script" not in asked.text
    assert html.escape('<script>alert("x")</script>') in asked.text


async def test_a_form_is_for_one_login_alone(here: Place) -> None:
    """Also with its own cookie: a browser would not send that to another login's address."""
    browser = await here.browser()
    (_, url), (_, second) = await here.device("one"), await here.device("two")
    asked = await browser.get(url)
    cookie = asked.headers["Set-Cookie"].partition(";")[0]
    before = here.state
    form = {"token": token_of(asked), "answer": "yes"}
    for target in (confirm_url(second), confirm_url(url).replace("/register/", "/auth/")):
        async with browser.session.post(target, data=form, headers={"Cookie": cookie}) as answer:
            assert (answer.status, here.state) == (400, before)
