"""A tailnet of real clients, whatever happens to it: after every step those who are connected see whom the policy lets
them see, reach whom it lets them reach, and the server knows who is there.

The rules are those that fakes go by, a hundred times faster, in tests/property/test_live_tailnet.py. Only
`nox -s live` runs it; HARNESS_EXAMPLES says how many tailnets.
"""

import asyncio
import os
from collections.abc import Awaitable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import initialize, invariant, run_state_machine_as_test

from harness.artifacts import Evidence, collect, folder_for
from harness.backends.base import Capability
from harness.backends.network import Backend
from harness.clients.base import Ability
from harness.clients.start import abilities
from harness.generated.live import PORT, LiveClients
from harness.generated.rules import TailnetRules
from harness.plugin import check_needs
from harness.pool import Pool
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.versions import Release

EXAMPLES = int(os.environ.get("HARNESS_EXAMPLES", "10"))
STEPS = 12
EPHEMERAL = timedelta(minutes=5)

pytestmark = [
    pytest.mark.needs(Capability.TUN),
    pytest.mark.timeout(0),  # a shorter failure is looked for as long as hypothesis allows, five minutes
    pytest.mark.skipif(not os.environ.get("HARNESS_LIVE"), reason="takes minutes: nox -s live runs it"),
]


@dataclass
class Ground:
    """What all examples share."""

    runner: asyncio.Runner
    pool: Pool
    releases: list[Release]
    request: pytest.FixtureRequest

    async def keep(self, live: LiveClients) -> None:
        folder = folder_for(self.request.config.getoption("--artifacts"), self.request.node.nodeid)
        sources: list[Evidence] = [live.tailnet.server, *live.clients]
        await collect(folder, sources, history=live.tailnet.history, rerun="nox -s live")


@pytest.fixture
def ground(
    request: pytest.FixtureRequest, backend: Backend, releases: tuple[Release, ...]
) -> Iterator[Ground]:
    """A pool on one network."""
    check_needs(request.node, backend)
    able = [release for release in releases if Ability.LOGOUT in abilities(release)]
    if not able:
        pytest.skip("none of the selected clients can log out")

    async def open_pool(stack: AsyncExitStack) -> Pool:
        network = await stack.enter_async_context(backend.network(f"live-{os.getpid()}"))
        return await stack.enter_async_context(Pool(network, ports=[PORT]))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield Ground(runner, runner.run(open_pool(stack)), able, request)
        finally:
            runner.run(stack.aclose())


def test_real_clients_are_always_what_the_policy_says(ground: Ground) -> None:
    """Joining, leaving, expiry, names, tags, policies, restarts and partitions, in any order."""

    class LiveTailnet(TailnetRules):
        live: LiveClients | None = None

        def run(self, work: Awaitable[Any]) -> Any:
            async def done() -> Any:
                return await work

            return ground.runner.run(done())

        @initialize()
        def start(self) -> None:
            settled = local_settings(ground.pool.network.host_address, ephemeral_timeout=EPHEMERAL)
            self.server = InProcessServer(settled)
            self.live = LiveClients(self.server, ground.pool, ground.releases)
            self.run(self.live.open())

        def teardown(self) -> None:
            if self.live is not None:
                self.run(self.live.close())

        @property
        def _drive(self) -> LiveClients:
            assert self.live is not None
            return self.live

        async def _joins(self, machine: int, user: str, *, tags: tuple[str, ...], ephemeral: bool) -> None:
            await self._drive.joins(machine, user, tags=tags, ephemeral=ephemeral)

        async def _comes_back(self, machine: int) -> None:
            await self._drive.comes_back(machine)

        async def _goes_away(self, machine: int) -> None:
            await self._drive.goes_away(machine)

        async def _logs_out(self, machine: int) -> None:
            await self._drive.logs_out(machine)

        async def _restarts(self) -> None:
            await self._drive.restarts()

        def _cut_off(self, machine: int, *, for_long: bool) -> AbstractAsyncContextManager[None]:
            return self._drive.cut_off(machine, for_long=for_long)

        @invariant()
        def all_is_well(self) -> None:
            if self.live is not None and self.live.clients:
                self.run(self._checked(self.live))

        async def _checked(self, live: LiveClients) -> None:
            complaints = await live.settled(self.policy)
            if complaints:
                await ground.keep(live)
            assert not complaints, "\n".join(complaints)

    run_state_machine_as_test(
        LiveTailnet,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        ),
    )
