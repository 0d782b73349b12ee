"""When each node's client was last here, from where, and how that ended: in memory, for whoever asks why it is offline.

It begins anew with each start of the server. Of a node the newest stream counts; what a deleted node left goes by and
by, so that this stays as large as the tailnet.
"""

from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from headscale.clock import Clock
from headscale.mapper.stream import Ending
from headscale.state.writer import Writer

# How many of deleted nodes are put up with before they are looked for.
LEFTOVERS_MAX: Final = 1024
EVENTS_KEPT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A node's newest map stream. `version` is the capability version, `remote` where it came from, as text."""

    since: datetime
    remote: str
    version: int
    ended: datetime | None = None
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A stream opened, or ended in this way; newest last."""

    at: datetime
    node_id: int
    ending: Ending | None


class Sessions:
    """The newest visit of every node that was here since the server started."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._visits: dict[int, Visit] = {}
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)

    def began(self, node_id: int, *, remote: str, version: int) -> Visit:
        """A stream of this node opened."""
        visit = Visit(since=self._clock.now(), remote=remote, version=version)
        self._visits[node_id] = visit
        self.events.append(Event(visit.since, node_id, None))
        nodes = self._writer.snapshot.nodes
        if len(self._visits) > len(nodes) + LEFTOVERS_MAX:
            self._visits = {i: visit for i, visit in self._visits.items() if i in nodes}
        return visit

    def ended(self, node_id: int, visit: Visit, ending: Ending) -> None:
        """That stream is over; nothing when a newer one has taken its place."""
        now = self._clock.now()
        self.events.append(Event(now, node_id, ending))
        if self._visits.get(node_id) is visit:
            self._visits[node_id] = replace(visit, ended=now, ending=ending)

    def of(self, node_id: int) -> Visit | None:
        """The node's newest visit; None when it was not here since the server started."""
        return self._visits.get(node_id)
