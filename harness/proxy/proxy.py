"""The control proxy: to clients it is the control server, to the server it is each of them.

It ends the clients' Noise sessions with a key of its own and opens one to the server for each machine, with a machine
key that stands for the client's. Node keys and everything else pass as they are, so that the server's records differ
in the machine key alone. Whatever is not the control protocol (login pages, the relay) clients do with the server.
"""

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from aiohttp import web

from harness.clients.mapframes import MapFrameReader, map_frame
from harness.clients.session import Session, SessionClosed, StreamCut, open_session, target_of
from harness.proxy.listening import key_answer, listening
from harness.proxy.messages import MAP, Chooses, Json, Message, To
from harness.proxy.rules import Delay, Drop, Hold, Refusal, Refuse, Reorder, Rewrite, Rule, RuleBook
from headscale.clock import SystemClock
from headscale.control.exchange import TEXT_TYPE, Exchange
from headscale.control.upgrade import ControlUpgrade
from headscale.keys import MachineKey, generate_private_key, parse_machine_key

ANSWER_SECONDS: Final = 60.0
PREFIX: Final = "/machine/"
_OWN_HEADERS: Final = ("host", "content-length", "connection", "transfer-encoding", "accept-encoding")
_GONE: Final = (SessionClosed, StreamCut, OSError, TimeoutError)

R = TypeVar("R", bound=Rule)


class _Machine:
    """A client's machine, and our connection in its name."""

    def __init__(self, key: MachineKey) -> None:
        self.key = key
        self.private = generate_private_key()
        self.name = ""
        self.session: Session | None = None
        self.version = 0
        self.connecting = asyncio.Lock()


class _Answer:
    """The answer on its way to a client; see rules.Stream."""

    def __init__(self, exchange: Exchange, *, compress: str) -> None:
        self._exchange = exchange
        self._compress = compress
        self._room = asyncio.Event()
        exchange.on_writable = self._room.set

    async def deliver(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._exchange.send(map_frame(message.json, compress=self._compress))
            self._room.clear()
            if not self._exchange.writable and not self._exchange.closed.is_set():
                await self._room.wait()  # a client that goes meanwhile cancels the exchange, and us with it


class ControlProxy:
    """See the module. Made by `start_proxy`; `messages` are all that have passed, oldest first."""

    def __init__(self, upstream: str, *, ca: ssl.SSLContext | None = None) -> None:
        self.upstream = upstream.rstrip("/")
        self.url = ""
        self.messages: list[Message] = []
        self._ca = ca
        self._private = generate_private_key()
        self._clock = SystemClock()
        self._started = self._clock.monotonic()
        self._rules = RuleBook()
        self._machines: dict[MachineKey, _Machine] = {}
        self._numbers = itertools.count(1)
        self._exchanges = itertools.count(1)
        self._open: dict[Exchange, tuple[_Machine, _Answer, int]] = {}
        self._upgrade = ControlUpgrade(self._private, self._clock, self._handle)

    # ---- what scenarios do with it

    @asynccontextmanager
    async def holding(self, chooses: Chooses) -> AsyncIterator[Hold]:
        """Keep these messages until they are released, or the context ends."""
        async with self._ruled(Hold(chooses)) as hold:
            yield hold

    @asynccontextmanager
    async def delaying(self, chooses: Chooses, *, seconds: float) -> AsyncIterator[Delay]:
        """Let each of these messages wait so long."""
        async with self._ruled(Delay(chooses, seconds)) as delay:
            yield delay

    @asynccontextmanager
    async def dropping(self, chooses: Chooses) -> AsyncIterator[Drop]:
        """Lose these messages; `met` has them."""
        async with self._ruled(Drop(chooses)) as drop:
            yield drop

    @asynccontextmanager
    async def rewriting(
        self, chooses: Chooses, change: Callable[[Json], Json | None]
    ) -> AsyncIterator[Rewrite]:
        """Let other fields pass in the place of these messages'."""
        async with self._ruled(Rewrite(chooses, change)) as rewrite:
            yield rewrite

    @asynccontextmanager
    async def reordering(self, chooses: Chooses, *, count: int = 2) -> AsyncIterator[Reorder]:
        """Let each `count` of these messages on a stream go the last one first."""
        async with self._ruled(Reorder(chooses, count)) as reorder:
            yield reorder

    @asynccontextmanager
    async def refusing(self, chooses: Chooses, status: int, text: str) -> AsyncIterator[Refuse]:
        """Answer these requests like this; the server does not hear of them."""
        async with self._ruled(Refuse(chooses, status, text)) as refuse:
            yield refuse

    async def tell(self, client: str, fields: Json) -> int:
        """Say this in the open map polls of the client that calls itself so; returns in how many."""
        told = [
            (machine, answer, number)
            for machine, answer, number in self._open.values()
            if machine.name == client
        ]
        for machine, answer, number in told:
            message = self._note(machine, To.CLIENT, MAP, number, fields)
            await answer.deliver([message])
        return len(told)

    async def hang_up(self) -> None:
        """End every connection on both sides at once, as a proxy does that restarts."""
        for machine in self._machines.values():
            if machine.session is not None:
                machine.session.cut()
        self._upgrade.abort()

    # ---- what it does

    def routes(self) -> list[web.RouteDef]:
        """Of the listener that clients know."""
        return [web.get("/key", self._key), *self._upgrade.routes()]

    async def close(self) -> None:
        """End all sessions."""
        await self._upgrade.close()
        for machine in self._machines.values():
            if machine.session is not None:
                await machine.session.close()

    @asynccontextmanager
    async def _ruled(self, rule: R) -> AsyncIterator[R]:
        self._rules.add(rule)
        try:
            yield rule
        finally:
            await self._rules.lift(rule)

    async def _key(self, request: web.Request) -> web.Response:
        """Our key in the place of the server's, if it is there; else what it, or nobody, says."""
        try:
            await self._server_key(request.query.get("v", ""))
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            return web.Response(status=502, text=f"{self.upstream} does not answer: {problem}\n")
        return key_answer(self._private)

    async def _server_key(self, version: str) -> MachineKey:
        tls = self._ca if self._ca is not None else True
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_SECONDS)) as http:
            async with http.get(f"{self.upstream}/key", params={"v": version}, ssl=tls) as answer:
                answer.raise_for_status()
                return parse_machine_key((await answer.json(content_type=None))["publicKey"])

    async def _handle(self, exchange: Exchange) -> None:
        machine = self._machines.setdefault(exchange.machine_key, _Machine(exchange.machine_key))
        number = next(self._exchanges)
        kind = exchange.path.removeprefix(PREFIX)
        body = _decoded(exchange.body)
        if isinstance(body, dict) and (name := (body.get("Hostinfo") or {}).get("Hostname")):
            machine.name = name
        request = self._note(machine, To.SERVER, kind, number, body)
        try:
            passing = await self._rules.apply(request)
            if not passing:
                await exchange.closed.wait()
                return
            await self._pass_on(exchange, machine, passing[0])
        except Refusal as refusal:
            await exchange.respond(refusal.status, f"{refusal.text}\n".encode(), content_type=TEXT_TYPE)
        except _GONE as problem:
            if not exchange.started:
                text = f"{self.upstream} is gone: {problem}\n"
                await exchange.respond(502, text.encode(), content_type=TEXT_TYPE)

    async def _pass_on(self, exchange: Exchange, machine: _Machine, request: Message) -> None:
        session = await self._session(machine, exchange.version)
        query = f"?{urlencode(exchange.query)}" if exchange.query else ""
        headers = {
            name: value
            for name, value in exchange.headers.items()
            if name not in _OWN_HEADERS and not name.startswith(":")
        }
        stream = session.ask(
            exchange.method, exchange.path + query, body=_encoded(request.body), headers=headers
        )
        try:
            response = await stream.response()
            kind = response.headers.get("content-type", TEXT_TYPE)
            if request.kind == MAP and response.status == 200:
                exchange.start(response.status, content_type=kind)
                await self._pass_map(exchange, machine, request, stream.read)
                return
            answer = await stream.answer()
            message = self._note(
                machine, To.CLIENT, request.kind, request.exchange, _decoded(answer.body), answer.status
            )
            passing = await self._rules.apply(message)
            if not passing:
                await exchange.closed.wait()
                return
            await exchange.respond(answer.status, _encoded(passing[0].body), content_type=kind)
        finally:
            if not exchange.ended:
                stream.cancel()

    async def _pass_map(
        self, exchange: Exchange, machine: _Machine, request: Message, read: Callable[[], Any]
    ) -> None:
        compress = request.json.get("Compress") or ""
        reader = MapFrameReader(compress=compress)
        answer = _Answer(exchange, compress=compress)
        self._open[exchange] = machine, answer, request.exchange
        try:
            while data := await read():
                for fields in reader.receive(data):
                    message = self._note(machine, To.CLIENT, MAP, request.exchange, fields)
                    await answer.deliver(await self._rules.apply(message, answer))
        finally:
            del self._open[exchange]
        exchange.end()

    async def _session(self, machine: _Machine, version: int) -> Session:
        """The open session in this machine's name."""
        async with machine.connecting:
            if machine.session is None or machine.session.closed.done() or machine.version != version:
                machine.version = version
                machine.session = await open_session(
                    target_of(self.upstream, ca=self._ca),
                    server_key=await self._server_key(str(version)),
                    machine_key=machine.private,
                    version=version,
                )
            return machine.session

    def _note(
        self, machine: _Machine, to: To, kind: str, exchange: int, body: Json | bytes, status: int = 200
    ) -> Message:
        message = Message(
            number=next(self._numbers),
            at=self._clock.monotonic() - self._started,
            wall=datetime.now(UTC),
            client=machine.name,
            machine=machine.key,
            to=to,
            kind=kind,
            exchange=exchange,
            body=body,
            status=status,
        )
        self.messages.append(message)
        return message


def _decoded(body: bytes) -> Json | bytes:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return body
    return fields if isinstance(fields, dict) else body


def _encoded(body: Json | bytes) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@asynccontextmanager
async def start_proxy(
    host: str, port: int, upstream: str, *, ca: ssl.SSLContext | None = None
) -> AsyncIterator[ControlProxy]:
    """A proxy that listens there, in front of the control server with this URL. `ca` replaces the system's roots."""
    proxy = ControlProxy(upstream, ca=ca)
    async with listening(host, port, proxy.routes()) as proxy.url:
        try:
            yield proxy
        finally:
            await proxy.close()
