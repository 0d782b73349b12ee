"""What anybody may ask the main listener: our key, health, version, and whether a relay may serve a node."""

from asyncio import IncompleteReadError
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from aiohttp import web

from headscale.errors import Malformed
from headscale.keys import ZERO_MACHINE_KEY, MachineKey, parse_node_key
from headscale.origin import version_document
from headscale.state.writer import Writer
from headscale.tailcfg.names import decode_request
from headscale.tailcfg.verify import VerifyRequest

# The question of a relay: a key and an address.
VERIFY_MAX_BYTES = 4096


class Health(Protocol):
    """How the server stands; `trouble` is what is wrong, in fixed words, by check."""

    @property
    def status(self) -> str:
        """pass, warn or fail."""

    @property
    def trouble(self) -> Mapping[str, str]:
        """Empty for pass."""


class PublicPages:
    """Small answers without a login."""

    def __init__(
        self, writer: Writer, *, server_key: MachineKey, health: Callable[[], Awaitable[Health]]
    ) -> None:
        self._writer = writer
        self._server_key = server_key
        self._health = health

    def routes(self) -> list[web.RouteDef]:
        """The routes of the main listener that are not an upgrade."""
        return [
            web.get("/key", self.key),
            web.get("/health", self.health),
            web.get("/version", self.version),
            web.get("/robots.txt", self.robots),
            web.post("/verify", self.verify),
        ]

    async def key(self, request: web.Request) -> web.Response:
        """Our Noise key. Both fields: tailscale-rs needs the legacy one to exist."""
        version = request.query.get("v", "")
        if not (version.isascii() and version.isdecimal()) or len(version) > 9 or int(version) < 1:
            return web.Response(status=400, text="say which capability version you speak: /key?v=<number>\n")
        return web.json_response({"legacyPublicKey": ZERO_MACHINE_KEY, "publicKey": self._server_key})

    async def health(self, request: web.Request) -> web.Response:
        """Whether we can do our work, and what is wrong. A warning is no reason to restart us, and so a 200."""
        state = await self._health()
        document: dict[str, object] = {"status": state.status}
        if state.trouble:
            document["output"] = "; ".join(state.trouble.values())
            document["checks"] = dict(state.trouble)
        status = 500 if state.status == "fail" else 200
        return web.json_response(document, status=status, content_type="application/health+json")

    async def version(self, request: web.Request) -> web.Response:
        """What runs here."""
        document = version_document()
        return web.json_response({**document, "os": document["go"]["os"]})

    async def robots(self, request: web.Request) -> web.Response:
        """Nothing here is for search engines."""
        return web.Response(text="User-agent: *\nDisallow: /\n")

    async def verify(self, request: web.Request) -> web.Response:
        """A relay asks whether to serve a node: yes for one of ours that is in and whose key has not ended."""
        if (request.content_length or 0) > VERIFY_MAX_BYTES:
            return web.Response(status=413, text="a verify request is small\n")
        try:
            # One read would stop at what has arrived so far.
            await request.content.readexactly(VERIFY_MAX_BYTES + 1)
            return web.Response(status=413, text="a verify request is small\n")
        except IncompleteReadError as complete:
            body = complete.partial
        try:
            asked = decode_request(body, VerifyRequest)
            allowed = self.may_relay(asked.node_public)
        except Malformed as problem:
            return web.Response(status=400, text=f"{problem}\n")
        return web.json_response({"Allow": allowed})

    def may_relay(self, node_key: str) -> bool:
        """Whether this node key is one of our nodes' and still counts."""
        snapshot = self._writer.snapshot
        node = snapshot.nodes.get(snapshot.node_by_key.get(parse_node_key(node_key), 0))
        return node is not None and node.authorized and not node.expired
