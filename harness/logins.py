"""Logging in without a key, as a person does: the client shows a URL, its page an id, and an administrator decides."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Sequence
from typing import Final

import aiohttp

from harness.browsing import open_browser
from harness.clients.base import Ability, Client, CliResult
from harness.conditions import has_login_url, needs_login, running, shows_no_login_url
from harness.errors import HarnessError
from harness.servers.base import ControlServer
from harness.servers.identity import IdentityProvider
from harness.tailnet import Tailnet
from harness.wait import Budget

LOGIN_ID: Final = re.compile(r"--auth-id (\S+?)(?=[\s<])")
"""Where the page shows the command, ours as the peer's."""
REAUTH: Final = "--force-reauth"


async def asks(tailnet: Tailnet, client: Client, *extra: str) -> tuple["asyncio.Task[CliResult]", str]:
    """`tailscale up` without a key: the command that goes on waiting, and the login's id from the page it names."""
    waiting, url = await shows_url(tailnet, client, *extra)
    return waiting, await login_id(tailnet.server, url)


async def shows_url(tailnet: Tailnet, client: Client, *extra: str) -> tuple["asyncio.Task[CliResult]", str]:
    """`tailscale up` without a key: the command that goes on waiting, and the URL that it shows.

    With --force-reauth the command may be over already, in peace: it stops at the first "Running", and the client may
    have come back with its old key before the login begins (seen with 1.80 on a busy machine). The URL comes all the
    same.
    """
    waiting = asyncio.create_task(client.up(tailnet.server.url, extra=extra))
    showing = asyncio.create_task(client.until(has_login_url(), Budget.JOIN))
    await asyncio.wait({waiting, showing}, return_when=asyncio.FIRST_COMPLETED)
    if waiting.done() and not waiting.result().ok:  # refused before it got a URL
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        raise LoginRefused(await waiting)
    status = await showing
    tailnet.history.record("login asked", name=client.name)
    return waiting, status.auth_url


async def logs_in(tailnet: Tailnet, client: Client, user: str, *extra: str) -> CliResult:
    """`tailscale up`, and an administrator lets the device in as the user's; the command's end.

    Raises LoginRefused when the client is told no at once, AdminRefused when the administrator is.
    """
    await tailnet.user(user)
    waiting, found = await asks(tailnet, client, *extra)
    try:
        await tailnet.server.let_in(found, user)
    except BaseException:
        await given_up(waiting)
        raise
    tailnet.history.record("login let in", name=client.name, user=user)
    result = await waiting
    if result.ok:
        await client.until(shows_no_login_url(), Budget.JOIN)
    return result


async def logs_in_person(
    tailnet: Tailnet, client: Client, provider: IdentityProvider, subject: str, *extra: str
) -> CliResult:
    """`tailscale up`, and a person logs in at the identity provider and says yes to the device; the command's end."""
    waiting, url = await shows_url(tailnet, client, *extra)
    try:
        async with open_browser(tailnet.server.authority) as browser:
            provider.person = subject
            done = await browser.answer(await browser.get(url), answer="yes")
            if done.status != 200:
                raise HarnessError(f"{done.url} answered {done.status}: {done.text[:500]}")
    except BaseException:
        await given_up(waiting)
        raise
    tailnet.history.record("login confirmed", name=client.name, user=subject)
    result = await waiting
    if result.ok:
        await client.until(shows_no_login_url(), Budget.JOIN)
    return result


async def each_logs_in_person(
    tailnet: Tailnet, provider: IdentityProvider, subject: str, *extra: str
) -> list[Client]:
    """A client of each release that has a login page to show, let in by the same person; all see each other.

    One login at a time: who comes to the provider is whom it was told to expect.
    """
    clients = await tailnet.each(tailnet.able(Ability.LOGOUT), tailnet.client)
    for client in clients:
        result = await logs_in_person(tailnet, client, provider, subject, *extra)
        if not result.ok:
            raise HarnessError(
                f"{client.name}: {result.command!r} ended with {result.code}: {result.message}"
            )
        await client.until(running(), Budget.JOIN)
    await tailnet.meshed(clients)
    return clients


async def given_up(waiting: "asyncio.Task[CliResult]") -> None:
    """The user stops waiting."""
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError, HarnessError):
        await waiting


async def login_id(server: ControlServer, url: str) -> str:
    """The id that the page of this URL shows; raises HarnessError with the page when it shows none."""
    trust = ssl.create_default_context()
    if server.authority is not None:
        trust.load_verify_locations(cadata=server.authority.decode())
    async with aiohttp.ClientSession() as browser, browser.get(url, ssl=trust) as page:
        text = await page.text()
    found = LOGIN_ID.search(text)
    if page.status != 200 or found is None:
        raise HarnessError(f"{url} answered {page.status} without a login's id: {text[:500]}")
    return found[1]


async def logs_out(client: Client) -> None:
    """`tailscale logout`, and it shows."""
    done = await client.logout()
    if not done.ok:
        raise HarnessError(f"{client.name}: {done.command!r} ended with {done.code}: {done.message}")
    await client.until(needs_login(), Budget.SYNC)


class LoginRefused(HarnessError):
    """The client was told no before it was given a URL; `result` is what its user saw."""

    def __init__(self, result: CliResult) -> None:
        super().__init__(f"{result.command!r} ended with {result.code}: {result.message}")
        self.result = result


def wishes(tags: Sequence[str]) -> str:
    """The flag with which a client asks for tags; for none it asks to lose those it has."""
    return f"--advertise-tags={','.join(tags)}"
