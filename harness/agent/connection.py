"""Our end of the agent's socket: many commands at once over one connection, answers matched by id.

The agent's side and the meaning of each command are in main.go beside this file.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import AgentFailed

MAX_LINE_BYTES = 64 * 1024 * 1024
"""One answer; the longest are the output of a command, which the agent does not cut."""

CONNECT_INTERVAL_SECONDS = 0.02
"""Between two tries while a fresh agent makes its socket."""

Event = dict[str, Any]


class AgentConnection:
    """One connection to one agent. Made by `connect`; `close` ends it and every waiting command."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_event: Callable[[Event], None]
    ) -> None:
        self._writer = writer
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    async def call(self, op: str, **arguments: Any) -> Any:
        """Send one command and return its result. Raises AgentFailed with the agent's words."""
        if self._reading.done():
            raise AgentFailed(f"the agent's connection has ended; cannot {op}")
        ident = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[ident] = answer
        try:
            self._writer.write(json.dumps({"id": ident, "op": op, **arguments}).encode() + b"\n")
            await self._writer.drain()
            return await answer
        except (ConnectionError, RuntimeError) as error:
            raise AgentFailed(f"the agent's connection broke during {op}: {error}") from error
        finally:
            self._waiting.pop(ident, None)

    async def close(self) -> None:
        """End the connection."""
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except OSError:
            pass  # the agent died with bytes in flight: the same as an orderly end to whoever waits
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(AgentFailed("the agent ended before it answered"))

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            self._on_event(message)
            return
        answer = self._waiting.get(message.get("id", 0))
        if answer is None or answer.done():
            return
        if error := message.get("error"):
            answer.set_exception(AgentFailed(error))
        else:
            answer.set_result(message.get("result"))


async def connect(socket: Path, on_event: Callable[[Event], None], *, within: float) -> AgentConnection:
    """Connect to an agent that may still be starting. Raises AgentFailed after `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        try:
            streams = await asyncio.open_unix_connection(str(socket), limit=MAX_LINE_BYTES)
            return AgentConnection(*streams, on_event)
        except OSError as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise AgentFailed(f"no agent at {socket} after {within:.0f} s: {error}") from error
        await asyncio.sleep(CONNECT_INTERVAL_SECONDS)
