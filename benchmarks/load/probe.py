"""How long a small page waits while the server works: the lag of its event loop, as anybody feels it from outside."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

EVERY_SECONDS: Final = 0.05
_REQUEST: Final = b"GET /key?v=142 HTTP/1.1\r\nHost: load\r\n\r\n"


@asynccontextmanager
async def lag(host: str, port: int) -> AsyncIterator[list[float]]:
    """The seconds that each probe took, while the context lasts; the first (a new connection) is left out."""
    took: list[float] = []
    task = asyncio.create_task(_probe(host, port, took))
    try:
        yield took
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, OSError, EOFError):
            await task


async def _probe(host: str, port: int, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        await _ask(reader, writer)
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            began = time.monotonic()
            await _ask(reader, writer)
            took.append(time.monotonic() - began)
    finally:
        writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(_REQUEST)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, named, rest = head.partition(b"content-length:")
    if not named:
        raise EOFError("an answer without a length")
    await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
