"""HTTP/1.1 by hand, as a client of ours speaks it when it upgrades: every byte that a proxy answers is seen.

Libraries follow redirects, hide what came instead of a 101, and refuse certificates without saying which.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

DIAL_S: Final = 5.0
ANSWER_S: Final = 8.0
HEAD_MAX_BYTES: Final = 64 * 1024
BODY_MAX_BYTES: Final = 256 * 1024
PORTS: Final = {"http": 80, "https": 443}


class NoWay(Exception):
    """There is no connection, or no HTTP on it; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case), and the beginning of the body; of a 101 what came right behind it."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def server(self) -> str:
        """What the Server header says."""
        return self.headers.get("server", "")

    @property
    def text(self) -> str:
        """The body as text, its first line."""
        return self.body.decode("utf-8", "replace").strip().partition("\n")[0][:120]


def parts_of(url: str) -> SplitResult:
    """A URL that the reader of the configuration or the command line has checked."""
    return urlsplit(url if "://" in url else f"https://{url}")


def port_of(parts: SplitResult) -> int:
    """The port that is meant."""
    return parts.port or PORTS.get(parts.scheme, 443)


class Line:
    """One connection: to a URL's host, with TLS when the URL says so."""

    def __init__(self, url: str, trust: ssl.SSLContext | None) -> None:
        self._parts = parts_of(url)
        self._trust = trust
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        host, port = self._parts.hostname or "", port_of(self._parts)
        tls = self._trust if self._parts.scheme == "https" else None
        try:
            async with asyncio.timeout(DIAL_S):
                self._reader, self._writer = await asyncio.open_connection(
                    host, port, ssl=tls, server_hostname=host if tls else None
                )
        except TimeoutError:
            raise NoWay(f"nothing answers at {host}:{port} within {DIAL_S:g} s") from None
        except ssl.SSLError as problem:
            raise NoWay(f"no TLS with {host}:{port}: {said(problem)}") from problem
        except OSError as problem:
            raise NoWay(f"no connection to {host}:{port}: {why(problem)}") from problem
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    async def provoke(self) -> Answer:
        """What whoever is in front says to a request that is none: it answers by itself and does not ask further."""
        self.write(b"GET /health HTTP/1.1\r\nHost: x\r\nbad header\x00\r\n\r\n")
        return await self._answered("a malformed request")

    async def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request without a body and read its answer; raises NoWay."""
        port = "" if self._parts.port is None else f":{self._parts.port}"
        name = self._parts.hostname or ""
        host = f"[{name}]{port}" if ":" in name else f"{name}{port}"
        told = {"Host": host, "User-Agent": "headscale-doctor", "Accept": "*/*", **(headers or {})}
        if method == "POST":
            told["Content-Length"] = "0"
        lines = [
            f"{method} {self._parts.path.rstrip('/')}{path} HTTP/1.1",
            *(f"{k}: {v}" for k, v in told.items()),
        ]
        self.write("\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))
        return await self._answered(f"{method} {path}")

    async def _answered(self, what: str) -> Answer:
        assert self._reader is not None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._answer(self._reader)
        except TimeoutError:
            raise NoWay(f"no answer to {what} within {ANSWER_S:g} s") from None
        except (OSError, EOFError) as problem:
            raise NoWay(f"the connection was closed instead of an answer to {what}") from problem
        except (ValueError, asyncio.LimitOverrunError) as problem:
            raise NoWay(f"what answers {what} is no HTTP") from problem

    def write(self, data: bytes) -> None:
        """Send raw bytes."""
        assert self._writer is not None
        self._writer.write(data)

    async def read(self, within_s: float) -> bytes:
        """The next raw bytes; empty at the end. Raises TimeoutError."""
        assert self._reader is not None
        async with asyncio.timeout(within_s):
            try:
                return await self._reader.read(64 * 1024)
            except OSError:
                return b""

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *rest = head.split("\r\n")
        version, code, *reason = first.split(" ", 2)
        if not version.startswith("HTTP/1."):
            raise ValueError(version)
        headers: dict[str, str] = {}
        for line in filter(None, rest):
            name, _, value = line.partition(":")
            known = headers.get(name.strip().lower())
            headers[name.strip().lower()] = f"{known}, {value.strip()}" if known else value.strip()
        status = int(code)
        body = b"" if status == 101 else await self._body(reader, headers)
        return Answer(status, " ".join(reason), headers, body)

    async def _body(self, reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
        """The beginning of the body, as far as it comes; a chunked one as it is written when it is not ours."""
        length = headers.get("content-length", "")
        with suppress(TimeoutError, asyncio.IncompleteReadError):
            if length.isdecimal():
                return await reader.readexactly(min(int(length), BODY_MAX_BYTES))
            async with asyncio.timeout(1.0):
                raw = await reader.read(BODY_MAX_BYTES)
                return _unchunked(raw) if "chunked" in headers.get("transfer-encoding", "") else raw
        return b""


def why(problem: OSError) -> str:
    """What the system says, without asyncio's words around it."""
    is_of_system = problem.errno is not None and problem.errno > 0
    return os.strerror(problem.errno) if is_of_system and problem.errno else str(problem.strerror or problem)


def said(problem: ssl.SSLError) -> str:
    """What TLS found wrong, without OpenSSL's file and line."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return problem.verify_message or "the certificate cannot be trusted"
    return (problem.reason or "no TLS is spoken there").replace("_", " ").lower()


def _unchunked(raw: bytes) -> bytes:
    found, rest = b"", raw
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            break
        if not length:
            break
        found, rest = found + rest[:length], rest[length + 2 :]
    return found
