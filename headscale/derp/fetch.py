"""Fetches DERP maps over HTTP, and keeps the last good copy of each, so that a server starts without its network.

What a server is told by a URL decides where clients send their traffic: only http and https are followed, a redirect
never leads from https to http, and nobody can make us read for ever.
"""

import hashlib
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp

from headscale.derp.regions import MAX_SOURCE_BYTES
from headscale.errors import Malformed, Unavailable
from headscale.files import replace_file
from headscale.sources.watchedfile import read_file

FETCH_S: Final = 30.0  # for all of it, redirects included; the peer's
REDIRECTS_MAX: Final = 5
CHUNK_BYTES: Final = 64 * 1024


async def fetch(url: str, *, seconds: float = FETCH_S) -> bytes:
    """The body behind a URL; raises Unavailable or Malformed with the reason, in which no password stands."""
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            for _ in range(REDIRECTS_MAX + 1):
                async with session.get(url, allow_redirects=False) as response:
                    if response.status in (301, 302, 303, 307, 308):
                        url = _redirected(url, response.headers.get("Location", ""))
                        continue
                    if response.status != 200:
                        raise Unavailable(
                            f"{shown(url)} answers {response.status} {response.reason or ''}".strip()
                        )
                    return await _body(response)
    except TimeoutError:
        raise Unavailable(f"no complete answer within {seconds:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        raise Unavailable(f"{type(problem).__name__}: {_said(problem, url)}") from problem
    raise Unavailable(f"more than {REDIRECTS_MAX} redirects")


def shown(url: str) -> str:
    """The URL without what may be secret in it: a user's password, and what stands behind the question mark."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


class MapCache:
    """The last good copy of each URL's map, a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, url: str) -> bytes | None:
        """The copy; None when there is none."""
        try:
            return read_file(self._path(url), max_bytes=MAX_SOURCE_BYTES)
        except (Unavailable, Malformed):
            return None

    def store(self, url: str, text: bytes) -> None:
        """Replace the copy, whole or not at all; raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        replace_file(self._path(url), text, mode=0o600)

    def _path(self, url: str) -> Path:
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    scheme = urlsplit(target).scheme
    if not location or scheme not in ("http", "https"):
        raise Unavailable(f"{shown(url)} redirects to what is no http or https URL")
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise Unavailable(f"{shown(url)} redirects from https to http")
    return target


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_SOURCE_BYTES:
            raise Malformed(f"a DERP map of more than {MAX_SOURCE_BYTES} bytes")
    return bytes(body)


def _said(problem: Exception, url: str) -> str:
    return str(problem).replace(url, shown(url)) or "no reason given"
