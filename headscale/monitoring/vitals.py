"""The parts of a running server that can be looked at; whoever shows something of them gets this."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from headscale.clock import Clock
from headscale.config.settings import Config
from headscale.counts import Counts
from headscale.errors import Malformed, NotFound
from headscale.login.pending import PendingLogins
from headscale.mapper.fanout import Fanout
from headscale.mapper.questions import Questions
from headscale.mapper.sessions import Sessions
from headscale.monitoring.health import Health
from headscale.monitoring.lag import LoopLag
from headscale.records import Node
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer


class RelayFigures(Protocol):
    """What the embedded relay says of itself; `waiting` counts packets."""

    @property
    def connections(self) -> int:
        """How many clients are connected."""

    @property
    def clients(self) -> int:
        """How many of them are served."""

    @property
    def waiting(self) -> int:
        """How many packets wait to be sent to clients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """See the module. `relay` is None without an embedded relay; `control_sessions` says how many are open."""

    config: Config
    clock: Clock
    counts: Counts
    writer: Writer
    fanout: Fanout
    sessions: Sessions
    logins: PendingLogins
    questions: Questions
    health: Health
    lag: LoopLag
    control_sessions: Callable[[], int]
    relay: RelayFigures | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The tailnet as it is now."""
        return self.writer.snapshot

    async def database_answers(self) -> bool:
        """Whether the database answers, soon."""
        return "database" not in (await self.health.state()).trouble


def node_called(snapshot: Snapshot, text: str) -> Node:
    """The node with this id, address, given name or hostname, in this order; of several the oldest. Raises NotFound."""
    text = text.strip()
    if not text:
        raise Malformed("say which node: its id, an address of it, or a name")
    nodes = snapshot.nodes
    if text.isascii() and text.isdecimal() and (node := nodes.get(int(text[:19]))) is not None:
        return node
    try:
        found = snapshot.node_by_address.get(ip_address(text))
    except ValueError:
        found = snapshot.node_by_name.get(text.lower())
    if found is None:
        found = min((node.id for node in nodes.values() if node.hostname == text), default=None)
    if found is None:
        raise NotFound(f"no node has the id, address or name {text[:80]!r}")
    return nodes[found]
