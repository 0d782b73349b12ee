"""A recording that is played to a client: the control server of one client, with what another one was told.

The client may be any: it is let in, its map poll is the recorded one, message by message, with its own keys in the
place of the recorded ones where a client compares them. Everything else is answered with nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import web

from harness.clients.mapframes import map_frame
from harness.errors import HarnessError
from harness.proxy.listening import key_answer, listening
from harness.proxy.messages import MAP, REGISTER, Json, Message
from harness.proxy.recording import Poll, clients, polls, registration
from headscale.clock import SystemClock
from headscale.control.exchange import TEXT_TYPE, Exchange
from headscale.control.upgrade import ControlUpgrade
from headscale.keys import generate_private_key

KEEP_ALIVE_SECONDS: Final = 50.0


class NothingToReplay(HarnessError):
    """The recording has no map poll of that client; the text says whose it has."""


class Replay:
    """See the module. `speed` 2 plays twice as fast as it was recorded; 0 without any pause.

    `told` counts the messages that were sent; `finished` is set after the last.
    """

    def __init__(self, messages: list[Message], *, client: str, speed: float = 0.0) -> None:
        found = polls(messages, client=client)
        if not found:
            whose = ", ".join(clients(messages)) or "nobody"
            raise NothingToReplay(f"no map poll of {client!r} is in the recording; it has those of {whose}")
        self.poll: Poll = max(found, key=lambda poll: len(poll.responses))
        self.told = 0
        self.finished = asyncio.Event()
        self._speed = speed
        self._welcome = registration(messages, client=client)
        self._private = generate_private_key()
        self._upgrade = ControlUpgrade(self._private, SystemClock(), self._handle)

    def routes(self) -> list[web.RouteDef]:
        """Of the listener that is the client's login server."""
        return [web.get("/key", self._key), *self._upgrade.routes()]

    async def close(self) -> None:
        """End all sessions."""
        await self._upgrade.close()

    async def _key(self, _: web.Request) -> web.Response:
        return key_answer(self._private)

    async def _handle(self, exchange: Exchange) -> None:
        asked: Json = msgspec.json.decode(exchange.body) if exchange.body else {}
        kind = exchange.path.removeprefix("/machine/")
        if kind == REGISTER:
            await exchange.respond(200, msgspec.json.encode(self._let_in()))
        elif kind == MAP and asked.get("Stream"):
            await self._play(exchange, asked)
        elif kind == MAP:
            await exchange.respond(200)
        else:
            await exchange.respond(404, b"this is a recording\n", content_type=TEXT_TYPE)

    def _let_in(self) -> Json:
        recorded = dict(self._welcome.json) if self._welcome is not None else {}
        return {
            "User": {},
            "Login": {},
            **recorded,
            "MachineAuthorized": True,
            "NodeKeyExpired": False,
            "AuthURL": "",
        }

    async def _play(self, exchange: Exchange, asked: Json) -> None:
        compress = asked.get("Compress") or ""
        exchange.start(200)
        before = self.poll.responses[0].at
        for message in self.poll.responses:
            if self._speed:
                await asyncio.sleep((message.at - before) / self._speed)
            before = message.at
            exchange.send(map_frame(_addressed(message.json, asked), compress=compress))
            self.told += 1
        self.finished.set()
        while not exchange.closed.is_set():
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            exchange.send(map_frame({"KeepAlive": True}, compress=compress))


def _addressed(told: Json, asked: Json) -> Json:
    """With the keys of the client that listens; a client ends a map that is for another key than its own."""
    own: dict[str, Any] = told.get("Node") or {}
    if not own:
        return told
    return {**told, "Node": {**own, "Key": asked["NodeKey"], "DiscoKey": asked.get("DiscoKey", "")}}


@asynccontextmanager
async def start_replay(
    host: str, messages: list[Message], *, client: str, speed: float = 0.0, port: int = 0
) -> AsyncIterator[tuple[str, Replay]]:
    """The login server's URL, and what it plays. Raises NothingToReplay."""
    replay = Replay(messages, client=client, speed=speed)
    async with listening(host, port, replay.routes()) as url:
        try:
            yield url, replay
        finally:
            await replay.close()
