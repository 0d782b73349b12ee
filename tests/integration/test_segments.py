"""LANs beside the internet, on each backend that has them: who is on one, who forwards between two, and who moves."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from harness import ways
from harness.backends.base import Capability
from harness.backends.choose import choose
from harness.backends.machine import Machine
from harness.backends.network import Network
from harness.backends.segment import Segment, random_private, random_public, random_ula
from harness.errors import HarnessError, Missing, Unsupported
from harness.runs import run_name
from harness.strict import unavailable

pytestmark = pytest.mark.timeout(600)  # the first run makes an image

BRIEF = timedelta(seconds=5)
source_seen = partial(ways.source_seen, within=2)


async def answering(network: Network, name: str, *on: Segment) -> Machine:
    """A machine without a client that answers echoes."""
    machine = await network.host(name, on=on)
    await machine.agent("listen", host="", port=ways.ECHO_PORT)
    return machine


async def default_route(machine: Machine, via: str) -> None:
    family = f"-{ip_address(via).version}"
    done = await machine.exec(["ip", family, "route", "replace", "default", "via", via], timeout=BRIEF)
    assert done.code == 0, done.output


async def test_a_lan_is_apart_from_the_internet(segmented: Network) -> None:
    """Two machines on it reach each other; from the internet and from another LAN nobody does."""
    lan = await segmented.segment("lan", ipv4=random_private())
    other = await segmented.segment("other", ipv4=random_private())
    a, b = await answering(segmented, "a", lan), await answering(segmented, "b", lan)
    outsider, stranger = await segmented.host("c"), await segmented.host("d", on=[other])
    target = await segmented.address_of(b)
    assert lan.ipv4 is not None
    assert ip_address(target) in lan.ipv4
    assert await source_seen(a, target) == await segmented.address_of(a)
    for who in (outsider, stranger):
        assert await source_seen(who, target, within=0.5) is None


async def test_a_machine_on_two_segments_forwards(segmented: Network) -> None:
    """What it forwards arrives with the sender's own address, IPv4 and IPv6, across two LANs."""
    near = await segmented.segment("near", ipv4=random_private(), ipv6=random_ula())
    far = await segmented.segment("far", ipv4=random_public(), ipv6=random_ula())
    a, b = await answering(segmented, "a", near), await answering(segmented, "b", far)
    router = await segmented.host("router", on=[near, far])
    await default_route(a, await segmented.address_of(router, near))
    await default_route(b, await segmented.address_of(router, far))
    await default_route(a, await segmented.address_of(router, near, version=6))
    await default_route(b, await segmented.address_of(router, far, version=6))
    for version in (4, 6):
        target = await segmented.address_of(b, version=version)
        assert await source_seen(a, target) == await segmented.address_of(a, version=version)


async def test_the_host_reaches_into_a_lan_by_a_router(segmented: Network) -> None:
    """What serves at the host's address answers a machine whose packets come through a router as they are."""
    lan = await segmented.segment("lan", ipv4=random_private())
    machine, router = (
        await segmented.host("a", on=[lan]),
        await segmented.host("router", on=[lan, segmented.internet]),
    )
    assert lan.ipv4 is not None
    await segmented.route(lan.ipv4, via=await segmented.address_of(router, segmented.internet))
    await default_route(machine, await segmented.address_of(router, lan))
    seen: list[str] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[0])
        writer.close()

    server = await asyncio.start_server(answer, segmented.host_address, 0)
    port = server.sockets[0].getsockname()[1]
    where = {"network": "tcp", "address": segmented.host_address, "port": port, "socks": "", "nonce": "n"}
    await machine.agent("probe", **where, timeout_ms=2000)
    server.close()
    assert seen == [await segmented.address_of(machine)]


async def test_a_machine_moves_from_one_lan_to_another(segmented: Network) -> None:
    """It has an address of the new one, is reached there, and no longer at the old one."""
    home, cafe = (
        await segmented.segment("home", ipv4=random_private()),
        await segmented.segment("cafe", ipv4=random_private()),
    )
    mover = await answering(segmented, "mover", home)
    at_home, at_cafe = await segmented.host("x", on=[home]), await segmented.host("y", on=[cafe])
    before = await segmented.address_of(mover, home)
    assert await source_seen(at_home, before) is not None
    await segmented.detach(mover, home)
    await segmented.attach(mover, cafe)
    assert await source_seen(at_cafe, await segmented.address_of(mover, cafe)) is not None
    assert await source_seen(at_home, before, within=0.5) is None
    with pytest.raises(HarnessError):
        await segmented.address_of(mover, home)


async def test_an_address_stays_through_a_power_cut(segmented: Network) -> None:
    """A machine that comes back is on the same segments, under the same addresses."""
    lan = await segmented.segment("lan", ipv4=random_private(), ipv6=random_ula())
    machine, other = (
        await segmented.host("a", on=[lan, segmented.internet]),
        await segmented.host("b", on=[lan]),
    )
    before = [await segmented.address_of(machine, segment) for segment in (lan, segmented.internet)]
    await machine.kill()
    await machine.start()
    await machine.agent("listen", host="", port=ways.ECHO_PORT)
    assert [await segmented.address_of(machine, segment) for segment in (lan, segmented.internet)] == before
    assert await source_seen(other, before[0]) is not None


async def test_a_lan_may_have_ipv6_alone(segmented: Network) -> None:
    """No machine on it has an IPv4 address."""
    lan = await segmented.segment("lan", ipv6=random_ula())
    a, b = await answering(segmented, "a", lan), await answering(segmented, "b", lan)
    assert await source_seen(a, await segmented.address_of(b, version=6)) is not None
    listed = await a.exec(["ip", "-4", "-o", "addr", "show", "scope", "global"], timeout=BRIEF)
    assert listed.stdout == ""
    with pytest.raises(HarnessError, match="has no IPv4 address"):
        await segmented.address_of(a)


async def test_without_segments_they_are_refused_by_name() -> None:
    """The process backend says what it lacks."""
    backend = choose("process")
    assert Capability.SEGMENTS not in backend.capabilities
    async with backend.network("none") as network:
        with pytest.raises(Unsupported, match="lacks segments"):
            await network.segment("lan", ipv4=random_private())


CRASHES = """
import asyncio, os, signal, sys
from datetime import timedelta
from functools import partial
from harness.backends.choose import choose

async def crash():
    backend = choose("netns")
    async with backend.network("crash") as network:
        machine = await network.host("a")
        await machine.spawn("sleeper", ["sleep", sys.argv[1]])
        print(machine.data.parent, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(crash())
"""


async def test_what_a_crash_of_netns_left_is_removed_by_the_next_run() -> None:
    """Programs end with their run; its namespaces, cable and folder go when another run begins, and only its."""
    try:
        backend = choose("netns")
    except Missing as error:
        unavailable(f"netns backend: {error}")
    await backend.prepare([])
    mark = f"33{os.getpid()}"
    async with backend.network("alive") as alive:
        bystander = await alive.host("b")
        crashed = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", CRASHES, mark], stdout=subprocess.PIPE, text=True
        )
        folder = Path(crashed.stdout.strip())
        run = "-".join(folder.name.split("-")[:3])
        assert folder.name.startswith("hsh-")
        assert left_of(run)
        async with backend.network("next"):
            assert not left_of(run)
            assert not folder.exists()
        assert (await bystander.agent("hello"))["name"] == "b"
        assert bystander.data.exists()
        assert len(left_of(run_name())) == 2, "the switch and the bystander of the run that goes on"
    await asyncio.to_thread(until_ended, f"sleep {mark}")


def left_of(run: str) -> list[str]:
    """The namespaces of a run."""
    return [path.name for path in Path("/run/netns").glob(f"{run}*")]


def until_ended(command: str) -> None:
    """Raise AssertionError when it still runs after ten seconds: an agent gives its programs three, twice."""
    deadline = time.monotonic() + 10
    while any(command in line for line in commands()):
        assert time.monotonic() < deadline, f"{command} still runs"
        time.sleep(0.05)


def commands() -> Iterator[str]:
    """The command lines of this host's processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


async def test_an_account_of_one_machine_is_nobodys_on_another(segmented: Network) -> None:
    """What a machine writes to its system stays there: accounts, their homes, the resolver."""
    a, b = await segmented.host("a"), await segmented.host("b")
    add = "useradd -m hs-visitor || adduser -D hs-visitor"  # Debian's, and that of the official images
    made = await a.exec(["sh", "-c", add], timeout=BRIEF)
    assert made.code == 0, made.output
    await a.exec(["sh", "-c", "echo nameserver 192.0.2.53 >/etc/resolv.conf"], timeout=BRIEF)
    look = ["sh", "-c", "ls -d /home/hs-visitor; grep -c 192.0.2.53 /etc/resolv.conf; id -un hs-visitor"]
    assert (await a.exec(look, timeout=BRIEF)).stdout.split() == ["/home/hs-visitor", "1", "hs-visitor"]
    assert (await b.exec(look, timeout=BRIEF)).stdout.split() == ["0"]
    assert not Path("/home/hs-visitor").exists()
    assert "hs-visitor" not in Path("/etc/passwd").read_text()
