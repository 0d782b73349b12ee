"""HTTP as a program beside a client speaks it: through the client's tunnel, to a peer's address or name.

The connection is opened by the client itself (LocalAPI `dial`, what `tailscale nc` uses), so that it works with and
without a kernel interface, and names are resolved as the client resolves them. Source: tailscale 1.80.3 and 1.102.4,
ipn/localapi, serveDial.
"""

import asyncio
import contextlib
import http.client
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from harness.backends.machine import TAILSCALED_SOCKET
from harness.clients.base import Client
from harness.clients.localapi import HOST
from harness.errors import NotAnswering
from harness.wait import Budget

PORTS = {"http": 80, "https": 443}

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Page:
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


async def fetch_page(
    client: Client,
    url: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] = NO_HEADERS,
    root: bytes | None = None,
) -> Page:
    """Ask once from beside this client; an https certificate must lead to `root` (PEM).

    Raises NotAnswering when nobody answers, with the reason, and ssl.SSLError for another certificate.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    fields = {"Host": parts.netloc, "Connection": "close", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {parts.path or '/'} HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items())]
    async with asyncio.timeout(Budget.COMMAND.seconds), _dialled(client, host, port) as (reader, writer):
        if parts.scheme == "https":
            trust = ssl.create_default_context(cadata=root.decode() if root else None)
            await writer.start_tls(trust, server_hostname=host)
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return _parsed(await reader.read())


@asynccontextmanager
async def _dialled(
    client: Client, host: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    socket = client.machine.data / TAILSCALED_SOCKET
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        lines = (
            "POST /localapi/v0/dial HTTP/1.1",
            f"Host: {HOST.removeprefix('http://')}",
            "Connection: upgrade",
            "Upgrade: ts-dial",
            f"Dial-Host: {host}",
            f"Dial-Port: {port}",
            "Content-Length: 0",
        )
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            said = await reader.read(400)
            raise NotAnswering(f"{client.name} cannot dial {host}:{port}: {said.decode('utf-8', 'replace')}")
        yield reader, writer
    except (ConnectionError, asyncio.IncompleteReadError) as problem:
        raise NotAnswering(f"{client.name}, connected to {host}:{port}: {problem!r}") from problem
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


def _parsed(answer: bytes) -> Page:
    """A whole answer. Raises NotAnswering for none."""
    response = http.client.HTTPResponse(_Answered(answer))  # type: ignore[arg-type]  # it only asks for a file
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, OSError) as problem:
        raise NotAnswering(f"no HTTP answer: {problem!r}") from problem
    return Page(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


class _Answered:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, mode: str) -> io.BytesIO:
        """What http.client reads a socket by."""
        return io.BytesIO(self._answer)


async def start_mirror(client: Client) -> int:
    """A web server at loopback of the client's machine that answers each request with its own head; its port.

    It ends with the machine.
    """
    return int((await client.machine.agent("mirror"))["port"])
