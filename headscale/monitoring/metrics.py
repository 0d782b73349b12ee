"""Everything that `/metrics` says of a server but for its nodes one by one (`series`), and how both become a text.

Figures of the tailnet are worked out from the snapshot when somebody asks; what the server does is counted as it does
it (`headscale.counts`). Names are the peer's where it has the same figure, tailscale-exporter's for what it reads by
the API, and `docs/monitoring.md` has them all.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headscale import __version__
from headscale.counts import Counts, Distribution, RelayCounts
from headscale.monitoring.health import CHECKS, State
from headscale.monitoring.series import NodeSeries
from headscale.monitoring.vitals import Vitals
from headscale.records import Node
from headscale.state.apikeys import masked_api_key
from headscale.state.snapshot import Snapshot

_COLLECTORS: Final = ("nodes", "users", "preauthkeys", "apikeys", "health")


class Metrics:
    """The metrics of one server, in a registry of its own. `render` is not for several threads at a time."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self._series = NodeSeries()
        self._figures = _Figures(vitals)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._figures)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, state: State) -> bytes:
        """All of it in Prometheus' text format."""
        self._figures.state = state
        text = generate_latest(self._registry)
        if not self._vitals.config.metrics_per_node:
            return text
        return text + self._series.render(self._vitals.snapshot).encode()


class _Figures(Collector):
    """prometheus_client's collector: asked for all families at each scrape."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self.state = State({}, None)

    def collect(self) -> Iterator[Metric]:
        """All families, worked out now."""
        vitals, snapshot = self._vitals, self._vitals.snapshot
        yield _gauge("headscale_up", "Whether the server runs; always 1", 1)
        yield _labelled("headscale_build_info", "The version; always 1", {(("version", __version__),): 1})
        yield _labelled(
            "headscale_scrape_collector_success",
            "Whether a part could be read; always 1, as all of them are in memory",
            {(("collector", name),): 1 for name in _COLLECTORS},
        )
        yield _gauge(
            "headscale_health_database_connectivity",
            "Whether the database answers",
            "database" not in self.state.trouble,
        )
        yield _labelled(
            "headscale_health",
            "Whether all is well, by check, as /health has it: database, writes, disk, lag, policy",
            {(("check", check),): check not in self.state.trouble for check in CHECKS},
        )
        if self.state.free_bytes is not None:
            yield _gauge(
                "headscale_data_free_bytes", "Room on the disk with the data directory", self.state.free_bytes
            )
        yield _histogram(
            "headscale_event_loop_lag_seconds",
            "How late the event loop was, at each of ten looks a second",
            vitals.counts.loop.lag,
        )
        yield _gauge(
            "headscale_event_loop_lag_worst_seconds", "The most of it in the last minute", vitals.lag.worst_s
        )
        yield from _of_tailnet(snapshot)
        yield from _of_credentials(snapshot)
        yield from _of_writer(vitals.counts, snapshot, vitals.writer.queue_depth)
        yield from _of_maps(vitals)
        yield from _of_http(vitals.counts)
        yield _counter(
            "headscale_route_failovers",
            "How often a subnet route went from one router to another",
            vitals.counts.routes.failovers,
        )
        if vitals.relay is not None:
            yield from _of_relay(vitals.counts.relay)
            yield _gauge("headscale_derp_connections", "Connections to the relay", vitals.relay.connections)
            yield _gauge("headscale_derp_clients", "Connections that the relay serves", vitals.relay.clients)
            yield _gauge(
                "headscale_derp_waiting_packets", "Packets that wait in outboxes", vitals.relay.waiting
            )


def _of_tailnet(snapshot: Snapshot) -> Iterator[Metric]:
    nodes = snapshot.nodes.values()
    states = Counter(map(state_of, nodes))
    yield _labelled(
        "headscale_nodes_state",
        "Nodes by state: online, offline, expired, or waiting for approval",
        {(("state", state),): states[state] for state in STATES},
    )
    versions = Counter((node.hostinfo.os or "unknown", _release(node)) for node in nodes)
    yield _labelled(
        "headscale_nodes_clients",
        "Nodes by operating system and release of the client",
        {(("os", os), ("version", version)): count for (os, version), count in versions.items()},
    )
    yield _gauge("headscale_nodes_ephemeral", "Ephemeral nodes", sum(node.ephemeral for node in nodes))
    yield _gauge("headscale_users", "Users", len(snapshot.users))
    yield _gauge("headscale_routes_served", "Subnet routes that some node serves", len(snapshot.primaries))
    yield _gauge(
        "headscale_routers_silent", "Routers that did not answer when last asked", len(snapshot.silent)
    )
    yield _gauge(
        "headscale_derp_regions", "Relay regions that clients are told of", len(snapshot.derp_map.regions)
    )
    yield _gauge(
        "headscale_policy_problem",
        "1 while the policy in force is not the one that was set last",
        bool(snapshot.policy_problem),
    )
    yield _gauge("headscale_policy_epoch", "Grows when the policy says something else", snapshot.policy_epoch)
    yield _gauge("headscale_snapshot_epoch", "Grows with every published change", snapshot.epoch)


STATES: Final = ("online", "offline", "expired", "waiting")


def state_of(node: Node) -> str:
    """The one of STATES that says most."""
    if not node.authorized:
        return "waiting"
    if node.expired:
        return "expired"
    return "online" if node.online else "offline"


def _release(node: Node) -> str:
    return (node.hostinfo.ipn_version or "unknown").partition("-")[0]


def _of_credentials(snapshot: Snapshot) -> Iterator[Metric]:
    users = GaugeMetricFamily(
        "headscale_users_info",
        "A user; always 1",
        labels=("id", "name", "display_name", "email", "provider", "provider_id"),
    )
    made = GaugeMetricFamily(
        "headscale_users_created_timestamp", "When the user was made, in Unix seconds", labels=("id", "name")
    )
    for user in snapshot.users.values():
        name = user.name or user.login
        identifier = user.provider_identifier or ""
        users.add_metric((str(user.id), name, user.display_name, user.email, user.provider, identifier), 1)
        made.add_metric((str(user.id), name), user.created_at.timestamp())
    yield users
    yield made
    info = GaugeMetricFamily(
        "headscale_preauthkeys_info",
        "A pre-auth key; always 1",
        labels=("id", "user", "reusable", "ephemeral", "used", "acl_tags"),
    )
    born, ends = _times("headscale_preauthkeys", ("id", "user"))
    for key in snapshot.pre_auth_keys.values():
        owner = snapshot.users.get(key.user_id or 0)
        names = (str(key.id), (owner.name or owner.login) if owner else "")
        flags = (str(flag).lower() for flag in (key.reusable, key.ephemeral, key.used))
        info.add_metric((*names, *flags, ",".join(key.tags)), 1)
        born.add_metric(names, key.created_at.timestamp())
        if key.expiration is not None:
            ends.add_metric(names, key.expiration.timestamp())
    yield from (info, born, ends)
    yield from _of_api_keys(snapshot)


def _of_api_keys(snapshot: Snapshot) -> Iterator[Metric]:
    labels = ("id", "prefix")
    info = GaugeMetricFamily("headscale_apikeys_info", "An API key; always 1", labels=labels)
    born, ends = _times("headscale_apikeys", labels)
    seen = GaugeMetricFamily(
        "headscale_apikeys_last_seen_timestamp", "When it was used last, in Unix seconds", labels=labels
    )
    for key in snapshot.api_keys.values():
        names = (str(key.id), masked_api_key(key))
        info.add_metric(names, 1)
        born.add_metric(names, key.created_at.timestamp())
        for family, moment in ((ends, key.expiration), (seen, key.last_seen)):
            if moment is not None:
                family.add_metric(names, moment.timestamp())
    yield from (info, born, ends, seen)


def _times(name: str, labels: tuple[str, ...]) -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(f"{name}_created_timestamp", "When it was made, in Unix seconds", labels=labels),
        GaugeMetricFamily(
            f"{name}_expiration_timestamp", "When it ends, in Unix seconds; absent for never", labels=labels
        ),
    )


def _of_writer(counts: Counts, snapshot: Snapshot, queue_depth: int) -> Iterator[Metric]:
    of = counts.writer
    yield _counted(
        "headscale_nodestore_operations", "Steps that changed the state", "operation", of.operations
    )
    yield _counted("headscale_nodestore_refusals", "Steps that were refused", "operation", of.failures)
    yield _timed(
        "headscale_nodestore_operation_duration_seconds",
        "From a step being asked for to its answer",
        "operation",
        of.seconds,
    )
    for name, told, distribution in (
        ("batch_size", "Steps that shared a commit", of.sizes),
        ("batch_duration_seconds", "Working out a batch and making it durable", of.batches),
        ("snapshot_build_duration_seconds", "Working out a batch", of.decided),
    ):
        yield _histogram(f"headscale_nodestore_{name}", told, distribution)
    yield _histogram("headscale_database_commit_duration_seconds", "Making a batch durable", of.committed)
    yield _counter("headscale_database_commit_failures", "Commits that failed", of.failed_commits)
    yield _gauge("headscale_nodestore_queue_depth", "Steps that wait", queue_depth)
    yield _gauge("headscale_nodestore_nodes", "Nodes", len(snapshot.nodes))


def _of_maps(vitals: Vitals) -> Iterator[Metric]:
    of = vitals.counts.maps
    sent = CounterMetricFamily(
        "headscale_mapresponse_sent", "Map responses handed to streams", labels=("status", "type")
    )
    for kind, count in sorted(of.sent.items()):
        sent.add_metric(("ok", kind), count)
    yield sent
    yield _counter("headscale_mapresponse_sent_bytes", "Their bytes, as they travel", of.sent_bytes)
    yield _counted(
        "headscale_mapresponse_generated",
        "Map responses worked out; many streams may share one",
        "response_type",
        of.generated,
    )
    yield _counted("headscale_mapresponse_ended", "Map streams that ended", "reason", of.ended)
    yield _counted(
        "headscale_mapresponse_endpoint_updates", "Reports of nodes about themselves", "status", of.reports
    )
    yield _counter("headscale_mapresponse_streams_opened", "Map streams that were opened", of.opened)
    yield _histogram(
        "headscale_change_latency_seconds",
        "From a change being published to its map response being handed to a stream",
        of.latency,
    )
    yield _histogram("headscale_fanout_round_duration_seconds", "One round through all streams", of.rounds)
    yield _gauge("headscale_mapresponse_streams", "Open map streams", len(vitals.fanout))
    yield _gauge("headscale_fanout_queue_depth", "Streams that lack the newest state", vitals.fanout.behind)
    yield _gauge("headscale_control_sessions", "Open control connections", vitals.control_sessions())
    yield _gauge("headscale_logins_waiting", "Logins that wait for somebody to vouch", len(vitals.logins))
    yield _gauge(
        "headscale_questions_waiting", "Questions to clients without an answer yet", len(vitals.questions)
    )


def _of_http(counts: Counts) -> Iterator[Metric]:
    of = counts.http
    requests = CounterMetricFamily(
        "http_requests",
        "Requests on the main listener that are over",
        labels=("status", "endpoint", "proto", "client_aborted"),
    )
    for labels, count in sorted(of.requests.items()):
        requests.add_metric(labels, count)
    yield requests
    yield _gauge("http_requests_inflight", "Requests that wait for their answer", of.in_flight)
    yield _timed(
        "http_request_duration_seconds", "Time to the answer, without upgrades", "endpoint", of.seconds
    )


def _of_relay(of: RelayCounts) -> Iterator[Metric]:
    yield _counter("headscale_derp_accepts", "Connections to the relay", of.accepted)
    yield _counted("headscale_derp_finished", "Connections that the relay ended", "reason", of.finished)
    yield _counter("headscale_derp_received_bytes", "Bytes from clients", of.received_bytes)
    yield _counter("headscale_derp_sent_bytes", "Bytes to clients", of.sent_bytes)
    yield _counted("headscale_derp_forwarded_packets", "Packets passed on", "kind", of.forwarded)
    yield _counted("headscale_derp_dropped_packets", "Packets dropped", "reason", of.dropped)


# ---- families


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value=value)


def _labelled(name: str, told: str, values: Mapping[tuple[tuple[str, str], ...], float]) -> Metric:
    labels = [label for label, _ in next(iter(values), ())]
    family = GaugeMetricFamily(name, told, labels=labels)
    for pairs, value in values.items():
        family.add_metric([text for _, text in pairs], value)
    return family


def _counter(name: str, told: str, value: float) -> Metric:
    return CounterMetricFamily(name, told, value=value)


def _counted(name: str, told: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, told, labels=(label,))
    for text, count in sorted(values.items()):
        family.add_metric((text,), count)
    return family


def _histogram(name: str, told: str, distribution: Distribution) -> Metric:
    buckets, total = _buckets(distribution)
    return HistogramMetricFamily(name, told, buckets=buckets, sum_value=total)


def _timed(name: str, told: str, label: str, distributions: Mapping[str, Distribution]) -> Metric:
    family = HistogramMetricFamily(name, told, labels=(label,))
    for text, distribution in sorted(distributions.items()):
        buckets, total = _buckets(distribution)
        family.add_metric((text,), buckets, total)
    return family


def _buckets(distribution: Distribution) -> tuple[list[tuple[str, float]], float]:
    bounds: Iterable[str] = (*map(str, distribution.bounds), "+Inf")
    return list(zip(bounds, accumulate(distribution.counts), strict=True)), distribution.total
