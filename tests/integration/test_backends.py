"""Real clients on both backends, before any control server: they start, answer, die, come back and leave nothing."""

import json
import os
import signal
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import conditions
from harness.backends.base import Capability
from harness.backends.choose import NAMES, choose
from harness.backends.machine import Machine
from harness.backends.network import Backend, Network
from harness.clients.tailscaled import DAEMON, start_client
from harness.errors import BuildFailed, ExecTimedOut, Missing, NotAnswering, Unsupported
from harness.faults import cut, direct_blocked, paused
from harness.ports import free_port
from harness.strict import unavailable
from harness.versions import RELEASES, Release, resolve
from harness.wait import Budget

pytestmark = pytest.mark.timeout(1200)  # the first run builds clients

OLDEST, NEWEST = resolve("oldest")[0], resolve("newest")[0]

BRIEF = timedelta(seconds=5)

ENDS = [OLDEST, NEWEST]


@pytest.fixture(params=NAMES)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """Each backend that works here, ready for the oldest and the newest release."""
    try:
        chosen = choose(request.param)
        await chosen.prepare(ENDS)
    except (Missing, BuildFailed) as error:
        unavailable(f"{request.param} backend: {error}")
    yield chosen
    await chosen.close()


@pytest.fixture
async def network(backend: Backend) -> AsyncIterator[Network]:
    """A network of that backend."""
    async with backend.network(uuid.uuid4().hex[:6]) as entered:
        yield entered


async def address_of(machine: Machine) -> str:
    """Where the machine's echo is reached without a tailnet."""
    if not machine.can(Capability.OWN_PORTS):
        return "127.0.0.1"
    listed = await machine.exec(["ip", "-4", "-o", "addr", "show", "eth0"], timeout=BRIEF)
    return listed.stdout.split()[3].partition("/")[0]


async def ask(
    sender: Machine, transport: str, address: str, port: int, *, within: float = 2
) -> dict[str, Any]:
    """One probe outside any tailnet."""
    where = {"network": transport, "address": address, "port": port}
    seen = await sender.agent("probe", **where, timeout_ms=round(within * 1000), socks="", nonce="n1")
    return dict(seen)


async def two(network: Network) -> tuple[Machine, Machine, str, int]:
    """Two machines, and where the second one answers echoes."""
    sender, target = await network.machine("a", NEWEST), await network.machine("b", NEWEST)
    host = "" if target.can(Capability.OWN_PORTS) else "127.0.0.1"
    port = (await target.agent("listen", host=host, port=0))["port"]
    return sender, target, await address_of(target), port


@pytest.mark.parametrize("release", ENDS, ids=str)
async def test_a_fresh_client_wants_a_login(network: Network, release: Release) -> None:
    """tailscaled starts, says its version and that nobody is logged in."""
    client = await start_client(await network.machine("a", release), release)
    status = await client.until(conditions.needs_login(), Budget.DAEMON)
    assert status.version.startswith(release.version)
    assert status.tun is network_has(network, Capability.TUN)
    await client.close()


def network_has(network: Network, capability: Capability) -> bool:
    return capability in network.capabilities


async def test_a_change_of_preferences_wakes_the_waiter(network: Network) -> None:
    """The notification stream works: a change is told without waiting for the next look."""
    client = await start_client(await network.machine("a", OLDEST), OLDEST)
    await client.until(conditions.needs_login(), Budget.DAEMON)
    assert (await client.set("--hostname=renamed")).ok
    assert (await client.prefs())["Hostname"] == "renamed"
    await client.close()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_an_echo_tells_who_answers(network: Network, transport: str) -> None:
    """The answer has the target's name, the question's nonce and the sender's address."""
    sender, target, address, port = await two(network)
    seen = await ask(sender, transport, address, port)
    assert seen["reached"], seen
    assert (seen["answer"]["name"], seen["answer"]["nonce"]) == (target.name, "n1")
    assert seen["answer"]["source"].rpartition(":")[0] == await address_of(sender)


async def test_a_closed_port_is_refused(network: Network) -> None:
    """Refused is told apart from silence."""
    sender, _, address, port = await two(network)
    seen = await ask(sender, "tcp", address, port + 1 if port < 65535 else port - 1)
    assert (seen["reached"], seen["kind"]) == (False, "refused")


async def test_a_command_that_hangs_is_killed_with_its_children(network: Network) -> None:
    """Nothing of a timed-out command is left."""
    machine = await network.machine("a", NEWEST)
    mark = f"31{os.getpid()}"
    with pytest.raises(ExecTimedOut, match=r"killed after 0.3 s; it said: started"):
        await machine.exec(
            ["sh", "-c", f"echo started; sleep {mark} & sleep {mark}"], timeout=timedelta(seconds=0.3)
        )
    left = await machine.exec(
        ["sh", "-c", f"cat /proc/*/cmdline | tr '\\0' ' ' | grep -c 'sleep {mark}$'"], timeout=BRIEF
    )
    assert left.stdout.strip() == "0"


async def test_a_commands_exit_code_and_streams_are_told(network: Network) -> None:
    """As a shell would show them."""
    machine = await network.machine("a", NEWEST)
    done = await machine.exec(["sh", "-c", "cat; echo err >&2; exit 7"], timeout=BRIEF, stdin="in")
    assert (done.code, done.stdout, done.stderr) == (7, "in", "err\n")


@pytest.mark.parametrize("release", ENDS, ids=str)
async def test_a_killed_daemon_comes_back_with_its_state(network: Network, release: Release) -> None:
    """SIGKILL ends it as such, reads fail meanwhile, and the same log id serves afterwards."""
    machine = await network.machine("a", release)
    client = await start_client(machine, release)
    await client.until(conditions.needs_login(), Budget.DAEMON)
    before = log_id(machine.data)
    await client.kill()
    assert await machine.ended(DAEMON) == -signal.SIGKILL
    with pytest.raises(NotAnswering):
        await client.read()
    await client.start()
    await client.until(conditions.needs_login(), Budget.DAEMON)
    assert log_id(machine.data) == before
    await client.close()


def log_id(data: Path) -> str:
    """Drawn at the first start and kept beside the state: a client's BackendLogID."""
    return str(json.loads((data / "state" / "tailscaled.log.conf").read_text())["PrivateID"])


async def test_a_machine_that_lost_power_starts_again(network: Network) -> None:
    """Everything ends at once, and a second life has a new agent and the old state."""
    machine = await network.machine("a", OLDEST)
    client = await start_client(machine, OLDEST)
    first = (await machine.agent("hello"))["instance"]
    await machine.kill()
    assert not machine.is_running(DAEMON)
    await machine.start()
    await client.start()
    await client.until(conditions.needs_login(), Budget.DAEMON)
    assert (await machine.agent("hello"))["instance"] != first
    await client.close()


async def test_a_client_answers_where_it_was_told_to_after_a_power_cut(network: Network) -> None:
    """A port that it listens at is its own in every life of the machine."""
    sender, machine = await network.machine("a", NEWEST), await network.machine("b", NEWEST)
    client = await start_client(machine, NEWEST)
    port = free_port("127.0.0.1")
    await client.listen(port)
    await client.close()
    await machine.kill()
    await machine.start()
    await client.start()
    seen = await ask(sender, "tcp", await address_of(machine), port)
    assert seen["reached"], seen
    assert seen["answer"]["name"] == "b"
    await client.close()


async def test_a_paused_client_stands_still_and_goes_on(network: Network) -> None:
    """Its commands hang while it is paused, and the daemon never ended."""
    machine = await network.machine("a", NEWEST)
    client = await start_client(machine, NEWEST)
    argv = [machine.program("tailscale"), "--socket", machine.path("tailscaled.sock"), "status"]
    async with paused(machine):
        with pytest.raises(ExecTimedOut):
            await machine.exec(argv, timeout=timedelta(seconds=0.5))
    await client.until(conditions.needs_login(), Budget.DAEMON)
    assert machine.is_running(DAEMON)
    await client.close()


async def test_blocked_udp_is_dropped_and_comes_back(network: Network) -> None:
    """TCP goes on; the rules are gone at the end."""
    sender, target, address, port = await two(network)
    client = await start_client(target, NEWEST)
    if not target.can(Capability.BLOCK_UDP):
        async with direct_blocked(client):
            assert "TS_DEBUG_ALWAYS_USE_DERP" in client.env
        assert "TS_DEBUG_ALWAYS_USE_DERP" not in client.env
        await client.close()
        return
    async with direct_blocked(client):
        assert not (await ask(sender, "udp", address, port, within=0.5))["reached"]
        assert (await ask(sender, "tcp", address, port))["reached"]
    assert (await ask(sender, "udp", address, port))["reached"]
    await client.close()


async def test_a_cut_machine_is_silent_both_ways(network: Network) -> None:
    """No refusal either: packets vanish, until the context ends. Without a packet filter it is refused by name."""
    sender, target, address, port = await two(network)
    client = await start_client(target, NEWEST)
    if not network_has(network, Capability.BLOCK_UDP):
        with pytest.raises(Unsupported, match="lacks block-udp"):
            await cut(client).__aenter__()
        await client.close()
        return
    async with cut(client):
        seen = await ask(sender, "tcp", address, port, within=0.5)
        assert (seen["reached"], seen["kind"]) == (False, "timeout")
    assert (await ask(sender, "tcp", address, port))["reached"]
    await client.close()


async def test_leaving_a_network_leaves_nothing(backend: Backend) -> None:
    """No process, no container, no folder."""
    async with backend.network("gone") as network:
        machine = await network.machine("a", NEWEST)
        data = machine.data
        await machine.spawn("sleeper", ["sleep", f"32{os.getpid()}"])
    assert not data.exists()
    assert f"32{os.getpid()}" not in running_commands()


def running_commands() -> str:
    """The command lines of every process of this host, containers' among them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it ended meanwhile
    return "\n".join(lines)


def test_the_oldest_release_is_the_promised_floor() -> None:
    """The matrix above starts where the server's promise does."""
    assert RELEASES[0].capability == 113
