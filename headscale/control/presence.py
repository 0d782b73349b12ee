"""Counts the map streams of each node and tells the state when the first came and the last went.

A client that changes networks drops its stream and opens another within moments; the grace keeps its peers
from seeing that. Streams may overlap and end in any order, so they are counted, not remembered.
"""

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import Final

from headscale.errors import Unavailable
from headscale.state.presence import leave, stay_away
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

GRACE_S: Final = 10.0
# After a restart of the server clients come back by and by: the last one's back-off reaches 45 s.
GRACES_AFTER_RESTART: Final = 6
# The database was away; without another try its nodes would seem online for good.
AGAIN_S: Final = 2.0


class Presence:
    """Which nodes have a live stream. `grace_s` is how long a node without one still counts as online."""

    def __init__(self, writer: Writer, *, grace_s: float = GRACE_S) -> None:
        self._writer = writer
        self._grace_s = grace_s
        self._streams: Counter[int] = Counter()
        self._leaving: dict[int, asyncio.Task[None]] = {}
        self._expected: set[int] = set()
        self._waiting: asyncio.Task[None] | None = None
        self._closing = False

    def expect(self) -> None:
        """At a start: who was online when the server ended has a while to come back."""
        nodes = self._writer.snapshot.nodes.values()
        self._expected = {node.id for node in nodes if node.online and not node.is_wireguard_only}
        if self._expected:
            self._waiting = asyncio.create_task(self._after_restart())

    def opened(self, node_id: int) -> None:
        """A stream of this node began; the caller has told the state that it is here."""
        self._streams[node_id] += 1
        self._expected.discard(node_id)
        if (leaving := self._leaving.pop(node_id, None)) is not None:
            leaving.cancel()

    def closed(self, node_id: int) -> None:
        """A stream of this node ended."""
        self._streams[node_id] -= 1
        if self._streams[node_id] > 0:
            return
        del self._streams[node_id]
        if not self._closing:
            self._leaving[node_id] = asyncio.create_task(self._leave_after_grace(node_id))

    async def close(self) -> None:
        """Nobody leaves any more: the server is going down, and who is online then is the next process's to say."""
        self._closing = True
        tasks = [*self._leaving.values(), *([self._waiting] if self._waiting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _after_restart(self) -> None:
        await asyncio.sleep(self._grace_s * GRACES_AFTER_RESTART)
        while True:
            missing = frozenset(self._expected)
            try:
                gone = await self._writer.apply(partial(stay_away, node_ids=missing))
                break
            except Unavailable as problem:
                log.warning(
                    "%d nodes did not come back, but that cannot be recorded yet: %s", len(missing), problem
                )
                await asyncio.sleep(AGAIN_S)
        self._expected -= missing
        for node in gone:
            log.info("node did not come back node=%d name=%s", node.id, node.given_name)

    async def _leave_after_grace(self, node_id: int) -> None:
        wait_s = self._grace_s
        while True:
            await asyncio.sleep(wait_s)
            # From here on a stream that opens is ordered behind this by the writer: it arrives after we left.
            task = self._leaving.pop(node_id)
            try:
                node = await self._writer.apply(partial(leave, node_id=node_id))
                break
            except Unavailable as problem:
                log.warning("node %d went offline, but that cannot be recorded yet: %s", node_id, problem)
            if self._closing or node_id in self._streams or node_id in self._leaving:
                return  # it came back meanwhile, and may have left again since
            self._leaving[node_id] = task
            wait_s = AGAIN_S
        if node is not None:
            log.info("node offline node=%d name=%s", node.id, node.given_name)
