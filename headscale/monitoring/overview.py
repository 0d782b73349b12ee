"""A server on one screen: what is in the tailnet, what waits, how long things take, what happened last."""

from collections import Counter
from datetime import datetime
from heapq import nlargest
from typing import Final

import msgspec

from headscale import __version__
from headscale.counts import Distribution
from headscale.mapper.sessions import Event
from headscale.monitoring.metrics import state_of
from headscale.monitoring.vitals import Vitals
from headscale.records import Node
from headscale.state.snapshot import LONG_AGO, Snapshot

NODES_SHOWN: Final = 20
NODES_MAX: Final = 1000
EVENTS_SHOWN: Final = 10


class NodeTotals(msgspec.Struct, frozen=True, rename="camel"):
    """How many nodes there are; each is online, offline, expired or waiting."""

    total: int
    online: int
    offline: int
    expired: int
    waiting: int
    ephemeral: int
    tagged: int


class Timing(msgspec.Struct, frozen=True, rename="camel"):
    """How often something was done since the start, and how long it took in seconds; quantiles are upper bounds."""

    count: int
    sum_seconds: float
    p50_seconds: float
    p99_seconds: float


class Queues(msgspec.Struct, frozen=True, rename="camel"):
    """What waits: steps for the writer, streams for the newest state, packets for the relay's clients, and people."""

    writer: int
    streams_behind: int
    relay_packets: int
    logins: int
    questions: int


class NodeSeen(msgspec.Struct, frozen=True, rename="camel"):
    """One node, and when it was seen last."""

    id: str
    name: str
    user: str
    state: str
    last_seen: datetime | None
    version: str
    address: str


class Happened(msgspec.Struct, frozen=True, rename="camel"):
    """A map stream opened, or ended for this reason."""

    at: datetime
    node: str
    what: str


class Overview(msgspec.Struct, frozen=True, rename="camel"):
    """See the module. `epoch` grows with every change; `seen` are the nodes seen last, newest first."""

    version: str
    at: datetime
    started_at: datetime
    nodes: NodeTotals
    users: int
    pre_auth_keys: int
    api_keys: int
    routes_served: int
    derp_regions: int
    policy_problem: str
    epoch: int
    streams: int
    control_sessions: int
    relay_clients: int
    queues: Queues
    commits: Timing
    changes: Timing
    seen: tuple[NodeSeen, ...]
    events: tuple[Happened, ...]


def overview_of(vitals: Vitals, *, nodes: int = NODES_SHOWN) -> Overview:
    """The server now, with so many nodes by name."""
    snapshot, counts = vitals.snapshot, vitals.counts
    return Overview(
        version=__version__,
        at=vitals.clock.now(),
        started_at=snapshot.started_at,
        nodes=_nodes(snapshot),
        users=len(snapshot.users),
        pre_auth_keys=len(snapshot.pre_auth_keys),
        api_keys=len(snapshot.api_keys),
        routes_served=len(snapshot.primaries),
        derp_regions=len(snapshot.derp_map.regions),
        policy_problem=snapshot.policy_problem,
        epoch=snapshot.epoch,
        streams=len(vitals.fanout),
        control_sessions=vitals.control_sessions(),
        relay_clients=vitals.relay.clients if vitals.relay is not None else 0,
        queues=Queues(
            writer=vitals.writer.queue_depth,
            streams_behind=vitals.fanout.behind,
            relay_packets=vitals.relay.waiting if vitals.relay is not None else 0,
            logins=len(vitals.logins),
            questions=len(vitals.questions),
        ),
        commits=_timing(counts.writer.committed),
        changes=_timing(counts.maps.latency),
        seen=tuple(
            _seen(snapshot, node)
            for node in nlargest(
                min(nodes, NODES_MAX),
                snapshot.nodes.values(),
                key=lambda n: (n.online, n.last_seen or LONG_AGO),
            )
        ),
        events=tuple(
            _happened(snapshot, event) for event in [*vitals.sessions.events][: -EVENTS_SHOWN - 1 : -1]
        ),
    )


def _nodes(snapshot: Snapshot) -> NodeTotals:
    nodes = snapshot.nodes.values()
    states = Counter(map(state_of, nodes))
    return NodeTotals(
        total=len(snapshot.nodes),
        online=states["online"],
        offline=states["offline"],
        expired=states["expired"],
        waiting=states["waiting"],
        ephemeral=sum(node.ephemeral for node in nodes),
        tagged=sum(bool(node.tags) for node in nodes),
    )


def _timing(distribution: Distribution) -> Timing:
    return Timing(
        count=distribution.number,
        sum_seconds=distribution.total,
        p50_seconds=min(distribution.quantile(0.5), distribution.bounds[-1]),
        p99_seconds=min(distribution.quantile(0.99), distribution.bounds[-1]),
    )


def _seen(snapshot: Snapshot, node: Node) -> NodeSeen:
    user = snapshot.users.get(node.user_id or 0)
    return NodeSeen(
        id=str(node.id),
        name=node.given_name,
        user=user.login if user is not None else ",".join(node.tags),
        state=state_of(node),
        last_seen=node.last_seen,
        version=node.hostinfo.ipn_version,
        address=str(next(iter(node.addresses), "")),
    )


def _happened(snapshot: Snapshot, event: Event) -> Happened:
    node = snapshot.nodes.get(event.node_id)
    name = node.given_name if node is not None else f"node {event.node_id}"
    return Happened(at=event.at, node=name, what=f"ended: {event.ending}" if event.ending else "connected")
