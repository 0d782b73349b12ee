"""Calls the server's API over its Unix socket."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from headscale.cli.framework import Failed, session
from headscale.config import Config

# A server that was just started opens its socket late; try again that often until the time is up.
RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0


class NoServer(Failed):
    """Nobody answers at the socket, or we may not use it."""


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
    start = patience.start if patience.start is not None else config.cli_timeout
    answered_in = max(patience.answer or config.cli_timeout, config.cli_timeout).total_seconds()
    deadline = time.monotonic() + start.total_seconds()
    pause = RETRY_FIRST_S
    connector = aiohttp.UnixConnector(path=str(config.unix_socket))
    timeout = aiohttp.ClientTimeout(total=answered_in)
    async with aiohttp.ClientSession("http://headscale", connector=connector, timeout=timeout) as client:
        while True:
            try:
                async with client.request(method, path, json=body, params=query) as answer:
                    document = await answer.json(content_type=None)
                    if answer.status != 200:
                        raise Refused(_words(document, answer.status), document)
                    return document
            except aiohttp.ClientConnectorError as problem:
                if isinstance(problem.os_error, PermissionError):
                    raise NoServer(
                        f"you may not use {config.unix_socket}: run this as the server's user or group"
                    ) from None
                if time.monotonic() + pause >= deadline:
                    raise NoServer(
                        f"no server answers at {config.unix_socket}: start it with `headscale serve`, "
                        "or name its configuration with -c"
                    ) from None
            except TimeoutError:
                raise Failed(f"the server did not answer within {answered_in:g} s") from None
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_MAX_S)


def _words(document: Any, status: int) -> str:
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail or f"the server answered {status}")
