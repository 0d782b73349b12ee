"""A browser without a window: it follows redirects, keeps cookies, and fills in forms."""

import html
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

import aiohttp

from harness.errors import HarnessError

_FORM: Final = re.compile(r'<form method="post" action="([^"]*)">(.*?)</form>', re.DOTALL)
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser shows, and where it is then."""

    status: int
    text: str
    url: str
    headers: Mapping[str, str]

    @property
    def has_form(self) -> bool:
        """Whether there is something to answer."""
        return _FORM.search(self.text) is not None

    @property
    def form(self) -> tuple[str, dict[str, str]]:
        """Where its form goes, and what is in it unseen; raises HarnessError without one."""
        found = _FORM.search(self.text)
        if found is None:
            raise HarnessError(f"{self.url} answered {self.status} without a form: {self.text[:500]}")
        hidden = {html.unescape(name): html.unescape(value) for name, value in _HIDDEN.findall(found[2])}
        return urljoin(self.url, html.unescape(found[1])), hidden


class Browser:
    """One person's, with cookies of its own."""

    def __init__(self, session: aiohttp.ClientSession, trust: ssl.SSLContext) -> None:
        self.session = session
        self._trust = trust

    async def get(self, url: str, *, follow: bool = True) -> Page:
        """Open a page."""
        async with self.session.get(url, allow_redirects=follow, ssl=self._trust) as answer:
            return Page(answer.status, await answer.text(), str(answer.url), dict(answer.headers))

    async def post(self, url: str, **form: str) -> Page:
        """Send a form."""
        async with self.session.post(url, data=form, ssl=self._trust) as answer:
            return Page(answer.status, await answer.text(), str(answer.url), dict(answer.headers))

    async def answer(self, page: Page, **values: str) -> Page:
        """Fill in the page's form with these, and send it."""
        target, hidden = page.form
        return await self.post(target, **{**hidden, **values})

    async def sent_to(self, url: str) -> str:
        """Where a page sends the browser; raises HarnessError for one that does not."""
        page = await self.get(url, follow=False)
        if "Location" not in page.headers:
            raise HarnessError(f"{url} answered {page.status} without sending anybody on: {page.text[:500]}")
        return urljoin(url, page.headers["Location"])


@asynccontextmanager
async def open_browser(authority: bytes | None = None) -> AsyncIterator[Browser]:
    """A new one, which trusts this authority too (PEM)."""
    trust = ssl.create_default_context()
    if authority is not None:
        trust.load_verify_locations(cadata=authority.decode())
    jar = aiohttp.CookieJar(unsafe=True)  # servers may be known by their address
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Browser(session, trust)
