"""Says in the log when a subnet route goes through another router than before, and counts it."""

import logging

from headscale.counts import RouteCounts
from headscale.policy.subjects import Network
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer

log = logging.getLogger(__name__)


class RouteLog:
    """Looks at each snapshot as it becomes true."""

    def __init__(self, writer: Writer, counts: RouteCounts) -> None:
        self._writer = writer
        self._counts = counts
        self._seen = writer.snapshot
        writer.on_publish.append(self._look)

    def _look(self) -> None:
        before, self._seen = self._seen, self._writer.snapshot
        after = self._seen
        if before.primaries is after.primaries:
            return
        for route in sorted({*before.primaries, *after.primaries}, key=str):
            was, now = before.primaries.get(route), after.primaries.get(route)
            if was != now:
                self._note(route, _name(before, was), _name(after, now))
                self._counts.failovers += was is not None and now is not None

    def _note(self, route: Network, was: str, now: str) -> None:
        log.info("route goes another way route=%s through=%s before=%s", route, now, was)


def _name(snapshot: Snapshot, node_id: int | None) -> str:
    node = snapshot.nodes.get(node_id) if node_id is not None else None
    return node.given_name if node is not None else "nobody"
