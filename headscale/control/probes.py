"""Asks routers that stand in for each other whether they still answer: a hung one keeps its stream, and serves nobody.

The question goes out in the map stream and the client answers it over its own connection, so that an answer shows that
the client runs and that the way to it is open both ways. Only where another router could take over is anybody asked.
"""

import asyncio
import logging
from typing import Final

from headscale.clock import Clock
from headscale.errors import Unavailable
from headscale.mapper.fanout import Fanout
from headscale.mapper.questions import NoAnswer, Questions
from headscale.mapper.stream import Stream
from headscale.records import Node
from headscale.state.presence import asked
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

ECHO: Final = "/echo"
# Others have questions, too, and there is room for a bounded number.
AT_ONCE: Final = 64
# While probes are switched off: how soon it is seen that they are on again.
OFF_S: Final = 5.0


class Prober:
    """Asks every interval. `node.routes.ha` of the configuration says how often, and how long an answer may take."""

    def __init__(self, writer: Writer, fanout: Fanout, questions: Questions, clock: Clock) -> None:
        self._writer = writer
        self._fanout = fanout
        self._questions = questions
        self._clock = clock
        self._room = asyncio.Semaphore(AT_ONCE)
        self._streams: dict[int, Stream] = {}
        # Some clients (tailscale-rs) do not answer questions. Those written in Go do, from their first moment on; of
        # the others only silence after an answer means something.
        self._answering: set[int] = set()

    async def run(self) -> None:
        """Ask for ever. One task runs this for the life of the server."""
        while True:
            interval_s = self._writer.snapshot.settings.probe_interval.total_seconds()
            began = self._clock.monotonic()
            if interval_s:
                await self.ask_all()
            elif self._writer.snapshot.silent:
                await self._tell(frozenset(), frozenset())
            await asyncio.sleep(max(0.0, began + (interval_s or OFF_S) - self._clock.monotonic()))

    async def ask_all(self) -> None:
        """Ask each router that has a stand-in once, and tell the state who answered."""
        snapshot = self._writer.snapshot
        streams = {
            node_id: stream
            for node_id in replaceable(snapshot)
            if (stream := self._fanout.stream_of(node_id)) is not None
        }
        known, self._streams = self._streams, streams
        self._answering = {node_id for node_id in self._answering if node_id in snapshot.nodes}
        answers = await asyncio.gather(*(self._ask(snapshot.nodes[node_id]) for node_id in streams))
        answered = frozenset(node_id for node_id, said in zip(streams, answers, strict=True) if said)
        self._answering |= answered
        missed = frozenset(
            node_id
            for node_id, said in zip(streams, answers, strict=True)
            # A stream that is new, or came meanwhile, says more than an answer that is missing.
            if said is False
            and (node_id in self._answering or snapshot.nodes[node_id].hostinfo.go_version)
            and known.get(node_id) is streams[node_id] is self._fanout.stream_of(node_id)
        )
        await self._tell(answered, missed)

    async def _ask(self, node: Node) -> bool | None:
        """Whether the node's client answered; None when it could not be asked."""
        within_s = self._writer.snapshot.settings.probe_timeout.total_seconds()
        async with self._room:
            try:
                await self._questions.ask(node, path=ECHO, within_s=within_s)
            except NoAnswer:
                return False
            except Unavailable:
                return None
            return True

    async def _tell(self, answered: frozenset[int], missed: frozenset[int]) -> None:
        before = self._writer.snapshot.silent
        # Who is no longer asked is no longer held to be silent.
        done = answered | (before - self._streams.keys())
        if not (missed - before or done & before):
            return
        try:
            silent = await self._writer.apply(lambda s, m: asked(s, m, answered=done, missed=missed))
        except Unavailable as problem:
            log.warning("who answered was not recorded: %s", problem)
            return
        nodes = self._writer.snapshot.nodes
        for node_id in sorted(silent ^ before):
            name = nodes[node_id].given_name if node_id in nodes else ""
            if node_id in silent:
                log.warning("router does not answer, others take over node=%d name=%s", node_id, name)
            else:
                log.info("router answers again, or is not asked any more node=%d name=%s", node_id, name)


def replaceable(snapshot: Snapshot) -> list[int]:
    """The routers that are online and share a subnet route with another that is."""
    shared: set[int] = set()
    for routers in snapshot.routers.values():
        online = [node_id for node_id in routers if snapshot.nodes[node_id].online]
        if len(online) > 1:
            shared.update(online)
    return sorted(shared)
