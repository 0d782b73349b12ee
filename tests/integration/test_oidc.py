"""People log in at an identity provider: over real sockets, with a provider that can be told to misbehave.

Everything that may go wrong is refused with a 4xx, makes no user and no node, and leaves others as they are.
"""

import asyncio
import base64
import hashlib
import hmac
import html
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from harness.browsing import Browser, Page, open_browser
from harness.clients.fake import FakeClient
from harness.servers.identity import CLIENT_ID, CLIENT_SECRET, IdentityProvider, query_of, signed
from headscale.errors import Unavailable
from headscale.login.oidc import provider as oidc_provider
from headscale.login.pending import PREFIX
from headscale.records import User
from tests.integration.fakes import PATIENCE_S, Tailnet
from tests.integration.test_dns import serving

ALICE = {"email": "alice@example.com", "email_verified": True, "preferred_username": "alice", "name": "Alice"}


def token_of(page: Page) -> str:
    """What the form of the page has hidden."""
    return page.form[1]["token"]


@dataclass
class Place:
    """A server, its provider, and browsers."""

    tailnet: Tailnet
    idp: IdentityProvider
    stack: AsyncExitStack

    async def browser(self) -> Browser:
        return await self.stack.enter_async_context(open_browser())

    async def device(self, name: str = "laptop") -> tuple[FakeClient, str]:
        """A device that asks, and the URL that it shows."""
        client = await self.tailnet.client(name)
        return client, str((await client.register())["AuthURL"])

    async def refused_at(self, *, url: str = "", status: int | None = None) -> Page:
        """A whole way that ends before anything is asked: a 4xx page, nobody new, nothing in the log."""
        before = self.state
        browser = await self.browser()
        url = url or (await self.device())[1]
        seen = await browser.get(url)
        assert 400 <= seen.status < 500, (seen.status, seen.text)
        assert status is None or seen.status == status
        assert not seen.has_form
        assert self.state == before
        return seen

    @property
    def state(self) -> tuple[Any, ...]:
        snapshot = self.tailnet.server.app.writer.snapshot
        return dict(snapshot.users), dict(snapshot.nodes)


@asynccontextmanager
async def place(**keys: Any) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        idp = IdentityProvider()
        await idp.start()
        stack.push_async_callback(idp.close)
        idp.knows("sub-alice", **ALICE)
        named = {f"oidc.{name}": value for name, value in keys.items() if not name.startswith("_")}
        more = keys.get("_more", {})
        tailnet = await stack.enter_async_context(serving({**idp.configuration, **named, **more}))
        yield Place(tailnet, idp, stack)


@pytest.fixture
async def here() -> AsyncIterator[Place]:
    async with place() as made:
        yield made


async def logged_in(here: Place, name: str = "laptop", browser: Browser | None = None) -> FakeClient:
    """The whole way, with a yes."""
    browser = browser or await here.browser()
    client, url = await here.device(name)
    waiting = asyncio.create_task(client.register(followup=url))
    asked = await browser.get(url)
    assert asked.status == 200, asked.text
    done = await browser.post(confirm_url(url), token=token_of(asked), answer="yes")
    assert done.status == 200, done.text
    async with asyncio.timeout(PATIENCE_S):
        assert (await waiting)["MachineAuthorized"] is True
    return client


def confirm_url(url: str) -> str:
    base, _, login_id = url.rpartition("/register/")
    return f"{base}/register/confirm/{login_id}"


# ---- what works


async def test_a_person_lets_their_device_in(here: Place) -> None:
    """The page shows device and person; with a yes both are there, and the client that waits learns it."""
    browser = await here.browser()
    client, url = await here.device("laptop")
    waiting = asyncio.create_task(client.register(followup=url))
    asked = await browser.get(url)
    assert "laptop" in asked.text
    assert "alice@example.com" in asked.text
    assert (
        len(here.tailnet.server.app.writer.snapshot.users) == 2
    )  # alice and bob of the test, and nobody yet
    assert "form-action 'self'" in asked.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in asked.headers["Content-Security-Policy"]
    assert (await browser.post(confirm_url(url), token=token_of(asked), answer="yes")).status == 200
    answer = await waiting
    assert answer["Login"]["LoginName"] == "alice@example.com"
    (user,) = [u for u in here.tailnet.server.app.writer.snapshot.users.values() if u.provider]
    assert (user.name, user.display_name, user.email, user.provider) == (
        "alice",
        "Alice",
        "alice@example.com",
        "oidc",
    )
    assert user.provider_identifier == f"{here.idp.url}/sub-alice"
    assert here.tailnet.node_of(client).user_id == user.id
    (event, *_) = (await here.tailnet.server.call("GET", "audit"))["events"]
    assert (event["actor"], event["action"]) == ("person alice@example.com", "login.register")
    assert len(event["changes"]) == 2


async def test_the_question_to_the_provider_is_bound_and_proved(here: Place) -> None:
    """State, nonce and a PKCE challenge of each login's own; the code's verifier goes to the provider alone."""
    browser = await here.browser()
    asked = [query_of(await browser.sent_to((await here.device(f"d{n}"))[1])) for n in (1, 2)]
    for name in ("state", "nonce", "code_challenge"):
        assert len({each[name] for each in asked}) == 2
        assert all(len(each[name]) >= 43 for each in asked)
    assert {each["code_challenge_method"] for each in asked} == {"S256"}
    assert asked[0]["redirect_uri"] == f"{here.tailnet.server.url}/oidc/callback"
    assert asked[0]["scope"] == "openid profile email"
    await logged_in(here)
    tokens = [form for kind, form in here.idp.asked if kind == "token"]
    assert len(tokens[-1]["code_verifier"]) >= 43


async def test_several_tabs_do_not_disturb_each_other(here: Place) -> None:
    browser = await here.browser()
    (_, first), (_, second) = await here.device("one"), await here.device("two")
    places = [await browser.sent_to(url) for url in (first, second)]
    for at, url in zip(reversed(places), (second, first), strict=True):
        asked = await browser.get(at)
        assert (await browser.post(confirm_url(url), token=token_of(asked), answer="yes")).status == 200
    assert len(here.tailnet.server.app.writer.snapshot.nodes) == 2


async def test_the_same_person_is_the_same_user_with_what_is_said_now(here: Place) -> None:
    await logged_in(here, "one")
    here.idp.knows("sub-alice", **{**ALICE, "email": "new@example.com", "preferred_username": "al"})
    await logged_in(here, "two")
    (user,) = [u for u in here.tailnet.server.app.writer.snapshot.users.values() if u.provider]
    assert (user.email, user.name) == ("new@example.com", "al")
    assert len(here.tailnet.server.app.writer.snapshot.nodes_owned_by(user.id)) == 2
    here.idp.knows("sub-alice")  # what is not said stays
    await logged_in(here, "three")
    assert here.tailnet.server.app.writer.snapshot.users[user.id] == user


async def test_another_person_with_the_same_words_is_another_user(here: Place) -> None:
    """Neither name nor address identify: not another subject's, and not those of a user made here."""
    await here.tailnet.server.call("POST", "user", {"name": "eve", "email": "alice@example.com"})
    await logged_in(here, "one")
    here.idp.knows("sub-mallory", **ALICE)
    await logged_in(here, "two")
    users = here.tailnet.server.app.writer.snapshot.users.values()
    assert sorted(u.provider_identifier or "" for u in users if u.email == "alice@example.com") == [
        "",
        f"{here.idp.url}/sub-alice",
        f"{here.idp.url}/sub-mallory",
    ]
    assert len({node.user_id for node in here.tailnet.server.app.writer.snapshot.nodes.values()}) == 2


async def test_a_no_turns_the_device_away(here: Place) -> None:
    browser = await here.browser()
    client, url = await here.device()
    waiting = asyncio.create_task(client.register(followup=url))
    asked = await browser.get(url)
    before = here.state
    said = await browser.post(confirm_url(url), token=token_of(asked), answer="no")
    assert (said.status, here.state) == (200, before)
    assert "not their device" in (await waiting)["Error"]


@pytest.mark.parametrize("verified", [True, "true", "TRUE"], ids=["flag", "text", "capitals"])
async def test_a_verified_address_is_kept(here: Place, verified: object) -> None:
    here.idp.knows("sub-v", email="v@example.com", email_verified=verified)
    await logged_in(here)
    assert "v@example.com" in {u.email for u in here.tailnet.server.app.writer.snapshot.users.values()}


@pytest.mark.parametrize(
    "claims", [{"email_verified": False}, {}, {"email_verified": "no"}, {"email_verified": 1}]
)
async def test_an_address_that_is_not_verified_is_not_kept(here: Place, claims: dict[str, Any]) -> None:
    here.idp.knows("sub-u", email="u@example.com", **claims)
    await logged_in(here)
    assert "u@example.com" not in {u.email for u in here.tailnet.server.app.writer.snapshot.users.values()}


async def test_verified_in_one_document_does_not_verify_the_address_of_another(here: Place) -> None:
    """The address of userinfo with the token's flag would be an address that nobody verified."""
    here.idp.knows("sub-m", email="own@example.com", email_verified=True)
    here.idp.crooked.userinfo = lambda claims: {"sub": claims["sub"], "email": "boss@example.com"}
    await logged_in(here)
    assert not {u.email for u in here.tailnet.server.app.writer.snapshot.users.values()} & {
        "boss@example.com",
        "own@example.com",
    }


async def test_a_key_ends_with_the_token_where_the_operator_wants_that() -> None:
    async with place(use_expiry_from_token=True) as here:
        here.idp.token_lifetime_s = 600
        client = await logged_in(here)
        node = here.tailnet.node_of(client)
        assert node.expiry is not None
        assert 500 < (node.expiry - datetime.now(UTC)).total_seconds() <= 600


async def test_new_keys_of_the_provider_are_looked_up(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_provider, "KEYS_PAUSE_S", 0.0)
    await logged_in(here, "one")
    here.idp.key = RSAKey.generate_key(2048, {"kid": "two", "use": "sig", "alg": "RS256"})
    here.idp.crooked.token = lambda claims, key: signed(claims, key, kid="two")
    await logged_in(here, "two")


# ---- A4: what is refused

NOW = int(time.time())
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one"})


def _with(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def changed(claims: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    return changed


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
    here.idp.crooked.claims = _with(**changes)
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


# ---- several providers


async def test_several_providers_are_chosen_from_and_told_apart() -> None:
    """The same subject at two providers are two people; a login at one is not answered by the other."""
    async with AsyncExitStack() as stack:
        second = IdentityProvider()
        await second.start()
        stack.push_async_callback(second.close)
        second.knows("sub-alice", **ALICE)
        other = {
            "name": "second",
            "issuer": second.url,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }
        here = await stack.enter_async_context(place(name="first", others=[other]))
        browser = await here.browser()
        for name, device in (("first", "one"), ("second", "two")):
            _, url = await here.device(device)
            choice = await browser.get(url)
            (target,) = re.findall(rf'href="(/oidc/start/{name}/[^"]+)"', choice.text)
            asked = await browser.get(here.tailnet.server.url + target)
            assert (await browser.post(confirm_url(url), token=token_of(asked), answer="yes")).status == 200
        people = {u.provider_identifier for u in here.tailnet.server.app.writer.snapshot.users.values()} - {
            None
        }
        assert people == {f"{here.idp.url}/sub-alice", f"{second.url}/sub-alice"}
        _, url = await here.device("three")
        assert (
            await browser.get(f"{here.tailnet.server.url}/oidc/start/third/{url.rpartition('/')[2]}")
        ).status == 404


# ---- groups in the policy

POLICY = json.dumps(
    {
        "groups": {"group:eng": []},
        "acls": [{"action": "accept", "src": ["group:eng"], "dst": ["*:22"]}],
    }
)


@pytest.mark.parametrize("in_policy", [True, False], ids=["they count", "they do not"])
async def test_groups_of_the_provider_are_groups_of_the_policy(in_policy: bool) -> None:
    """Where the operator wants that; and with the next login they are others."""
    async with place(groups_in_policy=in_policy) as here:
        await here.tailnet.server.set_policy(POLICY)
        here.idp.knows("sub-alice", groups=["eng"])
        client = await logged_in(here, "one")
        node = here.tailnet.node_of(client)

        def may() -> bool:
            snapshot = here.tailnet.server.app.writer.snapshot
            return "group:eng" in snapshot.policy._workings.facts.kind(node.user_id or 0).labels

        assert may() is in_policy
        await here.tailnet.server.stop()
        await here.tailnet.server.start()
        assert may() is in_policy
        here.idp.knows("sub-alice", groups=[])
        await logged_in(here, "two")
        assert may() is False


async def test_a_key_that_ends_with_the_token_does_so_after_a_restart() -> None:
    async with place(use_expiry_from_token=True) as here:
        client = await logged_in(here)
        before = here.tailnet.node_of(client).expiry
        await here.tailnet.server.stop()
        await here.tailnet.server.start()
        assert here.tailnet.node_of(client).expiry == before
        assert before is not None


# ---- asked again


def _someone(here: Place) -> User:
    (user,) = [u for u in here.tailnet.server.app.writer.snapshot.users.values() if u.provider]
    return user


async def asked_again(here: Place) -> None:
    """The provider is asked about the person now."""
    app = here.tailnet.server.app
    await app.recheck.ask(_someone(here), app.sign_in.providers["oidc"])


@asynccontextmanager
async def rechecking(**keys: Any) -> AsyncIterator[tuple[Place, FakeClient]]:
    async with place(recheck_interval="1h", groups_in_policy=True, **keys) as here:
        yield here, await logged_in(here)


async def test_who_left_is_cut_off_at_once() -> None:
    """All devices of the person, and nobody else's; the client is to log in again, and cannot."""
    async with rechecking() as (here, client):
        other = await here.tailnet.join("other", user="2")
        second = await logged_in(here, "second")
        del here.idp.people["sub-alice"]
        await asked_again(here)
        assert here.tailnet.node_of(client).expired
        assert here.tailnet.node_of(second).expired
        node = here.tailnet.node(other.id)
        assert node is not None
        assert not node.expired
        assert _someone(here).sealed_refresh == b""
        (event, *_) = (await here.tailnet.server.call("GET", "audit"))["events"]
        assert (event["actor"], event["action"]) == ("identity provider oidc", "user.logout")
        assert (await client.register())["NodeKeyExpired"] is True


async def test_who_passes_the_filters_no_longer_is_cut_off() -> None:
    async with rechecking(allowed_domains=["example.com"]) as (here, client):
        await asked_again(here)
        assert not here.tailnet.node_of(client).expired
        here.idp.people["sub-alice"]["email"] = "alice@example.org"
        await asked_again(here)
        assert here.tailnet.node_of(client).expired


async def test_groups_follow_without_a_login() -> None:
    async with rechecking() as (here, _):
        for groups in (["eng"], ["eng", "ops"], []):
            here.idp.people["sub-alice"]["groups"] = groups
            await asked_again(here)
            assert _someone(here).groups == tuple(groups)


TROUBLES: dict[str, dict[str, Callable[[], web.StreamResponse]]] = {
    "the provider is broken": {"token": lambda: web.Response(status=502)},
    "it does not know this server": {
        "token": lambda: web.json_response({"error": "invalid_client"}, status=401)
    },
    "it is too busy": {"token": lambda: web.Response(status=429)},
    "userinfo is broken": {"userinfo": lambda: web.Response(status=500)},
    "its keys are gone": {"jwks": lambda: web.Response(status=404)},
}


@pytest.mark.parametrize("answers", TROUBLES.values(), ids=TROUBLES.keys())
async def test_trouble_of_the_provider_cuts_nobody_off(
    answers: dict[str, Callable[[], web.StreamResponse]],
) -> None:
    async with rechecking(allowed_domains=["example.com"]) as (here, client):
        here.idp.crooked.answers = answers
        here.idp.crooked.claims = _with(
            email=None, email_verified=None
        )  # which userinfo says, when it answers
        if "jwks" in answers:
            here.tailnet.server.app.sign_in.providers["oidc"]._keys = None
        await asked_again(here)
        assert not here.tailnet.node_of(client).expired
        here.idp.crooked.answers = {}


async def test_an_answer_about_somebody_else_changes_nothing() -> None:
    async with rechecking() as (here, client):
        before = _someone(here)
        here.idp.knows("sub-boss", email="boss@example.com", email_verified=True)
        here.idp.crooked.claims = _with(sub="sub-boss")
        await asked_again(here)
        after = _someone(here)
        assert (after.email, after.provider_identifier) == (before.email, before.provider_identifier)
        assert not here.tailnet.node_of(client).expired


async def test_what_the_provider_is_asked_with_is_kept_sealed() -> None:
    """Renewed each time, usable after a restart, and readable by nobody who has the database alone."""
    async with rechecking() as (here, client):
        await asked_again(here)
        await here.tailnet.server.stop()
        with sqlite3.connect(here.tailnet.server.settings.database) as database:
            dump = "\n".join(database.iterdump())
        for token in here.idp.refresh_tokens:
            assert token not in dump
            assert token.encode().hex() not in dump.lower()
        await here.tailnet.server.start()
        await asked_again(here)
        assert not here.tailnet.node_of(client).expired
        assert _someone(here).sealed_refresh


async def test_without_the_wish_nothing_is_kept(here: Place) -> None:
    await logged_in(here)
    assert _someone(here).sealed_refresh == b""


async def test_an_administrator_logs_a_person_out(here: Place) -> None:
    """From all their devices, and nobody else."""
    mine = [await logged_in(here, name) for name in ("one", "two")]
    other = await here.tailnet.join("other", user="2")
    answer = await here.tailnet.server.call("POST", f"user/{_someone(here).id}/logout")
    assert answer == {"nodes": [str(here.tailnet.node_of(client).id) for client in mine]}
    assert all(here.tailnet.node_of(client).expired for client in mine)
    node = here.tailnet.node(other.id)
    assert node is not None
    assert not node.expired
    assert (await here.tailnet.server.call("POST", f"user/{_someone(here).id}/logout")) == {"nodes": []}


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
