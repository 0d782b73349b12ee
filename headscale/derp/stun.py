"""STUN: tells a client the address that its packets come from, over UDP.

`answer` decides, `StunProtocol` moves datagrams. Only a binding request as Tailscale clients make it (a known
SOFTWARE, and FINGERPRINT as last attribute) is answered; everything else is dropped without a word. Such a
request has 40 bytes or more, an answer 32 over IPv4 and 44 over IPv6 (the 4 above are the protocol's), so a
forged source address gains nothing here.
Source: RFC 8489; tailscale v1.102.4, net/stun/stun.go.
"""

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Any, Final, cast
from zlib import crc32

from headscale.errors import Malformed

BINDING_REQUEST: Final = 0x0001
BINDING_SUCCESS: Final = 0x0101
MAGIC_COOKIE: Final = 0x2112A442
SOFTWARE: Final = 0x8022
FINGERPRINT: Final = 0x8028
XOR_MAPPED_ADDRESS: Final = 0x0020
FINGERPRINT_XOR: Final = 0x5354554E
CLIENT_SOFTWARE: Final = b"tailnode"

TRANSACTION_BYTES: Final = 12
_HEADER: Final = Struct(f">HHI{TRANSACTION_BYTES}s")
_ATTRIBUTE: Final = Struct(">HH")
_ADDRESS: Final = Struct(">BBH")
_WORD: Final = Struct(">I")
_FINGERPRINT_BYTES: Final = _ATTRIBUTE.size + _WORD.size
_FAMILY: Final = {4: 1, 6: 2}

# A real request has 40 bytes. Longer ones are dropped before the checksum, so that junk costs nothing.
MAX_REQUEST_BYTES: Final = 1280


def request(transaction: bytes) -> bytes:
    """The binding request that a Tailscale client sends; the transaction has 12 random bytes."""
    software = _ATTRIBUTE.pack(SOFTWARE, len(CLIENT_SOFTWARE)) + CLIENT_SOFTWARE
    length = len(software) + _FINGERPRINT_BYTES
    head = _HEADER.pack(BINDING_REQUEST, length, MAGIC_COOKIE, transaction) + software
    return head + _ATTRIBUTE.pack(FINGERPRINT, _WORD.size) + _fingerprint(head)


def parse_request(data: bytes) -> bytes:
    """The transaction of a Tailscale client's binding request; raises Malformed."""
    if not _HEADER.size <= len(data) <= MAX_REQUEST_BYTES:
        raise Malformed(f"not a STUN request: {len(data)} bytes")
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if (kind, cookie) != (BINDING_REQUEST, MAGIC_COOKIE) or length != len(data) - _HEADER.size:
        raise Malformed("not a STUN binding request")
    attributes = list(_attributes(data[_HEADER.size :]))
    if (SOFTWARE, CLIENT_SOFTWARE) not in attributes:
        raise Malformed("a STUN request of other software")
    if attributes[-1] != (FINGERPRINT, _fingerprint(data[:-_FINGERPRINT_BYTES])):
        raise Malformed("a STUN request without a right fingerprint at its end")
    return cast("bytes", transaction)


def response(transaction: bytes, address: IPv4Address | IPv6Address, port: int) -> bytes:
    """A binding success with this address; one of IPv4 inside IPv6 is given as IPv4."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    mask = _WORD.pack(MAGIC_COOKIE) + transaction
    hidden = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    value = _ADDRESS.pack(0, _FAMILY[address.version], port ^ (MAGIC_COOKIE >> 16)) + hidden
    attribute = _ATTRIBUTE.pack(XOR_MAPPED_ADDRESS, len(value)) + value
    return _HEADER.pack(BINDING_SUCCESS, len(attribute), MAGIC_COOKIE, transaction) + attribute


def answer(data: bytes, address: IPv4Address | IPv6Address, port: int) -> bytes | None:
    """What to send back to this address for this datagram; None for silence."""
    try:
        return response(parse_request(data), address, port)
    except Malformed:
        return None


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute; values are padded to whole words. Raises Malformed."""
    while data:
        if len(data) < _ATTRIBUTE.size:
            raise Malformed("a STUN attribute without a header")
        kind, length = _ATTRIBUTE.unpack_from(data)
        end = _ATTRIBUTE.size + (length + 3 & ~3)
        if end > len(data):
            raise Malformed("a STUN attribute longer than its message")
        yield kind, data[_ATTRIBUTE.size : _ATTRIBUTE.size + length]
        data = data[end:]


def _fingerprint(data: bytes) -> bytes:
    return _WORD.pack(crc32(data) ^ FINGERPRINT_XOR)


class StunProtocol(asyncio.DatagramProtocol):
    """Answers on one UDP socket: `loop.create_datagram_endpoint(StunProtocol, local_addr=...)`."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is ready."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def pause_writing(self) -> None:
        """asyncio: the kernel takes no more for now; answers are dropped, a client asks again."""
        self._paused = True

    def resume_writing(self) -> None:
        """asyncio: the kernel has room again."""
        self._paused = False

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """asyncio: a datagram came."""
        if self._transport is None or self._paused:
            return
        # A link-local source carries its zone behind a percent sign, which is not part of the address.
        reply = answer(data, ip_address(str(addr[0]).partition("%")[0]), int(addr[1]))
        if reply is not None:
            self._transport.sendto(reply, addr)
