"""A browser without a window: it follows redirects, keeps cookies, and fills in forms."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import aiohttp

from harness.errors import HarnessError


@dataclass(slots=True)
class Form:
    """Something to fill in and send. An empty `action` sends it to the page's own address."""

    action: str
    hidden: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    """Of all that can be filled in or pressed."""


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser shows, and where it is then."""

    status: int
    text: str
    url: str
    headers: Mapping[str, str]

    @property
    def forms(self) -> list[Form]:
        """Those that are sent by POST, in their order."""
        found = _Forms()
        found.feed(self.text)
        return found.forms

    @property
    def has_form(self) -> bool:
        """Whether there is something to answer."""
        return bool(self.forms)

    @property
    def form(self) -> tuple[str, dict[str, str]]:
        """Where its first form goes, and what is in it unseen; raises HarnessError without one."""
        return self.form_with()

    def form_with(self, *names: str) -> tuple[str, dict[str, str]]:
        """The same of the first form with all of these fields or buttons."""
        for form in self.forms:
            if form.names.issuperset(names):
                return urljoin(self.url, form.action), form.hidden
        what = f"a form with {', '.join(names)}" if names else "a form"
        raise HarnessError(f"{self.url} answered {self.status} without {what}: {self.text[:500]}")


class _Forms(HTMLParser):
    """Collects the forms of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("method", "").lower() == "post":
            self._open = Form(given.get("action", ""))
            self.forms.append(self._open)
        elif self._open is not None and (name := given.get("name")):
            self._open.names.add(name)
            if tag == "input" and given.get("type") == "hidden":
                self._open.hidden[name] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None


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
        """Fill in and send the first of the page's forms that has all of these fields or buttons."""
        target, hidden = page.form_with(*values)
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
