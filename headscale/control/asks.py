"""What nodes ask besides registering and polling: small requests, each with an answer that its client understands."""

import logging
from collections.abc import Set
from functools import partial
from typing import Final

import msgspec

from headscale.clock import Clock
from headscale.control.allowance import Allowance
from headscale.control.exchange import TEXT_TYPE, Exchange
from headscale.control.identity import asking_node
from headscale.mapper.build import own_node
from headscale.mapper.questions import PATH, Questions
from headscale.mapper.render import CAP_HTTPS, plain
from headscale.state.attributes import set_attributes
from headscale.state.audit import note
from headscale.state.writer import Writer
from headscale.tailcfg.asks import (
    AuditLogRequest,
    HealthChangeRequest,
    QueryFeatureRequest,
    QueryFeatureResponse,
    SetDeviceAttributesRequest,
)
from headscale.tailcfg.names import decode_request

log = logging.getLogger(__name__)

# What one node may add to the audit log in an hour; a client tries again later what is answered with 429.
AUDIT_EVENTS_MAX: Final = 120

CAP_FUNNEL: Final = "funnel"
CAP_FUNNEL_PORTS: Final = "https://tailscale.com/cap/funnel-ports?"


class NodeAsks:
    """See the module."""

    def __init__(self, writer: Writer, questions: Questions, clock: Clock) -> None:
        self._writer = writer
        self._questions = questions
        self._audit_events = Allowance(clock, at_most=AUDIT_EVENTS_MAX)

    async def whoami(self, exchange: Exchange) -> None:
        """Who the server takes the machine for, as text (`tailscale debug ts2021`)."""
        nodes = self._writer.snapshot.nodes_on(exchange.machine_key)
        lines = [f"machine {exchange.machine_key} at {exchange.remote}"]
        lines += [f"node {node.id} {node.given_name} {node.node_key}" for node in nodes]
        await exchange.respond(200, ("\n".join(lines) + "\n").encode(), content_type=TEXT_TYPE)

    async def audit_log(self, exchange: Exchange) -> None:
        """Keep what a client's user did; answered when it is durable, because the client then forgets it."""
        asked = decode_request(exchange.body, AuditLogRequest)
        node = asking_node(self._writer.snapshot, exchange, asked.node_key)
        if not self._audit_events.takes(node.id):
            await exchange.respond(429, b"too many audit events: try again later\n", content_type=TEXT_TYPE)
            return
        step = partial(
            note,
            actor=f"node {node.id} ({node.given_name})",
            action=asked.action,
            details=asked.details,
            told_at=asked.timestamp,
        )
        await self._writer.apply(step)
        await exchange.respond(200, b"{}")

    async def set_attributes(self, exchange: Exchange) -> None:
        """Change what the node says of its device; raises Malformed for what is no attribute."""
        asked = decode_request(exchange.body, SetDeviceAttributesRequest)
        node = asking_node(self._writer.snapshot, exchange, asked.node_key)
        await self._writer.apply(partial(set_attributes, node_id=node.id, update=asked.update))
        await exchange.respond(200, b"{}")

    async def query_feature(self, exchange: Exchange) -> None:
        """Whether the node may use a feature; if not, what its user is to tell an administrator."""
        asked = decode_request(exchange.body, QueryFeatureRequest)
        node = asking_node(self._writer.snapshot, exchange, asked.node_key)
        capabilities = own_node(self._writer.snapshot, node).cap_map
        answer = feature(asked.feature, set(capabilities or ()))
        await exchange.respond(200, msgspec.json.encode(answer))

    async def answer_question(self, exchange: Exchange) -> None:
        """What a client says to a question of ours."""
        self._questions.take(exchange.path.removeprefix(PATH), exchange.machine_key, exchange.body)
        await exchange.respond(200)

    async def update_health(self, exchange: Exchange) -> None:
        """Take note of a client's trouble; it does not look at the answer."""
        asked = decode_request(exchange.body, HealthChangeRequest)
        log.debug(
            "client health remote=%s subsystem=%s error=%s",
            exchange.remote,
            plain(asked.subsys[:80]),
            plain(asked.error[:200]),
        )
        await exchange.respond(200, b"{}")


def feature(name: str, has: Set[str]) -> QueryFeatureResponse:
    """Whether a node that has these capabilities may use a feature, and what is missing."""
    if name not in ("serve", "funnel"):
        return QueryFeatureResponse(text=f"This server does not know the feature {plain(name[:40])!r}.")
    if CAP_HTTPS not in has:
        return QueryFeatureResponse(
            text="HTTPS is not enabled in this tailnet: an administrator can set up certificates on the server "
            "(dns.certificates). Serving plain HTTP works without: tailscale serve --http=80 ..."
        )
    funnels = CAP_FUNNEL in has and any(cap.startswith(CAP_FUNNEL_PORTS) for cap in has)
    if name == "funnel" and not funnels:
        return QueryFeatureResponse(
            text="Funnel is not enabled for this node: it needs relays that this server does not run."
        )
    return QueryFeatureResponse(complete=True)
