"""One request inside a ts2021 session and its answer, as handlers see it.

A handler gets an Exchange, reads its attributes, and either answers once with `respond` or opens a stream
with `start`, `send` and `end`. Sending never blocks: a stream asks `writable` before it sends more, and is
told by `on_writable` when it may again. When the client cancels or the connection goes, `closed` is set
(and `lost`, for the connection) and the handler's task is cancelled; sending afterwards is ignored.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Protocol

from headscale.keys import MachineKey
from headscale.ts2021.http2 import LOW_WATER_BYTES

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = "text/plain; charset=utf-8"


_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Tunnel(Protocol):
    """What an exchange needs from the connection that carries it."""

    @property
    def paused(self) -> bool:
        """Whether the transport asks us to wait."""

    def buffered(self, stream_id: int) -> int:
        """Bytes queued and not yet handed to the transport; 0 for a stream that is gone."""

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait on all streams of the connection together."""

    def start(self, stream_id: int, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers."""

    def send(self, stream_id: int, data: bytes) -> None:
        """Queue bytes of the body."""

    def end(self, stream_id: int) -> None:
        """End the body."""


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request. Header names are lower case; `path` is as sent, without the query.

    `remote` is the client's IP address as text; `version` the capability version of the handshake.
    """

    machine_key: MachineKey
    version: int
    remote: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Exchange:
    """A request and the one chance to answer it."""

    __slots__ = (
        *("_ended", "_started", "_stream_id", "_tunnel"),
        *("closed", "lost", "on_writable", "request", "status"),
    )

    def __init__(self, request: Request, tunnel: Tunnel, stream_id: int) -> None:
        self.request = request
        self.closed = asyncio.Event()
        self.lost = False
        self.status: int | None = None
        self.on_writable: Callable[[], None] | None = None
        self._tunnel = tunnel
        self._stream_id = stream_id
        self._started = False
        self._ended = False

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.path}>"

    @property
    def machine_key(self) -> MachineKey:
        return self.request.machine_key

    @property
    def version(self) -> int:
        """The capability version of the handshake; a request body may name another."""
        return self.request.version

    @property
    def remote(self) -> str:
        return self.request.remote

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    @property
    def body(self) -> bytes:
        return self.request.body

    @property
    def started(self) -> bool:
        """Whether status and headers are on their way."""
        return self._started

    @property
    def ended(self) -> bool:
        """Whether the answer is complete."""
        return self._ended

    @property
    def buffered(self) -> int:
        """Bytes of the answer that wait for the client's windows or the transport."""
        return self._tunnel.buffered(self._stream_id)

    @property
    def buffered_beside(self) -> int:
        """Bytes of all answers on the same connection that wait likewise."""
        return self._tunnel.queued_bytes

    @property
    def writable(self) -> bool:
        """Whether what is sent now goes out soon: little is queued and the transport takes more."""
        return not self._tunnel.paused and not self.closed.is_set() and self.buffered <= LOW_WATER_BYTES

    def forget_request(self) -> None:
        """Let go of body and headers, which an answer that goes on for days has no use for."""
        self.request = replace(self.request, headers=_NO_HEADERS, query=_NO_HEADERS, body=b"")

    async def respond(
        self,
        status: int,
        body: bytes = b"",
        *,
        content_type: str = JSON_TYPE,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        """Answer at once and completely; returns when the answer is queued."""
        self.start(status, content_type=content_type, headers=headers)
        self.send(body)
        self.end()

    def start(
        self, status: int, *, content_type: str = JSON_TYPE, headers: Mapping[str, str] = _NO_HEADERS
    ) -> None:
        """Send status and headers of a streamed answer."""
        if self._started:
            raise RuntimeError(f"{self!r} is answered already")
        self._started, self.status = True, status
        if not self.closed.is_set():
            self._tunnel.start(self._stream_id, status, {"content-type": content_type, **headers})

    def send(self, data: bytes) -> None:
        """Queue bytes of a started answer; never blocks. Ignored once the client has gone."""
        if not self._started or self._ended:
            raise RuntimeError(f"{self!r} is not open for sending")
        if data and not self.closed.is_set():
            self._tunnel.send(self._stream_id, data)

    def end(self) -> None:
        """End a started answer; what is queued still goes out."""
        if self._ended:
            return
        self._ended = True
        if not self.closed.is_set():
            self._tunnel.end(self._stream_id)
