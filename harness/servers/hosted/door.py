"""REST v2 with one credential: an API key, or an OAuth client's secret that is traded for tokens.

Source: https://tailscale.com/api (v2), and RFC 6749 4.4 for the trade.
"""

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from harness.errors import HarnessError
from harness.servers.base import AdminRefused

CALL_SECONDS: Final = 20.0
HUJSON: Final = "application/hujson"
SECRET_OF_CLIENT: Final = "tskey-client-"  # noqa: S105
TOKEN_MARGIN_SECONDS: Final = 60.0
HOSTED_CONTROLS: Final = frozenset({"controlplane.tailscale.com", "login.tailscale.com"})
HOSTED_API: Final = "https://api.tailscale.com"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said; `tag` is the ETag as it came, empty without one."""

    status: int
    text: str
    tag: str

    @property
    def document(self) -> Any:
        """The JSON; an empty object for an empty body. Raises HarnessError for what is none."""
        try:
            return json.loads(self.text) if self.text.strip() else {}
        except ValueError:
            raise HarnessError(f"the API answered {self.status} with no JSON: {self.text[:200]!r}") from None


def api_of(control_url: str) -> str:
    """Where the API of this control server is: there, but for the hosted service, which has another host for it."""
    return HOSTED_API if urlsplit(control_url).hostname in HOSTED_CONTROLS else control_url.rstrip("/")


class Door:
    """One caller of the API at `base`. The credential is never shown. `authority` is who signed the server's
    certificate (PEM), None for the system's roots."""

    def __init__(self, base: str, credential: str, *, authority: bytes | None = None) -> None:
        self._base = base
        self._credential = credential
        self._trust = ssl.create_default_context(cadata=authority.decode()) if authority else True
        self._token = ("", 0.0)

    @property
    def is_oauth(self) -> bool:
        """Whether it is an OAuth client's, and so no person's."""
        return self._credential.startswith(SECRET_OF_CLIENT)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        text: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`path` is what follows /api/v2/; `text` is a body in HuJSON. Raises AdminRefused for an answer of 400 on."""
        sent = {"Authorization": f"Bearer {await self._bearer()}", **(headers or {})}
        data: dict[str, Any] = {"json": body} if body is not None else {}
        if text is not None:
            data, sent = {"data": text.encode()}, {**sent, "Content-Type": HUJSON}
        answer = await self._send(method, path, headers=sent, **data)
        if answer.status >= 400:
            raise AdminRefused(f"{method} {path}: {answer.status} {_why(answer)}", status=answer.status)
        return answer

    async def _bearer(self) -> str:
        if not self.is_oauth:
            return self._credential
        token, ends = self._token
        if time.monotonic() > ends:
            form = {"grant_type": "client_credentials", "client_secret": self._credential}
            form["client_id"] = self._credential.removeprefix(SECRET_OF_CLIENT).partition("-")[0]
            answer = await self._send("POST", "oauth/token", data=form)
            if answer.status != 200:
                raise AdminRefused(f"the OAuth client gets no token: {answer.status} {_why(answer)}")
            token = answer.document["access_token"]
            ends = time.monotonic() + float(answer.document.get("expires_in", 0)) - TOKEN_MARGIN_SECONDS
            self._token = (token, ends)
        return token

    async def _send(self, method: str, path: str, **parts: Any) -> Answer:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        url = f"{self._base}/api/v2/{path}"
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                async with session.request(method, url, ssl=self._trust, **parts) as answer:
                    return Answer(answer.status, await answer.text(), answer.headers.get("ETag", ""))
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise HarnessError(f"{method} {url}: {problem!r}") from problem


def _why(answer: Answer) -> str:
    """The reason that an error gives, with a policy's complaints."""
    try:
        document = json.loads(answer.text)
    except ValueError:
        return answer.text[:200]
    if not isinstance(document, dict):
        return answer.text[:200]
    reason = str(document.get("message") or document.get("error_description") or document)
    return f"{reason} {json.dumps(document['data'])}" if document.get("data") else reason
