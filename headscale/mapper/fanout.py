"""The task that feeds open map streams.

A stream remembers only the snapshot that it was sent. When the writer publishes, every stream that is behind
gets one message that brings it to the newest snapshot, however many changes lie between. The first change
after a quiet time goes out at once; under load the pause before the next round grows with what a round
costs, to a bound. A stream that cannot be written is passed over and catches up when it drains; one that
stays stuck is cut and starts again from a full map.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Collection
from typing import Final

from headscale.clock import Clock
from headscale.counts import MapCounts
from headscale.mapper.blocks import PeerBlocks
from headscale.mapper.render import PeerBytes
from headscale.mapper.round import Round, framed
from headscale.mapper.stream import Ending, Stream
from headscale.records import Node
from headscale.state.writer import Writer
from headscale.tailcfg.asks import PingRequest
from headscale.tailcfg.maps import MapResponse

# The client gives up after 120 s of silence; the spread keeps a fleet from answering in step.
KEEP_ALIVE_S: Final = (50.0, 59.0)
KEEP_ALIVE_CHECK_S: Final = 1.0
STUCK_S: Final = 60.0
# Between two rounds: at least this, at most that, else as long as the last round took.
PAUSE_MIN_S: Final = 0.005
PAUSE_MAX_S: Final = 0.5
# How long one turn may hold the event loop.
SLICE_S: Final = 0.02


class Fanout:
    """All open streams of a tailnet, at most one a node."""

    def __init__(self, writer: Writer, clock: Clock, counts: MapCounts | None = None) -> None:
        self._writer = writer
        self._clock = clock
        self.counts = counts or MapCounts()
        self._streams: dict[int, Stream] = {}
        self._wake = asyncio.Event()
        self._settings = writer.snapshot.settings
        self._peer_bytes = PeerBytes(self._settings)
        self._told: Counter[int] = Counter()
        self._peer_blocks = PeerBlocks()
        writer.on_publish.append(self._wake.set)

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, stream: Stream) -> None:
        """Start feeding a stream; an older one of the same node ends, its client is gone or about to be."""
        older = self._streams.pop(stream.node_id, None)
        if older is not None:
            self._end(older, Ending.REPLACED)
        self._streams[stream.node_id] = stream
        self.counts.opened += 1
        self._wake.set()

    def close(self, stream: Stream) -> None:
        """Forget a stream whose client went away."""
        if self._streams.get(stream.node_id) is stream:
            del self._streams[stream.node_id]

    def ping(self, node_id: int, ping: PingRequest) -> bool:
        """Put a question to a node's client; False when it has no stream that takes one now."""
        stream = self._streams.get(node_id)
        if stream is None or stream.sent is None or not stream.sink.writable:
            return False
        message = MapResponse(control_time=self._clock.now(), ping_request=ping)
        self.counts.generated["ping"] += 1
        self._send(stream, framed(message, compress=stream.compress), "ping")
        return True

    def drained(self) -> None:
        """A stream can be written again."""
        self._wake.set()

    def one_shot(self, node: Node, *, version: int, compress: bool) -> bytes:
        """A single full map, framed."""
        self.counts.generated["full"] += 1
        return framed(self.full_map(node, version=version), compress=compress)

    def full_map(self, node: Node, *, version: int) -> MapResponse:
        """Everything that the node's client would be sent now to start from nothing."""
        return self._new_round().full_map(node, version=version)

    def has(self, node_id: int) -> bool:
        """Whether the node has a stream open."""
        return node_id in self._streams

    def stream_of(self, node_id: int) -> Stream | None:
        """The node's open stream: another object for each that it opens."""
        return self._streams.get(node_id)

    @property
    def streams(self) -> Collection[Stream]:
        """The open ones, to look at."""
        return self._streams.values()

    @property
    def behind(self) -> int:
        """How many streams have not been sent the newest snapshot yet. May be asked in any thread."""
        newest = self._writer.snapshot
        return sum(stream.sent is not newest for stream in list(self._streams.values()))

    def end_all(self) -> None:
        """End every stream in good order: the server is going down."""
        for stream in list(self._streams.values()):
            self._end(stream, Ending.SHUTDOWN)
        self._streams.clear()

    async def run(self) -> None:
        """Feed streams for ever. One task runs this for the life of the server."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_alive())
            while True:
                await self._wake.wait()
                self._wake.clear()
                began = self._clock.monotonic()
                await self._round()
                took = self._clock.monotonic() - began
                self.counts.rounds.add(took)
                await asyncio.sleep(min(max(took, PAUSE_MIN_S), PAUSE_MAX_S))

    async def _round(self) -> None:
        """Bring every stream that can be written to the newest snapshot."""
        now_due = self._new_round()
        turn_began = self._clock.monotonic()
        for stream in list(self._streams.values()):
            if stream.sent is now_due.snapshot or self._streams.get(stream.node_id) is not stream:
                continue
            if stream.sink.writable:
                self._feed(stream, now_due)
            elif stream.stuck_since is None:
                stream.stuck_since = self._clock.monotonic()
            now = self._clock.monotonic()
            if now - turn_began > SLICE_S:
                self._count_told(now)
                await asyncio.sleep(0)
                turn_began = self._clock.monotonic()
                if self._writer.snapshot.policy_epoch != now_due.snapshot.policy_epoch:
                    # Whoever set a policy has been answered: nothing that an older one allowed goes out any more.
                    now_due = self._new_round()
        self._count_told(self._clock.monotonic())

    def _new_round(self) -> Round:
        if self._writer.snapshot.settings is not self._settings:  # peers' names have the domain in them
            self._settings = self._writer.snapshot.settings
            self._peer_bytes = PeerBytes(self._settings)
            self._peer_blocks = PeerBlocks()
        return Round(
            self._writer.snapshot,
            self._clock.now(),
            peer_bytes=self._peer_bytes,
            peer_blocks=self._peer_blocks,
            touched_since=self._writer.touched_since,
            counts=self.counts,
        )

    def _feed(self, stream: Stream, now_due: Round) -> None:
        stream.stuck_since = None
        node = now_due.snapshot.nodes.get(stream.node_id)
        if node is None:  # deleted: its client is to ask again and hear that it is unknown
            self.close(stream)
            self._end(stream, Ending.DELETED)
            return
        frame, before = now_due.frame_for(stream, node), stream.sent
        stream.sent = now_due.snapshot
        if frame.data is not None:
            self._send(stream, frame.data, frame.type)
            if before is not None:
                self._told[before.epoch] += 1

    def _count_told(self, now: float) -> None:
        """How long it took to tell the streams of this turn: one reckoning for all that were at the same epoch."""
        for epoch, streams in self._told.items():
            if (since := self._writer.published_at(epoch + 1)) is not None:
                self.counts.latency.add(now - since, streams)
        self._told.clear()

    def _send(self, stream: Stream, data: bytes, kind: str) -> None:
        stream.sink.send(data)
        self.counts.sent[kind] += 1
        self.counts.sent_bytes += len(data)
        stream.keep_alive_at = self._clock.monotonic() + random.uniform(*KEEP_ALIVE_S)  # noqa: S311

    def _end(self, stream: Stream, ending: Ending) -> None:
        stream.ending = ending
        stream.sink.end()
        stream.ended()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_CHECK_S)
            now = self._clock.monotonic()
            for stream in list(self._streams.values()):
                due = stream.sent is not None and now >= stream.keep_alive_at
                if not stream.sink.writable and (due or stream.stuck_since is not None):
                    self._note_stuck(stream, now)
                elif due:
                    stream.stuck_since = None
                    self._send(stream, self._keep_alive_frame(stream), "keepalive")

    def _note_stuck(self, stream: Stream, now: float) -> None:
        """A stream that has had something to hear, a keep-alive too, and could not be written for long is cut."""
        if stream.stuck_since is None:
            stream.stuck_since = now
        elif now - stream.stuck_since > STUCK_S:
            self.close(stream)
            self._end(stream, Ending.STUCK)

    def _keep_alive_frame(self, stream: Stream) -> bytes:
        return framed(MapResponse(control_time=self._clock.now(), keep_alive=True), compress=stream.compress)
