"""Two routers of one LAN that stand in for each other, with packets to a host on it that runs no client.

What carries a packet is told by the address that the host sees. With fake clients: tests/integration/test_failover.py.
"""

import asyncio
import contextlib
import json
import os
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from harness.backends.base import Capability
from harness.backends.segment import random_private
from harness.clients.base import Ability, Client
from harness.conditions import running
from harness.faults import cut, paused
from harness.lab.faults import one_way_cut
from harness.plugin import MakeTailnet
from harness.tailnet import Tailnet
from harness.wait import Budget
from harness.ways import Followed, Stream, answer_on, followed, stream, until_seen_as

pytestmark = [pytest.mark.needs(Capability.SEGMENTS), pytest.mark.timeout(900)]

PROBES = {"node.routes.ha.probe_interval": "2s", "node.routes.ha.probe_timeout": "1s"}

BOUND_S = 12.0
"""A silent router is found by the next two probes of 2 s + 1 s, and one that is gone is offline 2 s after its stream
ended. The rest is for the map and the new path."""

GRACE_S = 8.0
"""So much longer a server waits that does not run in this process."""

AFTER_S = 6.0
"""How long nothing may move once the first router is back: three probes."""

RUNS = int(os.environ.get("FAILOVER_RUNS", "1"))
"""How often each fault is measured; figures for people come from 20."""


@dataclass(eq=False)
class Place:
    """Two routers, those who look on, and the host behind the routers."""

    tailnet: Tailnet
    routers: list[Client]
    viewers: list[Client]
    host: str
    prefix: str
    inside: dict[str, str] = field(default_factory=dict)
    """The routers' addresses on the LAN, by name."""

    @property
    def bound(self) -> float:
        """How long it may take until another router serves, in seconds."""
        return BOUND_S if self.tailnet.server.name == "inprocess" else BOUND_S + GRACE_S

    async def approve(self, router: Client, *routes: str) -> None:
        node = await self.tailnet.node_of(router)
        await self.tailnet.server.approve_routes(node.id, routes)

    async def primary(self) -> Client:
        """The router through which the route goes, as administrators see it."""
        for router in self.routers:
            if self.prefix in (await self.tailnet.node_of(router)).serving:
                return router
        raise AssertionError("nobody serves the route")

    async def goes_through(self, router: Client, *, budget: Budget = Budget.REACH) -> None:
        """Everybody's packets do."""
        await self.tailnet.each(
            self.viewers, lambda v: until_seen_as(v, self.host, self.inside[router.name], budget=budget)
        )

    def other(self, router: Client) -> Client:
        return next(each for each in self.routers if each is not router)


async def two_routers(tailnet: Tailnet) -> Place:
    """The oldest and the newest release on either side."""
    releases = tailnet.able(Ability.LOGOUT)
    lan = await tailnet.network.segment("lan", ipv4=random_private())
    host = await tailnet.network.host("host", on=[lan])
    await answer_on(host)
    place = Place(tailnet, [], [], await tailnet.network.address_of(host), str(lan.ipv4))
    for number, release in enumerate((releases[0], releases[-1])):
        machine = await tailnet.network.machine(
            f"router{number}", release, on=[tailnet.network.internet, lan]
        )
        router = await tailnet.join(
            "alice", release, machine=machine, extra=[f"--advertise-routes={place.prefix}"]
        )
        place.routers.append(router)
        place.inside[router.name] = await tailnet.network.address_of(machine, lan)
        await place.approve(router, place.prefix)
        place.viewers.append(
            await tailnet.join("bob", release, name=f"viewer{number}", extra=["--accept-routes"])
        )
    return place


@pytest_asyncio.fixture(loop_scope="session")
async def place(make_tailnet: MakeTailnet) -> Place:
    made = await two_routers(await make_tailnet(config=PROBES))
    await made.goes_through(made.routers[0], budget=Budget.PATH)
    return made


@contextlib.asynccontextmanager
async def killed(place: Place, client: Client) -> AsyncIterator[None]:
    """As by a power cut, and started again afterwards."""
    await client.kill()
    yield
    await client.start()
    await client.until(running(), Budget.RECONNECT)


@contextlib.asynccontextmanager
async def unplugged(place: Place, client: Client) -> AsyncIterator[None]:
    """Its cable to the internet is pulled; the one to the LAN is not."""
    network = place.tailnet.network
    await network.detach(client.machine, network.internet)
    yield
    await network.attach(client.machine, network.internet)
    await client.until(running(), Budget.RECONNECT)


FAULTS: dict[str, Callable[[Place, Client], AbstractAsyncContextManager[None]]] = {
    "killed": killed,
    "partitioned": lambda place, client: cut(client),
    "unplugged": unplugged,
    # Its peers reach it, and it carries packets; only the server's do not arrive there.
    "out of control": lambda place, client: one_way_cut([place.tailnet.network.host_address], client.machine),
    "hung": lambda place, client: paused(client.machine),
}


@dataclass(frozen=True, slots=True)
class Failover:
    """One of them: seconds until the first packet through the other router, the longest silence, a stream's fate."""

    fault: str
    seconds: float
    silence: float
    stream: Stream


async def fail_over(place: Place, name: str) -> Failover:
    """The primary fails; everybody goes through the other one, and stays there when the first is back."""
    before = await place.primary()
    after = place.other(before)
    await place.goes_through(before)
    async with contextlib.AsyncExitStack() as stack:
        ways = [await stack.enter_async_context(followed(v, place.host)) for v in place.viewers]
        fate = asyncio.create_task(stream(place.viewers[0], place.host, seconds=place.bound + 8))
        await asyncio.sleep(1)
        since = ways[0].now
        if name == "drained":
            await place.approve(before)
            await place.goes_through(after)
            await place.approve(before, place.prefix)
        else:
            async with FAULTS[name](place, before):
                await place.goes_through(after)
        back = ways[0].now
        await asyncio.sleep(AFTER_S)
        for way in ways:
            place.tailnet.history.record("ways", fault=name, told=way.told())
            assert way.sources(since=back) == [place.inside[after.name]], way.told()
            assert max(map(way.sources(since=since).count, way.sources(since=since))) == 1, way.told()
        assert await place.primary() is after
        seconds, silence = _measured(ways, place.inside[after.name], since)
        return Failover(name, seconds, silence, await fate)


def _measured(ways: list[Followed], source: str, since: float) -> tuple[float, float]:
    """Of the viewer who waited longest."""
    arrived = [way.arrived_after(source, since=since) for way in ways]
    assert None not in arrived, [way.told() for way in ways]
    return max(filter(None, arrived)), max(way.silent_for(since=since) for way in ways)


@pytest.mark.parametrize("fault", [*FAULTS, "drained"])
async def test_another_router_takes_over_and_keeps_the_route(place: Place, fault: str) -> None:
    """Within a bound, without going back and forth; measured, and what became of a TCP connection is told."""
    runs = [await fail_over(place, fault) for _ in range(RUNS)]
    times = sorted(run.seconds for run in runs)
    report = {
        "fault": fault,
        "server": place.tailnet.server.name,
        "p50_s": statistics.median(times),
        "p95_s": times[min(len(times) - 1, round(0.95 * len(times)))],
        "runs": [asdict(run) for run in runs],
    }
    written = Path("artifacts") / "failover" / f"{fault.replace(' ', '-')}.json"
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(report, indent=2))
    assert times[-1] < place.bound, report


async def test_a_flapping_router_does_not_take_the_route_along(place: Place) -> None:
    """It comes and goes; the route moves once."""
    first, second = place.routers
    async with followed(place.viewers[0], place.host) as way:
        since = way.now
        await asyncio.sleep(1)
        for _ in range(3):
            await first.down()
            await place.goes_through(second)
            await first.reconnect()
            await first.until(running(), Budget.RECONNECT)
            await asyncio.sleep(2)
        assert way.sources(since=since) == [place.inside[first.name], place.inside[second.name]], way.told()


@contextlib.asynccontextmanager
async def down(client: Client) -> AsyncIterator[None]:
    """Its user says `tailscale down`, and `up` afterwards."""
    await client.down()
    yield
    await client.reconnect()
    await client.until(running(), Budget.RECONNECT)


@pytest.mark.parametrize("gone", [down, cut])
async def test_both_gone_and_one_back(
    place: Place, gone: Callable[[Client], AbstractAsyncContextManager[None]]
) -> None:
    """Whichever comes back first serves, and the other does not take it from there."""
    first, second = place.routers
    async with gone(first):
        await place.goes_through(second)
        async with gone(second):
            await asyncio.sleep(6)
        await place.goes_through(second, budget=Budget.RECONNECT)
    await asyncio.sleep(AFTER_S)
    await place.goes_through(second)
    assert await place.primary() is second


async def test_a_restart_of_the_server_moves_no_packet(place: Place) -> None:
    """Neither while it is away nor when it is back, although the router with the lower number could serve again."""
    first, second = place.routers
    await first.down()
    await place.goes_through(second)
    await first.reconnect()
    await first.until(running(), Budget.RECONNECT)
    async with followed(place.viewers[0], place.host) as way:
        since = way.now
        await place.tailnet.server.stop()
        await asyncio.sleep(2)
        await place.tailnet.server.start()
        await place.tailnet.changes(place.viewers, running(), Budget.RECONNECT)
        await asyncio.sleep(AFTER_S)
        assert way.sources(since=since) == [place.inside[second.name]], way.told()
        assert way.silent_for(since=since) < 2, way.told()
