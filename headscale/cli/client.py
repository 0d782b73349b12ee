"""Calls the server's API, over its Unix socket or from elsewhere with an API key."""

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from headscale.cli.framework import Failed, session
from headscale.cli.reach import Server, server_of
from headscale.config import Config

# A server that was just started opens its socket late; try again that often until the time is up.
RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0


class Refused(Failed):
    """The server said no; `document` is its answer."""

    def __init__(self, words: str, document: Any) -> None:
        super().__init__(words)
        self.document = document


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server that is just starting, and for its answer; the configured time if not said."""

    start: timedelta | None = None
    answer: timedelta | None = None


def call(
    method: str,
    path: str,
    *,
    body: Any = None,
    query: dict[str, str] | None = None,
    patience: Patience = Patience(),
) -> Any:
    """The answer's document. Raises Refused with the server's own words, or NoServer."""
    return asyncio.run(_call(session().config(), method, path, body, query or {}, patience))


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


async def _call(
    config: Config, method: str, path: str, body: Any, query: dict[str, str], patience: Patience
) -> Any:
    server = server_of(config)
    start = patience.start if patience.start is not None else config.cli_timeout
    answered_in = max(patience.answer or config.cli_timeout, config.cli_timeout).total_seconds()
    deadline = time.monotonic() + start.total_seconds()
    pause = RETRY_FIRST_S
    async with server.session(aiohttp.ClientTimeout(total=answered_in)) as client:
        while True:
            try:
                async with client.request(
                    method, server.url + path, json=body, params=query, allow_redirects=False
                ) as answer:
                    return await _document(answer, server)
            except aiohttp.ClientConnectorError as problem:
                if (reason := server.why_not(problem)) is not None:
                    raise reason from None
                if time.monotonic() + pause >= deadline:
                    raise server.silence from None
            except aiohttp.ClientError as problem:
                raise Failed(f"{server.name} did not answer as it should: {problem}") from None
            except TimeoutError:
                raise Failed(f"the server did not answer within {answered_in:g} s") from None
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_MAX_S)


async def _document(answer: aiohttp.ClientResponse, server: Server) -> Any:
    """What was answered; raises Refused with the server's words, or Failed for what is no answer of a headscale."""
    try:
        document = json.loads(await answer.read())
    except ValueError:
        document = None
    if answer.status in (200, 202) and document is not None:
        return document
    if answer.status == 401 and not server.socket:
        raise Failed(
            f"{server.name} does not accept this API key (cli.api_key): it is unknown there, has expired or was "
            "deleted. Make another with `headscale apikeys create` on the server"
        )
    if not isinstance(document, dict) or not document.keys() & {"detail", "message"}:  # of v1 and of v2
        where = f" and points to {answer.headers['Location']}" if "Location" in answer.headers else ""
        raise Failed(f"{server.name} answered {answer.status}{where}, and not as a headscale does")
    raise Refused(_words(document, answer.status), document)


def _words(document: Any, status: int) -> str:
    said = document if isinstance(document, dict) else {}
    return str(said.get("detail") or said.get("message") or f"the server answered {status}")
