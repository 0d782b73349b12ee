"""What abusers send: sockets that are read or not, and HTTP/2 frames by hand."""

import asyncio
import struct
import time
from dataclasses import dataclass, field
from typing import Final

from benchmarks.load.link import PREFACE
from harness.clients.session import Session, open_session, target_of
from headscale.keys import PrivateKey, generate_private_key
from tests.faults.stand import HOST, Stand

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
UNKNOWN: Final = 0xFA
END_STREAM = ACK = 1
END_HEADERS: Final = 4
CALM: Final = 0xB
_HEADER: Final = struct.Struct(">HBBBL")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    length = len(payload)
    return _HEADER.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header that stays out of the table, names and values up to 16 KiB."""
    return b"\x00" + _string(name) + _string(value)


def indexed(name: bytes, value: bytes) -> bytes:
    """A header that goes into the table."""
    return b"\x40" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, out = len(text) - 127, bytearray([127])
    while rest >= 128:
        out.append(rest % 128 | 128)
        rest //= 128
    return bytes([*out, rest]) + text


def get(path: bytes = b"/machine/whoami") -> bytes:
    """The header block of a request."""
    return b"".join(
        literal(name, value)
        for name, value in (
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"c"),
            (b":path", path),
        )
    )


@dataclass(eq=False)
class Raw(asyncio.Protocol):
    """A TCP connection that says what it is told to, and when it was cut."""

    heard: bytearray = field(default_factory=bytearray)
    opened: float = field(default_factory=time.monotonic)
    closed: float | None = None
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = time.monotonic()
        self.transport = None

    def say(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    @property
    def lived(self) -> float:
        """Seconds from the start to the end, or to now."""
        return (self.closed or time.monotonic()) - self.opened


async def dialled(port: int, first: bytes = b"") -> Raw:
    """A connection, and its first bytes."""
    _, made = await asyncio.get_running_loop().create_connection(Raw, HOST, port)
    if first:
        made.say(first)
    return made


async def shaken(stand: Stand, private: PrivateKey | None = None) -> Session:
    """A session of a machine that nobody knows, or of this one."""
    client = await stand.client()
    assert client.server_key is not None
    return await open_session(
        target_of(stand.server.url),
        server_key=client.server_key,
        machine_key=private or generate_private_key(),
        version=142,
    )


async def silent(stand: Stand, first: bytes = b"") -> tuple[Raw, bytes]:
    """A connection after the Noise handshake on which no HTTP/2 follows, or only these frames."""
    from harness.clients.session import upgrade_request
    from headscale.ts2021.handshake import finish, generate_key, initiate
    from headscale.ts2021.messages import RESPONSE_BYTES
    from headscale.ts2021.records import RecordSealer

    client = await stand.client()
    assert client.server_key is not None
    initiation, pending = initiate(
        client.server_key, version=142, static=generate_key(), ephemeral=generate_key()
    )
    raw = await dialled(stand.server.settings.port, upgrade_request(HOST, initiation))
    async with asyncio.timeout(30):
        while b"\r\n\r\n" not in raw.heard or len(raw.heard.partition(b"\r\n\r\n")[2]) < RESPONSE_BYTES:
            assert raw.closed is None, bytes(raw.heard)
            await asyncio.sleep(0.002)
    response = bytes(raw.heard.partition(b"\r\n\r\n")[2][:RESPONSE_BYTES])
    sealer = RecordSealer(finish(pending, response).sending)
    if first:
        raw.say(sealer.seal(first))
    return raw, response


def preface() -> bytes:
    """How a client begins HTTP/2."""
    return PREFACE + frame(SETTINGS, 0, 0)
