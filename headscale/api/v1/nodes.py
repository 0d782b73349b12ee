"""/api/v1/node"""

from datetime import datetime
from functools import partial

import msgspec
from aiohttp import web

from headscale.api.v1.body import answer, in_utc, parse_id, read_body
from headscale.api.v1.objects import node_object
from headscale.clock import Clock
from headscale.errors import Conflict, Malformed, NotFound
from headscale.records import Node
from headscale.state.nodes import delete_node, expire_node, find_node, rename_node
from headscale.state.preferences import authorize_node
from headscale.state.tags import set_tags
from headscale.state.writer import Writer


class Expiry(msgspec.Struct, frozen=True, rename="camel"):
    """When a node's key ends; nothing at all means now."""

    expiry: datetime | None = None
    disable_expiry: bool = False


class Tags(msgspec.Struct, frozen=True):
    """All tags that the node is to have."""

    tags: tuple[str, ...] = ()


class Authorization(msgspec.Struct, frozen=True):
    """Whether the node is in; nothing at all means yes."""

    authorized: bool = True


class Nodes:
    """List, get, rename, expire, tag, authorize, delete."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
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
            web.post("/api/v1/node/{id}/authorize", self.authorize),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """All nodes by id, or those that the user with this ?user=name owns."""
        snapshot = self._writer.snapshot
        nodes = sorted(snapshot.nodes.values(), key=lambda node: node.id)
        if name := request.query.get("user"):
            owner = next((user for user in snapshot.users.values() if user.name == name), None)
            if owner is None:
                raise NotFound(f"no user is named {name[:80]!r}")
            nodes = snapshot.nodes_owned_by(owner.id)
        return answer({"nodes": [node_object(snapshot, node, in_list=True) for node in nodes]})

    async def get(self, request: web.Request) -> web.Response:
        """One node."""
        return self._one(find_node(self._writer.snapshot, _id(request)))

    async def delete(self, request: web.Request) -> web.Response:
        """The node is gone for everyone, and its client has to log in again."""
        await self._writer.apply(partial(delete_node, node_id=_id(request)))
        return answer({})

    async def expire(self, request: web.Request) -> web.Response:
        """The node's key ends now, at a given time, or never."""
        # Up to 0.29 these were query parameters.
        told = {key: request.query[key] for key in ("expiry", "disableExpiry") if key in request.query}
        asked = _from_query(told) if told else await read_body(request, Expiry)
        if asked.expiry is not None and asked.disable_expiry:
            raise Malformed("give either an expiry or disableExpiry, not both")
        expiry = None if asked.disable_expiry else asked.expiry or self._clock.now()
        node = await self._writer.apply(
            partial(expire_node, node_id=_id(request), expiry=in_utc(expiry) if expiry else None)
        )
        return self._one(node)

    async def rename(self, request: web.Request) -> web.Response:
        """Another given name, exactly as asked; a taken one is a 400, as the peer's scripts expect."""
        step = partial(rename_node, node_id=_id(request), name=request.match_info["name"])
        try:
            return self._one(await self._writer.apply(step))
        except Conflict as problem:
            raise Malformed(str(problem)) from problem

    async def tag(self, request: web.Request) -> web.Response:
        """The node is these tags' from now on, and nobody's."""
        asked = await read_body(request, Tags)
        return self._one(await self._writer.apply(partial(set_tags, node_id=_id(request), tags=asked.tags)))

    async def authorize(self, request: web.Request) -> web.Response:
        """Let a node in that waits for approval, or make it wait again (ours; the peer approves no devices)."""
        asked = await read_body(request, Authorization)
        step = partial(authorize_node, node_id=_id(request), on=asked.authorized)
        return self._one(await self._writer.apply(step))

    def _one(self, node: Node) -> web.Response:
        return answer({"node": node_object(self._writer.snapshot, node)})


def _id(request: web.Request) -> int:
    return parse_id(request.match_info["id"], "node")


def _from_query(told: dict[str, str]) -> Expiry:
    try:
        return msgspec.convert(
            {**told, "disableExpiry": told.get("disableExpiry", "").lower() in ("1", "true")}, Expiry
        )
    except msgspec.ValidationError as problem:
        raise Malformed(f"expiry: {problem}") from None
