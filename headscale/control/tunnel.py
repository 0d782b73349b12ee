"""Drives one ts2021 connection: bytes to the core, its requests to handler tasks, its bytes to the wire.

Everything that is sent in one turn of the event loop leaves in one write. A handler's task ends with its request:
a client that cancels, or a connection that goes, cancels it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qsl

from headscale.clock import Clock
from headscale.control.exchange import TEXT_TYPE, Exchange, Request
from headscale.keys import MachineKey
from headscale.ts2021 import connection as core
from headscale.ts2021.connection import SEND_BUDGET_BYTES, ServerConnection

Handler = Callable[[Exchange], Awaitable[None]]

# A client that takes nothing for so long is gone; together with the sweep, within a minute.
PAUSED_SECONDS: Final = 50.0
# How long what was written before the end may take to leave.
LINGER_SECONDS: Final = 5.0
# A request of ours has two or three query parameters.
MAX_QUERY_FIELDS: Final = 32

log = logging.getLogger(__name__)


class Wire(Protocol):
    """Where sealed bytes go: a connection taken over, or a WebSocket."""

    @property
    def writable(self) -> bool:
        """Whether little enough waits to be sent."""

    def write(self, data: bytes) -> None:
        """Send after everything before; a no-op when the wire is gone."""

    def close(self) -> None:
        """End after what was written has left."""

    def abort(self) -> None:
        """End now."""


@dataclass(slots=True)
class _Running:
    exchange: Exchange
    task: asyncio.Task[None]


class ControlTunnel:
    """One connection, from the handshake to its end; the Tunnel of its exchanges."""

    __slots__ = (
        "_clock",
        "_closing_since",
        "_connection",
        "_flushing",
        "_handler",
        "_paused_since",
        "_remote",
        "_running",
        "_wire",
    )

    def __init__(self, connection: ServerConnection, handler: Handler, *, clock: Clock, remote: str) -> None:
        self._connection = connection
        self._handler = handler
        self._clock = clock
        self._remote = remote
        self._wire: Wire | None = None
        self._running: dict[int, _Running] = {}
        self._flushing = False
        self._paused_since: float | None = None
        self._closing_since: float | None = None

    @property
    def machine_key(self) -> MachineKey:
        """Whose connection it is."""
        return self._connection.machine_key

    @property
    def paused(self) -> bool:
        """Whether the wire asks us to wait."""
        return self._wire is None or not self._wire.writable

    def attach(self, wire: Wire) -> None:
        """Send on this wire from now on."""
        self._wire = wire

    def first_bytes(self) -> bytes:
        """The handshake's answer and what follows it at once."""
        return self._connection.data_to_send()

    def on_data(self, data: bytes) -> None:
        """Bytes arrived."""
        for event in self._connection.receive(data, self._clock.monotonic()):
            self._apply(event)
        self._flush_soon()

    def on_pause(self) -> None:
        """The wire has enough for now."""
        self._paused_since = self._clock.monotonic()

    def on_resume(self) -> None:
        """The wire takes more again."""
        self._paused_since = None
        self._flush()
        for running in list(self._running.values()):
            _tell_writable(running.exchange)

    def on_lost(self) -> None:
        """The wire is gone; ends every exchange."""
        self._wire = None
        running, self._running = self._running, {}
        for one in running.values():
            one.exchange.lost = True
            one.exchange.closed.set()
            one.task.cancel()

    def sweep(self) -> None:
        """End what takes too long; called every few seconds."""
        now = self._clock.monotonic()
        for event in self._connection.tick(now):
            self._apply(event)
        self._flush()
        stuck = self._paused_since is not None and now - self._paused_since >= PAUSED_SECONDS
        lingering = self._closing_since is not None and now - self._closing_since >= LINGER_SECONDS
        if self._wire is not None and (stuck or lingering):
            self._wire.abort()

    def go_away(self) -> None:
        """End the session with a GOAWAY."""
        self._connection.goaway()
        self._flush()

    def abort(self) -> None:
        """End the connection now."""
        if self._wire is not None:
            self._wire.abort()

    def buffered(self, stream_id: int) -> int:
        """Tunnel: bytes that wait on a stream."""
        return self._connection.buffered(stream_id)

    @property
    def queued_bytes(self) -> int:
        """Tunnel: bytes that wait on all streams together."""
        return self._connection.queued_bytes

    def start(self, stream_id: int, status: int, headers: Mapping[str, str]) -> None:
        """Tunnel: send status and headers."""
        self._connection.start_response(stream_id, status, headers)
        self._flush_soon()

    def send(self, stream_id: int, data: bytes) -> None:
        """Tunnel: queue bytes of a body."""
        self._connection.send(stream_id, data)
        self._flush_soon()

    def end(self, stream_id: int) -> None:
        """Tunnel: end a body."""
        self._connection.end(stream_id)
        self._flush_soon()

    def _apply(self, event: core.Event) -> None:
        match event:
            case core.Request():
                self._start_exchange(event)
            case core.Cancelled(stream_id):
                if (running := self._running.pop(stream_id, None)) is not None:
                    running.exchange.closed.set()
                    running.task.cancel()
            case core.Writable(stream_id):
                if (running := self._running.get(stream_id)) is not None:
                    _tell_writable(running.exchange)
            case core.Closed(reason):
                log.debug("control connection closed", extra={"reason": reason, "remote": self._remote})

    def _start_exchange(self, event: core.Request) -> None:
        path, _, query = event.path.partition("?")
        request = Request(
            machine_key=self._connection.machine_key,
            version=self._connection.version,
            remote=self._remote,
            method=event.method,
            path=path,
            query=_parsed_query(query),
            headers=event.headers,
            body=event.body,
        )
        exchange = Exchange(request, self, event.stream_id)
        task = asyncio.get_running_loop().create_task(self._run(exchange, event.stream_id))
        self._running[event.stream_id] = _Running(exchange, task)

    async def _run(self, exchange: Exchange, stream_id: int) -> None:
        """One request; an exception is a bug and ends this stream alone."""
        try:
            await self._handler(exchange)
            if not exchange.started:
                raise RuntimeError(f"{exchange!r} was not answered")
            exchange.end()
        except Exception:
            log.exception("control request failed", extra={"path": exchange.path})
            await self._fail(exchange, stream_id)
        finally:
            self._running.pop(stream_id, None)

    async def _fail(self, exchange: Exchange, stream_id: int) -> None:
        if not exchange.started:
            await exchange.respond(500, b"internal error\n", content_type=TEXT_TYPE)
        elif not exchange.ended:
            self._connection.abandon(stream_id)
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Flush at the end of this turn, when the handlers that can answer at once have done so."""
        if not self._flushing and self._wire is not None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        wire = self._wire
        if wire is None or self._closing_since is not None:
            return
        while wire.writable and (data := self._connection.data_to_send()):
            wire.write(data)
            if (
                len(data) < SEND_BUDGET_BYTES
            ):  # there was no more: asking again costs as much as a small message
                break
        for event in self._connection.take_drained():
            self._apply(event)
        if self._connection.closed:
            self._closing_since = self._clock.monotonic()
            wire.write(self._connection.data_to_send())
            wire.close()


def _tell_writable(exchange: Exchange) -> None:
    if exchange.on_writable is not None and exchange.writable:
        exchange.on_writable()


def _parsed_query(text: str) -> dict[str, str]:
    """The query's fields, the last of each name; an absurd query has none."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
    except ValueError:
        return {}
