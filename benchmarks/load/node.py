"""One client of the load: it registers, polls, reports, and knows of its map no more than who is in it."""

import asyncio
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from benchmarks.load.link import Answer, Link, LinkBroken, dial
from harness.clients.mapframes import decompress
from headscale.keys import (
    MachineKey,
    disco_key,
    generate_private_key,
    machine_key,
    node_key,
)
from headscale.ts2021.handshake import load_key

VERSION: Final = 142
ANSWER_SECONDS: Final = 60.0
# A hostile length would make the generator, not the server, fall over.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct("<I")


class SelfNode(msgspec.Struct, gc=False):
    """Of a node: its number."""

    id: int = msgspec.field(name="ID", default=0)


class Peer(msgspec.Struct):
    """Of a peer: number, full name, and where it may be reached."""

    id: int = msgspec.field(name="ID", default=0)
    name: str = msgspec.field(name="Name", default="")
    endpoints: list[str] | None = msgspec.field(name="Endpoints", default=None)


class Patch(msgspec.Struct):
    """Of a patch: whom it is about, and its new endpoints."""

    id: int = msgspec.field(name="NodeID", default=0)
    endpoints: list[str] | None = msgspec.field(name="Endpoints", default=None)


class Message(msgspec.Struct):
    """A map response as far as the load looks; the rest is skipped unread."""

    keep_alive: bool = msgspec.field(name="KeepAlive", default=False)
    node: SelfNode | None = msgspec.field(name="Node", default=None)
    peers: list[Peer] | None = msgspec.field(name="Peers", default=None)
    changed: list[Peer] | None = msgspec.field(name="PeersChanged", default=None)
    removed: list[int] | None = msgspec.field(name="PeersRemoved", default=None)
    patches: list[Patch] | None = msgspec.field(name="PeersChangedPatch", default=None)
    filter: msgspec.Raw = msgspec.field(name="PacketFilter", default=msgspec.Raw(b""))
    filters: msgspec.Raw = msgspec.field(name="PacketFilters", default=msgspec.Raw(b""))


class FirstMessage(msgspec.Struct):
    """A poll's first map: who is in it, and no more, because there is one a client of everybody."""

    keep_alive: bool = msgspec.field(name="KeepAlive", default=False)
    node: SelfNode | None = msgspec.field(name="Node", default=None)
    peers: list[SelfNode] | None = msgspec.field(name="Peers", default=None)


_FIRST: Final = msgspec.json.Decoder(FirstMessage)
_DECODER: Final = msgspec.json.Decoder(Message)
_REGISTERED: Final = msgspec.json.Decoder(dict[str, Any])

Watch = Callable[["LoadNode", Message], None]


@dataclass(frozen=True, slots=True)
class Where:
    """The server."""

    host: str
    port: int
    key: MachineKey


@dataclass(slots=True, eq=False)
class LoadNode:
    """`index` is its place in the layout; `watch` is told of every message."""

    index: int
    hostname: str
    auth_key: str
    where: Where
    watch: Watch | None = None
    id: int = 0
    known: set[int] = field(default_factory=set)
    messages: int = 0
    wire_bytes: int = 0
    last_message: float = 0.0
    trouble: str = ""
    first_map: "asyncio.Future[float] | None" = None
    _link: Link | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _keys: tuple[Any, str, str] = field(init=False)

    def __post_init__(self) -> None:
        machine = load_key(generate_private_key())
        private, disco = generate_private_key(), generate_private_key()
        self._keys = (machine, node_key(private.public), disco_key(disco.public))

    @property
    def machine(self) -> MachineKey:
        """Its machine key."""
        return machine_key(self._keys[0].public)

    async def connect(self) -> Link:
        """The open connection, or a new one."""
        if self._link is None or self._link.closed:
            where = self.where
            self._link = await dial(
                where.host, where.port, server=where.key, machine=self._keys[0], version=VERSION
            )
        return self._link

    async def register(self) -> None:
        """Join with the auth key; raises LinkBroken with what the server said."""
        request = {
            "Version": VERSION,
            "NodeKey": self._keys[1],
            "Auth": {"AuthKey": self.auth_key},
            "Hostinfo": self._hostinfo(),
        }
        said = _REGISTERED.decode(await self._post("/machine/register", request))
        if not said.get("MachineAuthorized"):
            raise LinkBroken(f"not registered: {said.get('Error')}")

    async def open(self) -> "asyncio.Future[float]":
        """Begin a poll with nothing known; the future is the time of the first map."""
        link = await self.connect()
        self.known.clear()
        self._buffer.clear()
        self.first_map = asyncio.get_running_loop().create_future()
        body = self._map_request(Stream=True, Compress="zstd", KeepAlive=True)
        link.ask("/machine/map", body, node_key=self._keys[1], answer=Answer(self._on_data, self._on_end))
        return self.first_map

    async def report(self, endpoint: str) -> None:
        """A lite update with this endpoint."""
        body = self._map_request(OmitPeers=True, Endpoints=[endpoint], EndpointTypes=[1])
        await self._send("/machine/map", body)

    def cut(self) -> None:
        """Lose the connection."""
        if self._link is not None:
            self._link.cut()
            self._link = None

    async def _post(self, path: str, request: dict[str, Any]) -> bytes:
        return await self._send(path, msgspec.json.encode(request))

    async def _send(self, path: str, body: bytes) -> bytes:
        link = await self.connect()
        pieces: list[bytes] = []
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def ended(reason: str) -> None:
            if not done.done():
                done.set_result(reason)

        link.ask(path, body, node_key=self._keys[1], answer=Answer(pieces.append, ended))
        async with asyncio.timeout(ANSWER_SECONDS):
            if reason := await done:
                raise LinkBroken(f"{path}: {reason}")
        return b"".join(pieces)

    def _hostinfo(self) -> dict[str, object]:
        net_info = {"PreferredDERP": 999, "WorkingUDP": True}
        return {"Hostname": self.hostname, "OS": "linux", "BackendLogID": "0" * 64, "NetInfo": net_info}

    def _map_request(self, **fields: object) -> bytes:
        request = {
            "Version": VERSION,
            "NodeKey": self._keys[1],
            "DiscoKey": self._keys[2],
            "Hostinfo": self._hostinfo(),
        }
        return msgspec.json.encode({**request, **fields})

    def _on_end(self, reason: str) -> None:
        self.trouble = reason or "the server ended the poll"
        if self.first_map is not None and not self.first_map.done():
            self.first_map.set_exception(LinkBroken(self.trouble))
            self.first_map.exception()  # it may well be that nobody asks

    def _on_data(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        self.wire_bytes += len(data)
        while len(buffer) >= 4:
            (length,) = _LENGTH.unpack_from(buffer)
            if length > MAX_MESSAGE_BYTES:
                raise LinkBroken(f"a message of {length} bytes")
            if len(buffer) < 4 + length:
                return
            text = decompress(bytes(buffer[4 : 4 + length]))
            del buffer[: 4 + length]
            if self.first_map is not None and not self.first_map.done():
                self._begin(_FIRST.decode(text))
            else:
                self._apply(_DECODER.decode(text))

    def _begin(self, message: FirstMessage) -> None:
        self.messages += 1
        self.last_message = time.monotonic()
        if message.node is None:
            raise LinkBroken("the first map has no node of one's own")
        self.id = message.node.id
        self.known = {peer.id for peer in message.peers or ()}
        assert self.first_map is not None
        self.first_map.set_result(self.last_message)
        if self.watch is not None:
            self.watch(self, Message(node=message.node))

    def _apply(self, message: Message) -> None:
        if message.keep_alive:
            return
        self.messages += 1
        self.last_message = time.monotonic()
        if message.node is not None:
            self.id = message.node.id
        if message.peers:
            self.known = {peer.id for peer in message.peers}
        for peer in message.changed or ():
            self.known.add(peer.id)
        self.known.difference_update(message.removed or ())
        if self.watch is not None:
            self.watch(self, message)
