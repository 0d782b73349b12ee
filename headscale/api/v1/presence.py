"""/api/v1/node/{id}/why-offline and /debug/overview: what an operator asks of a running server (ours)."""

from aiohttp import web

from headscale.api.v1.body import answer, parse_id
from headscale.errors import Malformed
from headscale.monitoring.overview import NODES_MAX, NODES_SHOWN, overview_of
from headscale.monitoring.vitals import Vitals
from headscale.monitoring.whyoffline import why_offline
from headscale.state.nodes import find_node


class Looks:
    """Say why a node is offline; show the server on one screen."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.get("/api/v1/node/{id}/why-offline", self.why_offline),
            web.get("/api/v1/debug/overview", self.overview),
        ]

    async def why_offline(self, request: web.Request) -> web.Response:
        """Causes and what to do, for a node that is online too."""
        vitals = self._vitals
        node = find_node(vitals.snapshot, parse_id(request.match_info["id"], "node"))
        return answer(
            why_offline(
                vitals.snapshot,
                node,
                vitals.sessions.of(node.id),
                has_stream=vitals.fanout.has(node.id),
                now=vitals.clock.now(),
            )
        )

    async def overview(self, request: web.Request) -> web.Response:
        """The server now; ?nodes= says how many of them are listed."""
        text = request.query.get("nodes", str(NODES_SHOWN))
        if not (text.isascii() and text.isdecimal()) or len(text) > 4 or int(text) > NODES_MAX:
            raise Malformed(f"nodes: expected a number from 0 to {NODES_MAX}, got {text[:20]!r}")
        return answer(overview_of(self._vitals, nodes=int(text)))
