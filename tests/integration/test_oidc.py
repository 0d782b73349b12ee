"""People log in at an identity provider: over real sockets, with a real one in this process."""

import asyncio
import json
import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from harness.servers.identity import CLIENT_ID, CLIENT_SECRET, IdentityProvider, query_of, signed
from headscale.login.oidc import provider as oidc_provider
from tests.integration.people import (
    ALICE,
    Place,
    confirm_url,
    logged_in,
    place,
    someone,
    token_of,
)


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


async def test_an_administrator_logs_a_person_out(here: Place) -> None:
    """From all their devices, and nobody else."""
    mine = [await logged_in(here, name) for name in ("one", "two")]
    other = await here.tailnet.join("other", user="2")
    answer = await here.tailnet.server.call("POST", f"user/{someone(here).id}/logout")
    assert answer == {"nodes": [str(here.tailnet.node_of(client).id) for client in mine]}
    assert all(here.tailnet.node_of(client).expired for client in mine)
    node = here.tailnet.node(other.id)
    assert node is not None
    assert not node.expired
    assert (await here.tailnet.server.call("POST", f"user/{someone(here).id}/logout")) == {"nodes": []}
