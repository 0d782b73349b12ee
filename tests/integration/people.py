"""What tests of people's logins share: a server with an identity provider, devices that ask, and browsers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from harness.browsing import Browser, Page, open_browser
from harness.clients.fake import FakeClient
from harness.servers.identity import IdentityProvider
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


@asynccontextmanager
async def place_apart() -> AsyncIterator[Place]:
    """With the provider on another site (localhost) than the server (127.0.0.1), as in life."""
    async with AsyncExitStack() as stack:
        idp = IdentityProvider()
        await idp.start("localhost")
        stack.push_async_callback(idp.close)
        idp.knows("sub-alice", **ALICE)
        yield Place(await stack.enter_async_context(serving(idp.configuration)), idp, stack)


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


def with_claims(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What makes these of a token's claims; None takes one away."""

    def changed(claims: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    return changed


def someone(here: Place) -> User:
    """The one person of a provider."""
    (user,) = [u for u in here.tailnet.server.app.writer.snapshot.users.values() if u.provider]
    return user
