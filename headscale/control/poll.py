"""POST /machine/map: lite updates, one-shot maps and the long poll.

The node is found by its node key and the machine key that the handshake proved, and by nothing else; any
mismatch is the same 404, and the client tries again on its own.
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import Final

from headscale.control.exchange import TEXT_TYPE, Exchange
from headscale.control.identity import asking_node
from headscale.control.presence import Presence
from headscale.control.register import too_old
from headscale.errors import HeadscaleError, NotFound, TooMany
from headscale.mapper.fanout import Fanout
from headscale.mapper.sessions import Sessions, Visit
from headscale.mapper.stream import Ending, Stream
from headscale.records import Node
from headscale.state.presence import arrive
from headscale.state.report import report
from headscale.state.writer import Writer
from headscale.tailcfg.maps import COMPRESS_ZSTD, MapRequest
from headscale.tailcfg.names import decode_request

log = logging.getLogger(__name__)

STREAM_TYPE = "application/octet-stream"
# So much may wait on a connection before a whole map is put beside it. Clients ask for one map and read it; a hundred
# at once, which nobody reads, would be memory by the megabyte for each connection.
MAX_WAITING_BYTES: Final = 256 * 1024


class PollHandler:
    """Answers map requests; a streaming one lives as long as its client listens."""

    def __init__(self, writer: Writer, fanout: Fanout, presence: Presence, sessions: Sessions) -> None:
        self._writer = writer
        self._fanout = fanout
        self._presence = presence
        self._sessions = sessions
        self._counts = fanout.counts

    async def handle(self, exchange: Exchange) -> None:
        """Answer one map request; raises a HeadscaleError for one that has no map."""
        poll = await self._answer(exchange)
        if poll is None:
            return
        exchange.forget_request()
        try:
            await exchange.closed.wait()  # for days: nothing that only the beginning needs is held here
        finally:
            self._end(poll, exchange)

    async def _answer(self, exchange: Exchange) -> "_Poll | None":
        """Everything but a poll's long life: a stream that is being fed, or None for what is answered."""
        request = decode_request(exchange.body, MapRequest)
        if (complaint := too_old(request.version)) is not None:
            await exchange.respond(400, complaint.encode(), content_type=TEXT_TYPE)
            return None
        node = asking_node(self._writer.snapshot, exchange, request.node_key)
        if request.stream:
            return await self._begin(exchange, request, node)
        if not request.read_only:
            await self._report(node.id, request)
        if request.omit_peers and not request.read_only:
            await exchange.respond(200, content_type=STREAM_TYPE)
        else:
            await self._one_shot(exchange, request, node.id)
        return None

    async def _report(self, node_id: int, request: MapRequest) -> Node:
        try:
            node = await self._writer.apply(partial(report, node_id=node_id, request=request))
        except HeadscaleError:
            self._counts.reports["error"] += 1
            raise
        if node is None:
            self._counts.reports["error"] += 1
            raise NotFound("node not found: it was deleted")
        self._counts.reports["ok"] += 1
        return node

    async def _one_shot(self, exchange: Exchange, request: MapRequest, node_id: int) -> None:
        node = self._writer.snapshot.nodes.get(node_id)
        if node is None:
            raise NotFound("node not found: it was deleted")
        if exchange.buffered_beside > MAX_WAITING_BYTES:
            raise TooMany("read the answers that you have asked for before you ask for another map")
        body = self._fanout.one_shot(
            node, version=request.version, compress=request.compress == COMPRESS_ZSTD
        )
        await exchange.respond(200, body, content_type=STREAM_TYPE)

    async def _begin(self, exchange: Exchange, request: MapRequest, node: Node) -> "_Poll":
        """Report first, so that the full map knows; then arrive and be fed until the client goes."""
        self._presence.opened(node.id)
        stream = Stream(
            node_id=node.id,
            version=request.version,
            compress=request.compress == COMPRESS_ZSTD,
            sink=exchange,
            ended=exchange.closed.set,  # ended by us or gone by itself: one event, and no task to watch two
        )
        visit = self._sessions.began(node.id, remote=exchange.remote, version=request.version)
        poll = _Poll(stream, visit)
        try:
            await asyncio.gather(
                self._report(node.id, request),
                self._writer.apply(partial(arrive, node_id=node.id)),
            )
            log.info("node online node=%d name=%s version=%d", node.id, node.given_name, request.version)
            exchange.start(200, content_type=STREAM_TYPE)
            exchange.on_writable = self._fanout.drained
            self._fanout.open(stream)
        except BaseException:
            stream.ending = stream.ending or (None if exchange.closed.is_set() else Ending.FAILED)
            self._end(poll, exchange)
            raise
        return poll

    def _end(self, poll: "_Poll", exchange: Exchange) -> None:
        stream = poll.stream
        ending = stream.ending or (Ending.LOST if exchange.lost else Ending.CANCELLED)
        self._counts.ended[ending] += 1
        self._fanout.close(stream)
        self._sessions.ended(stream.node_id, poll.visit, ending)
        self._presence.closed(stream.node_id)


@dataclass(frozen=True, slots=True)
class _Poll:
    """A stream that is being fed, and what is remembered of it."""

    stream: Stream
    visit: Visit
