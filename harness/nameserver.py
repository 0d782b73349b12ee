"""A DNS server of the harness's own, on the host, for clients that are told to ask one.

It knows what a scenario tells it and keeps every question, so that a test can say who was asked and who was not.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, cast

from harness.ports import free_port

TYPES: Final = {1: IPv4Address, 28: IPv6Address}
NO_SUCH_NAME: Final = 3
TTL_SECONDS: Final = 1
QUESTION_AT: Final = 12


class Nameserver(asyncio.DatagramProtocol):
    """Answers A and AAAA from `hosts` (name in lower case to address); any other name does not exist.

    `questions` are the names that it was asked, in order, without their final dot; `askers` who asked for which.
    """

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self.hosts = dict(hosts)
        self.questions: list[str] = []
        self.askers: list[tuple[str, str]] = []
        self.address = ""
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own are none by class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and len(data) > QUESTION_AT:
            self._transport.sendto(self.answer(data), addr)
            self.askers.append((self.questions[-1], addr[0]))

    def answer(self, query: bytes) -> bytes:
        """The answer to one question, which is remembered. Layout: RFC 1035, section 4.1."""
        name, end = _name(query)
        kind = int.from_bytes(query[end : end + 2], "big")
        self.questions.append(name)
        found = self.hosts.get(name)
        code = 0 if found is not None else NO_SUCH_NAME
        address = ip_address(found) if found is not None else None
        answers = b""
        if address is not None and isinstance(address, TYPES.get(kind, ())):
            head = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\x00\x01" + TTL_SECONDS.to_bytes(4, "big")
            answers = head + len(address.packed).to_bytes(2, "big") + address.packed
        flags = bytes([0x84 | (query[2] & 1), 0x80 | code])  # an authoritative answer; recursion as asked
        counts = b"\x00\x01" + (b"\x00\x01" if answers else b"\x00\x00") + b"\x00\x00\x00\x00"
        return query[:2] + flags + counts + query[QUESTION_AT : end + 4] + answers


def _name(query: bytes) -> tuple[str, int]:
    """The name that is asked for, in lower case, and where it ends."""
    labels, at = [], QUESTION_AT
    while at < len(query) and (size := query[at]):
        labels.append(query[at + 1 : at + 1 + size].decode("ascii", "replace").lower())
        at += size + 1
    return ".".join(labels), at + 1


async def start_nameserver(
    stack: AsyncExitStack, host: str, hosts: Mapping[str, str], *, port: int = 0
) -> Nameserver:
    """Run one on this address until the stack unwinds; `address` is how clients are told of it."""
    port = port or free_port(host, udp=True)
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Nameserver(hosts), local_addr=(host, port)
    )
    stack.callback(transport.close)
    server.address = f"{host}:{port}"
    return server
