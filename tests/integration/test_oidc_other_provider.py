"""People log in at a provider that is not ours: oidc-provider-mock (Flask and Authlib), by its own login page.

It knows us as a client that registered itself, with a secret and one way back, and has no PKCE.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from harness.browsing import Browser, Page, open_browser
from harness.clients.fake import FakeClient
from harness.servers.configuration import Configuration
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.strict import unavailable
from headscale.records import User
from tests.integration.fakes import PATIENCE_S, Tailnet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its own dependencies

ALICE = {
    "email": "alice@example.com",
    "email_verified": True,
    "preferred_username": "alice",
    "name": "Alice",
    "groups": ["eng"],
}


@dataclass
class Elsewhere:
    """A server, the provider's address, and a browser."""

    tailnet: Tailnet
    provider: str
    browser: Browser

    @property
    def users(self) -> list[User]:
        """Who came by the provider."""
        return [u for u in self.tailnet.server.app.writer.snapshot.users.values() if u.provider]

    async def asked(self, sub: str, name: str = "laptop") -> tuple[FakeClient, str, Page]:
        """A device that asks, its URL, and where its user is after the provider's login page."""
        client = await self.tailnet.client(name)
        url = str((await client.register())["AuthURL"])
        login = await self.browser.get(url)
        assert login.url.startswith(self.provider), login.url
        return client, url, await self.browser.answer(login, sub=sub)

    async def logged_in(self, sub: str, name: str = "laptop") -> FakeClient:
        """The whole way, with a yes."""
        client, url, question = await self.asked(sub, name)
        waiting = asyncio.create_task(client.register(followup=url))
        done = await self.browser.answer(question, answer="yes")
        assert done.status == 200, done.text
        async with asyncio.timeout(PATIENCE_S):
            assert (await waiting)["MachineAuthorized"] is True
        return client

    async def knows(self, sub: str, **claims: Any) -> None:
        """The provider has these claims of a person from now on."""
        async with self.browser.session.put(f"{self.provider}/users/{sub}", json=claims) as answer:
            assert answer.status == 204


@asynccontextmanager
async def elsewhere(*, lifetime: timedelta = timedelta(hours=1), **keys: Any) -> AsyncIterator[Elsewhere]:
    """`keys` are of `oidc`."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of its own dependencies
            from oidc_provider_mock import run_server_in_thread
    except ImportError:
        unavailable("oidc-provider-mock is not installed (pip install oidc-provider-mock)")
    settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=30))
    with run_server_in_thread(
        require_client_registration=True, require_nonce=True, access_token_max_age=lifetime
    ) as provider:
        issuer = f"http://localhost:{provider.server_port}"
        wish = {"redirect_uris": [f"{settings.url}/oidc/callback"]}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{issuer}/oauth2/clients", json=wish) as answer,
        ):
            ours = await answer.json()
        oidc = {
            "issuer": issuer,
            "client_id": ours["client_id"],
            "client_secret": ours["client_secret"],
            **keys,
        }
        configuration = Configuration({f"oidc.{name}": value for name, value in oidc.items()}, {})
        configuration.write(settings.data)
        server = InProcessServer(replace(settings, configuration=configuration))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.close)
            await server.start()
            browser = await stack.enter_async_context(open_browser())
            there = Elsewhere(Tailnet(server, stack), issuer, browser)
            await there.knows("sub-alice", **ALICE)
            yield there


async def test_a_person_comes_by_the_providers_own_page() -> None:
    """Its page asks who they are, ours whether the device is theirs; then both are known as it says."""
    async with elsewhere() as there:
        client, url, question = await there.asked("sub-alice")
        for words in ("laptop", "alice@example.com"):
            assert words in question.text
        assert there.users == []
        waiting = asyncio.create_task(client.register(followup=url))
        assert (await there.browser.answer(question, answer="yes")).status == 200
        assert (await waiting)["Login"]["LoginName"] == "alice@example.com"
        (user,) = there.users
        assert (user.name, user.display_name, user.email) == ("alice", "Alice", "alice@example.com")
        assert user.provider_identifier == f"{there.provider}/sub-alice"
        assert there.tailnet.node_of(client).user_id == user.id


async def test_what_userinfo_says_of_groups_and_names_counts() -> None:
    """Who may join by their group, and what they are called, is from now."""
    async with elsewhere(allowed_groups=["eng"], groups_in_policy=True) as there:
        await there.logged_in("sub-alice", "one")
        await there.knows("sub-alice", **{**ALICE, "name": "Alice B.", "groups": ["ops", "eng"]})
        await there.logged_in("sub-alice", "two")
        (user,) = there.users
        assert (user.display_name, user.groups) == ("Alice B.", ("eng", "ops"))
        await there.knows("sub-mallory", email="m@example.com", email_verified=True, groups=["sales"])
        _, _, refused = await there.asked("sub-mallory", "three")
        assert (refused.status, refused.has_form) == (403, False)
        assert len(there.users) == 1
        assert len(there.tailnet.server.app.writer.snapshot.nodes) == 2


async def test_a_no_at_the_provider_lets_nobody_in() -> None:
    """The device goes on waiting, and a second try is in."""
    async with elsewhere() as there:
        client = await there.tailnet.client("laptop")
        url = str((await client.register())["AuthURL"])
        refused = await there.browser.answer(await there.browser.get(url), action="deny")
        assert refused.url.startswith(f"{there.tailnet.server.url}/oidc/callback")
        # It sends the browser back without a state (Authlib 1.9), so that nobody can tell which login it was.
        assert (refused.status, refused.has_form, there.users) == (400, False, [])
        question = await there.browser.answer(await there.browser.get(url), sub="sub-alice")
        assert (await there.browser.answer(question, answer="yes")).status == 200
        assert (await client.register(followup=url))["MachineAuthorized"] is True


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"allowed_domains": ["example.org"]}, 403),
        ({"allowed_users": ["bob@example.com"]}, 403),
        ({"allowed_groups": ["ops"]}, 403),
        ({"client_secret": "of-somebody-else"}, 503),
    ],
    ids=["domain", "user", "group", "secret"],
)
async def test_who_does_not_pass_is_told_and_changes_nothing(keys: dict[str, Any], status: int) -> None:
    async with elsewhere(**keys) as there:
        _, _, refused = await there.asked("sub-alice")
        assert (refused.status, refused.has_form) == (status, False)
        assert "of-somebody-else" not in refused.text
        assert ("refused this server" in refused.text) is (status == 503)
        assert (there.users, list(there.tailnet.server.app.writer.snapshot.nodes)) == ([], [])


async def test_an_address_that_the_provider_did_not_verify_is_not_kept() -> None:
    async with elsewhere() as there:
        await there.logged_in("carol@example.com")  # whom it makes up, with an address and no word about it
        assert [(user.email, user.provider_identifier) for user in there.users] == [
            ("", f"{there.provider}/carol@example.com")
        ]


async def test_keys_end_with_its_tokens() -> None:
    async with elsewhere(lifetime=timedelta(minutes=10), use_expiry_from_token=True) as there:
        node = there.tailnet.node_of(await there.logged_in("sub-alice"))
        assert node.expiry is not None
        assert 500 < (node.expiry - datetime.now(UTC)).total_seconds() <= 600


async def test_who_left_there_is_cut_off_here() -> None:
    """Asked again with its refresh token; when it takes those back, the person's devices are to log in again."""
    async with elsewhere(recheck_interval="1h", groups_in_policy=True) as there:
        client = await there.logged_in("sub-alice")
        app = there.tailnet.server.app
        await there.knows("sub-alice", **{**ALICE, "groups": ["ops"]})
        await app.recheck.ask(there.users[0], app.sign_in.providers["oidc"])
        assert there.users[0].groups == ("ops",)
        assert not there.tailnet.node_of(client).expired
        async with there.browser.session.post(f"{there.provider}/users/sub-alice/revoke-tokens") as answer:
            assert answer.status == 204
        await app.recheck.ask(there.users[0], app.sign_in.providers["oidc"])
        assert there.tailnet.node_of(client).expired
