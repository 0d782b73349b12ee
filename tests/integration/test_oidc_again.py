"""People who are in are asked about again: who left is cut off, groups follow, and trouble of a provider is nobody's
end."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from harness.clients.fake import FakeClient
from tests.integration.people import Place, logged_in, place, someone, with_claims


async def asked_again(here: Place) -> None:
    """The provider is asked about the person now."""
    app = here.tailnet.server.app
    await app.recheck.ask(someone(here), app.sign_in.providers["oidc"])


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
        assert someone(here).sealed_refresh == b""
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
            assert someone(here).groups == tuple(groups)


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
        here.idp.crooked.claims = with_claims(
            email=None, email_verified=None
        )  # which userinfo says, when it answers
        if "jwks" in answers:
            here.tailnet.server.app.sign_in.providers["oidc"]._keys = None
        await asked_again(here)
        assert not here.tailnet.node_of(client).expired
        here.idp.crooked.answers = {}


async def test_an_answer_about_somebody_else_changes_nothing() -> None:
    async with rechecking() as (here, client):
        before = someone(here)
        here.idp.knows("sub-boss", email="boss@example.com", email_verified=True)
        here.idp.crooked.claims = with_claims(sub="sub-boss")
        await asked_again(here)
        after = someone(here)
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
        assert someone(here).sealed_refresh


async def test_without_the_wish_nothing_is_kept(here: Place) -> None:
    await logged_in(here)
    assert someone(here).sealed_refresh == b""
