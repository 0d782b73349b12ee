"""/api/v1/node/{id}/ping and /attributes: ask a client whether it answers, and what its device says (ours)."""

import secrets

import msgspec
from aiohttp import web

from headscale.api.v1.body import answer, parse_id
from headscale.clock import Clock
from headscale.errors import Unavailable
from headscale.mapper.questions import Questions
from headscale.state.nodes import find_node
from headscale.state.writer import Writer

ECHO = "/echo"


class Pong(msgspec.Struct, frozen=True, rename="camel"):
    """Whether the client answered, and after how long."""

    answered: bool
    seconds: float
    reason: str = ""


class Pings:
    """Ping a client through its map stream; read its attributes."""

    def __init__(self, writer: Writer, questions: Questions, clock: Clock) -> None:
        self._writer = writer
        self._questions = questions
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [
            web.post("/api/v1/node/{id}/ping", self.ping),
            web.get("/api/v1/node/{id}/attributes", self.attributes),
        ]

    async def ping(self, request: web.Request) -> web.Response:
        """A question to the client over its tunnel (c2n echo): a client that is only connected does not answer it."""
        node = find_node(self._writer.snapshot, parse_id(request.match_info["id"], "node"))
        token = secrets.token_hex(8).encode()
        began = self._clock.monotonic()
        try:
            echoed = await self._questions.ask(node, method="POST", path=ECHO, body=token)
        except Unavailable as problem:
            return answer(Pong(answered=False, seconds=self._clock.monotonic() - began, reason=str(problem)))
        took = self._clock.monotonic() - began
        if echoed.status != 200 or echoed.body != token:
            return answer(Pong(answered=False, seconds=took, reason=f"an echo with status {echoed.status}"))
        return answer(Pong(answered=True, seconds=took))

    async def attributes(self, request: web.Request) -> web.Response:
        """What the node says of its device."""
        node = find_node(self._writer.snapshot, parse_id(request.match_info["id"], "node"))
        return answer({"attributes": dict(node.attributes)})
