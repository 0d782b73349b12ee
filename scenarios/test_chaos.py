"""Whatever happens to the server, machines that know each other go on talking; when it is over, all is as it was."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from harness.backends.base import Capability
from harness.backends.network import Network
from harness.clients.base import Ability, Client
from harness.conditions import sees
from harness.errors import Missing
from harness.faults import cut_from
from harness.plugin import MakeTailnet
from harness.proxy.messages import To
from harness.reach import assert_reach
from harness.servers import faults
from harness.servers.base import AdminRefused, all_online, identity
from harness.servers.faults import SmallDisk, small_disk
from harness.servers.postgres import USER, Postgres, start_postgres
from harness.servers.process import ProcessServer
from harness.strict import unavailable
from harness.tailnet import Tailnet, all_pairs
from harness.wait import Budget
from harness.watch import watched

pytestmark = pytest.mark.server("process")

DAY = timedelta(days=1)
SLOW_SECONDS = 2.0


@dataclass(frozen=True)
class Stage:
    """What a fault may use, beside the tailnet."""

    tailnet: Tailnet
    disk: SmallDisk | None = None
    postgres: Postgres | None = None

    @property
    def server(self) -> ProcessServer:
        """The process."""
        return cast(ProcessServer, getattr(self.tailnet.server, "server", self.tailnet.server))


Happens = Callable[[Stage], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """What happens, and what it needs."""

    name: str
    happens: Happens
    needs: frozenset[str] = frozenset()
    writes: bool = True
    """Whether an administrator's change is taken meanwhile."""
    made: dict[str, Any] = field(default_factory=dict)
    """How the tailnet is made."""


def of_server(fault: Callable[[ProcessServer], AbstractAsyncContextManager[None]]) -> Happens:
    return lambda stage: fault(stage.server)


@contextlib.asynccontextmanager
async def disk_full(stage: Stage) -> AsyncIterator[None]:
    assert stage.disk is not None
    with stage.disk.full():
        yield


@contextlib.asynccontextmanager
async def database_killed(stage: Stage) -> AsyncIterator[None]:
    assert stage.postgres is not None
    await stage.postgres.kill()
    try:
        yield
    finally:
        await stage.postgres.start()


@contextlib.asynccontextmanager
async def database_hung(stage: Stage) -> AsyncIterator[None]:
    assert stage.postgres is not None
    stage.postgres.pause()
    try:
        yield
    finally:
        stage.postgres.resume()


def clock_off_by(difference: timedelta) -> Happens:
    @contextlib.asynccontextmanager
    async def stepped(stage: Stage) -> AsyncIterator[None]:
        async with faults.own_clock(stage.server) as clock:
            await stage.tailnet.until_nodes(all_online(len(stage.tailnet.clients)), Budget.RECONNECT)
            clock.off_by(difference)
            yield
            clock.off_by(timedelta(0))

    return stepped


def nobody_reaches(which: Callable[[ProcessServer], int]) -> Happens:
    """The packets of all clients to one of the server's ports are lost."""

    @contextlib.asynccontextmanager
    async def unreachable(stage: Stage) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for client in stage.tailnet.clients:
                await stack.enter_async_context(cut_from(client, which(stage.server)))
            yield

    return unreachable


@contextlib.asynccontextmanager
async def slow_link(stage: Stage) -> AsyncIterator[None]:
    async with stage.tailnet.proxy.delaying(lambda message: message.to is To.CLIENT, seconds=SLOW_SECONDS):
        yield


FILTER = "filter"
FAULTS = [
    Fault("stopped", of_server(faults.stopped), writes=False),
    Fault("killed", of_server(faults.killed), writes=False),
    Fault("frozen", of_server(faults.frozen), writes=False),
    Fault("disk full", disk_full, frozenset({"disk"}), writes=False),
    Fault("database killed", database_killed, frozenset({"postgres"}), writes=False),
    Fault("database hung", database_hung, frozenset({"postgres"}), writes=False),
    Fault("clock a day ahead", clock_off_by(DAY)),
    Fault("clock a day behind", clock_off_by(-DAY)),
    Fault("unreachable", nobody_reaches(lambda server: server.settings.port), frozenset({FILTER})),
    Fault(
        "relay unreachable", nobody_reaches(lambda server: server.settings.relay_port), frozenset({FILTER})
    ),
    Fault("slow link", slow_link, made={"proxied": True}),
    Fault("another certificate", of_server(faults.another_certificate), made={"with_tls": True}),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_packets_flow_and_all_is_as_before(fault: Fault, make_tailnet: MakeTailnet) -> None:
    """No pair that talks is silent for longer than a new flow takes; afterwards everybody is online, with their number,
    name and addresses, changes are told, and a newcomer is let in.
    """
    async with AsyncExitStack() as stack:
        stage = await set_up(fault, make_tailnet, stack)
        tailnet = stage.tailnet
        clients = await joined(tailnet)
        before = identity(await tailnet.server.nodes())
        pairs = [pair for pair in all_pairs(clients, (4,)) if pair[1].transport != "udp"]
        async with watched(pairs) as watch:
            begin = watch.now
            async with fault.happens(stage):
                await watch.go_on(Budget.HOLD)
                if fault.writes:
                    await tailnet.auth_key("alice")
            await tailnet.until_nodes(all_online(len(clients)), Budget.RECONNECT)
            for pair in pairs:
                assert watch.longest_silence(pair, since=begin) <= Budget.CLOSE.seconds, watch.told(pair)
        assert identity(await tailnet.server.nodes()) == before
        names = [await tailnet.given_name(client) for client in clients]
        await tailnet.server.rename_node((await tailnet.node_of(clients[0])).id, "renamed")
        newcomer = await tailnet.join("bob", clients[-1].release, name="newcomer")
        for client in clients:
            others = {"renamed", *names[1:]} - {await tailnet.given_name(client)}
            await client.until(sees([*others, "newcomer"]), Budget.RECONNECT)
        await assert_reach(dict.fromkeys(all_pairs([*clients, newcomer], (4,)), True))


@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault.name in ("disk full", "database killed")],
    ids=lambda f: f.name,
)
async def test_what_cannot_be_kept_is_refused_in_time(fault: Fault, make_tailnet: MakeTailnet) -> None:
    """An administrator reads why, within ten seconds, and the same wish works when it is over."""
    async with AsyncExitStack() as stack:
        stage = await set_up(fault, make_tailnet, stack)
        async with fault.happens(stage):
            with pytest.raises(AdminRefused):
                await stage.server.create_user("late")
        await stage.server.create_user("late")
        assert [user.name for user in await stage.server.users()] == ["late"]


async def set_up(fault: Fault, make_tailnet: MakeTailnet, stack: AsyncExitStack) -> Stage:
    """A tailnet, with what the fault breaks."""
    config: dict[str, Any] = {}
    disk = postgres = None
    try:
        if "disk" in fault.needs:
            disk = stack.enter_context(small_disk(megabytes=8))
            config = {"database.sqlite.path": str(disk.folder / "db.sqlite")}
        if "postgres" in fault.needs:
            postgres = await start_postgres(stack)
            postgres.create("chaos")
            names = {
                "host": postgres.host,
                "port": postgres.port,
                "user": USER,
                "pass": postgres.password,
                "name": "chaos",
            }
            config = {f"database.postgres.{name}": value for name, value in names.items()}
            config["database.type"] = "postgres"
    except Missing as problem:
        unavailable(str(problem))

    async def configured(network: Network) -> dict[str, Any]:
        if FILTER in fault.needs and Capability.BLOCK_UDP not in network.capabilities:
            pytest.skip("this backend's machines have no packet filter of their own")
        return config

    return Stage(await make_tailnet(config=configured, **fault.made), disk, postgres)


async def joined(tailnet: Tailnet) -> list[Client]:
    """The oldest and the newest client, who reach each other directly."""
    able = tailnet.able(Ability.OWN_ROOTS)
    clients = [await tailnet.join("alice", release) for release in (able[0], able[-1])]
    await tailnet.reach(clients)
    return clients
