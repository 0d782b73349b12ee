"""/api/v1/node"""

from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from aiohttp import web

from headscale.api.acts import Acts
from headscale.api.grants import GRANT
from headscale.api.v1.body import answer, in_utc, parse_id, read_body
from headscale.api.v1.objects import node_object
from headscale.clock import Clock
from headscale.errors import Conflict, Malformed, Refused
from headscale.records import Node
from headscale.state.approvals import approve_routes
from headscale.state.backfill import backfill_addresses
from headscale.state.nodes import delete_node, expire_node, find_node, rename_node
from headscale.state.preferences import authorize_node
from headscale.state.scopes import DEVICES, read
from headscale.state.tags import set_tags
from headscale.state.users import user_named


class Expiry(msgspec.Struct, frozen=True, rename="camel"):
    """When a node's key ends; nothing at all means now."""

    expiry: datetime | None = None
    disable_expiry: bool = False


class Tags(msgspec.Struct, frozen=True):
    """All tags that the node is to have."""

    tags: tuple[str, ...] = ()


class Routes(msgspec.Struct, frozen=True):
    """All routes of the node that are to be approved."""

    routes: tuple[str, ...] = ()


class Authorization(msgspec.Struct, frozen=True):
    """Whether the node is in; nothing at all means yes."""

    authorized: bool = True


class Nodes:
    """List, get, rename, expire, tag, approve routes of, authorize, delete, give addresses to."""

    def __init__(self, acts: Acts, clock: Clock) -> None:
        self._acts = acts
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.get("/api/v1/node", self.list),
            web.get("/api/v1/node/{id}", self.get),
            web.delete("/api/v1/node/{id}", self.delete),
            web.post("/api/v1/node/{id}/expire", self.expire),
            web.post("/api/v1/node/{id}/rename/{name}", self.rename),
            web.post("/api/v1/node/{id}/tags", self.tag),
            web.post("/api/v1/node/{id}/approve_routes", self.approve_routes),
            web.post("/api/v1/node/{id}/authorize", self.authorize),
            web.post("/api/v1/node/backfillips", self.backfill),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All nodes by id, or those that the user with this ?user=name owns."""
        snapshot, grant = self._acts.snapshot, request[GRANT]
        nodes = sorted(filter(grant.sees, snapshot.nodes.values()), key=lambda node: node.id)
        if name := request.query.get("user"):
            if not grant.allows(read(DEVICES)) and name != snapshot.users[grant.person or 0].name:
                nodes = []  # who else there is they may not know
            else:
                nodes = snapshot.nodes_owned_by(user_named(snapshot, name).id)
        return answer({"nodes": [node_object(snapshot, node, in_list=True) for node in nodes]})

    async def get(self, request: web.Request) -> web.Response:
        """One node."""
        return self._one(find_node(self._acts.snapshot, _id(request)))

    async def delete(self, request: web.Request) -> web.Response:
        """The node is gone for everyone, and its client has to log in again."""
        await self._acts.apply(request, "node.delete", partial(delete_node, node_id=_id(request)))
        return answer({})

    async def expire(self, request: web.Request) -> web.Response:
        """The node's key ends now, at a given time, or never."""
        # Up to 0.29 these were query parameters.
        told = {key: request.query[key] for key in ("expiry", "disableExpiry") if key in request.query}
        asked = _from_query(told) if told else await read_body(request, Expiry)
        if asked.expiry is not None and asked.disable_expiry:
            raise Malformed("give either an expiry or disableExpiry, not both")
        if asked != Expiry() and not request[GRANT].allows(DEVICES):
            raise Refused(
                "the key of a device of yours can end now; later, or never, is an administrator's to say"
            )
        expiry = None if asked.disable_expiry else asked.expiry or self._clock.now()
        node = await self._acts.apply(
            request,
            "node.expire",
            partial(expire_node, node_id=_id(request), expiry=in_utc(expiry) if expiry else None),
        )
        return self._one(node)

    async def rename(self, request: web.Request) -> web.Response:
        """Another given name, exactly as asked; a taken one is a 400, as the peer's scripts expect."""
        step = partial(rename_node, node_id=_id(request), name=request.match_info["name"])
        try:
            return self._one(await self._acts.apply(request, "node.rename", step))
        except Conflict as problem:
            raise Malformed(str(problem)) from problem

    async def tag(self, request: web.Request) -> web.Response:
        """The node is these tags' from now on, and nobody's."""
        asked = await read_body(request, Tags)
        return self._one(
            await self._acts.apply(
                request, "node.tags", partial(set_tags, node_id=_id(request), tags=asked.tags)
            )
        )

    async def approve_routes(self, request: web.Request) -> web.Response:
        """These routes are approved and no others; the answer's subnetRoutes are those that this node serves."""
        asked = await read_body(request, Routes)
        step = partial(approve_routes, node_id=_id(request), routes=asked.routes)
        node = await self._acts.apply(request, "node.routes", step)
        return answer({"node": node_object(self._acts.snapshot, node, with_primaries=True)})

    async def backfill(self, request: web.Request) -> web.Response:
        """Addresses of each configured family for every node; the answer says what changed."""
        if request.query.get("confirmed", "").lower() not in _YES:
            raise Malformed("not confirmed, aborting: add ?confirmed=true")
        return answer({"changes": await self._acts.apply(request, "node.backfill", backfill_addresses)})

    async def authorize(self, request: web.Request) -> web.Response:
        """Let a node in that waits for approval, or make it wait again (ours; the peer approves no devices)."""
        asked = await read_body(request, Authorization)
        step = partial(authorize_node, node_id=_id(request), on=asked.authorized)
        return self._one(await self._acts.apply(request, "node.authorize", step))

    def _one(self, node: Node) -> web.Response:
        return answer({"node": node_object(self._acts.snapshot, node)})


# What the peer's parser takes for true.
_YES: Final = frozenset({"1", "t", "true"})


def _id(request: web.Request) -> int:
    return parse_id(request.match_info["id"], "node")


def _from_query(told: dict[str, str]) -> Expiry:
    try:
        return msgspec.convert(
            {**told, "disableExpiry": told.get("disableExpiry", "").lower() in _YES}, Expiry
        )
    except msgspec.ValidationError as problem:
        raise Malformed(f"expiry: {problem}") from None
