"""The packets that a machine keeps, on each backend whose machines have a network of their own."""

import struct
import uuid
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from harness import ways
from harness.backends.base import Capability
from harness.backends.choose import choose
from harness.backends.machine import Machine
from harness.backends.network import Network
from harness.errors import AgentFailed
from harness.versions import resolve

pytestmark = pytest.mark.timeout(600)  # the first run makes an image

IPV4, UDP, HEAD, COOKED = 0x0800, 17, 24, 20
DISCARD = 9
KEPT_BYTES = 4 << 20  # capture.go
FLOOD = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    for _ in range(20000):
        out.sendto(bytes(400), (sys.argv[1], {DISCARD}))
"""


def packets_of(path: Path) -> list[tuple[int, bytes]]:
    """Protocol and content of each; the file is pcap with Linux's cooked heads."""
    raw = path.read_bytes()
    magic, *_, link = struct.unpack("<IHHiIII", raw[:HEAD])
    assert (magic, link) == (0xA1B2C3D4, 276)
    found, at = [], HEAD
    while at < len(raw):
        _, _, kept, _ = struct.unpack("<IIII", raw[at : at + 16])
        packet = raw[at + 16 : at + 16 + kept]
        found.append((struct.unpack(">H", packet[:2])[0], packet[COOKED:]))
        at += 16 + kept
    assert at == len(raw)
    return found


async def machines(network: Network) -> tuple[Machine, Machine, str]:
    a, b = await network.host("a"), await network.host("b")
    await b.agent("listen", host="", port=ways.ECHO_PORT)
    return a, b, await network.address_of(b)


async def test_what_came_and_went_is_there(segmented: Network) -> None:
    """A question and its answer, with their addresses; nothing of loopback."""
    a, b, target = await machines(segmented)
    assert await ways.source_seen(a, target) is not None
    assert await ways.source_seen(b, "127.0.0.1") == "127.0.0.1"
    for machine in (a, b):
        udp = [raw for kind, raw in packets_of(await machine.packets()) if kind == IPV4 and raw[9] == UDP]
        ways_there = {(str(ip_address(raw[12:16])), str(ip_address(raw[16:20]))) for raw in udp}
        source = await segmented.address_of(a)
        assert {(source, target), (target, source)} <= ways_there
        assert not any(address.startswith("127.") for pair in ways_there for address in pair)


async def test_only_the_last_are_kept(segmented: Network) -> None:
    """Much traffic does not fill the memory; it pushes out what was before."""
    a, _, target = await machines(segmented)
    if not a.can(Capability.HOST_PROGRAMS):
        pytest.skip("the image has nothing that sends much")
    assert await ways.source_seen(a, target) is not None
    done = await a.exec(["python3", "-c", FLOOD, target], timeout=timedelta(seconds=60))
    assert done.code == 0, done.output
    path = await a.packets()
    assert KEPT_BYTES * 0.9 < path.stat().st_size <= KEPT_BYTES + HEAD
    ports = {raw[22:24] for kind, raw in packets_of(path) if kind == IPV4 and raw[9] == UDP}
    assert ports == {struct.pack(">H", DISCARD)}


async def test_a_machine_on_the_hosts_network_has_none() -> None:
    """Its packets would be everybody's."""
    backend = choose("process")
    (release,) = resolve("newest")
    await backend.prepare([release])
    async with backend.network(uuid.uuid4().hex[:6]) as network:
        machine = await network.machine("a", release)
        with pytest.raises(AgentFailed, match="no network of its own"):
            await machine.packets()
    await backend.close()
