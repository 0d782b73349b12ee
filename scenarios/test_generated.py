"""Tailnets that nobody thought of: drawn users, tags, releases, routers and policies, each built on real clients and
measured pair by pair, against the plain reading of its policy.

HARNESS_EXAMPLES says how many; `nox -s generated` runs the level that must be green.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings

from harness.artifacts import Evidence, collect, folder_for
from harness.backends.base import Capability
from harness.backends.network import Backend
from harness.clients.base import Ability
from harness.clients.start import abilities
from harness.generated.build import Built, open_lans
from harness.generated.plans import PORTS, Plan, plans
from harness.generated.search import Keep, Search
from harness.generated.verdicts import Outcome
from harness.plugin import Publish, check_needs
from harness.pool import Pool
from harness.versions import Release

pytestmark = [
    pytest.mark.needs(Capability.TUN),
    pytest.mark.needs(Capability.SEGMENTS),
    pytest.mark.timeout(0),  # hypothesis limits the time of a search for a shorter failure to five minutes
]

EXAMPLES = int(os.environ.get("HARNESS_EXAMPLES", "8"))


@pytest.fixture
def search(
    request: pytest.FixtureRequest, backend: Backend, releases: tuple[Release, ...]
) -> Iterator[Search]:
    """A pool of clients on one network."""
    check_needs(request.node, backend)
    able = [release for release in releases if Ability.NETMAP in abilities(release)]
    if not able:
        pytest.skip("none of the selected clients shows its netmap")
    folder = folder_for(request.config.getoption("--artifacts"), request.node.nodeid)
    rerun = f"nox -s generated -- --client-versions={','.join(map(str, able))}"

    async def keep(made: Built, outcome: Outcome) -> None:
        sources: list[Evidence] = [made.tailnet.server, *made.clients.values()]
        await collect(folder, sources, history=made.tailnet.history, rerun=rerun)
        (folder / "outcome.txt").write_text(outcome.told())

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(_open(stack, runner, backend, able, keep))
        finally:
            runner.run(stack.aclose())


async def _open(
    stack: AsyncExitStack, runner: asyncio.Runner, backend: Backend, able: list[Release], keep: Keep
) -> Search:
    network = await stack.enter_async_context(backend.network(f"generated-{os.getpid()}"))
    pool = await stack.enter_async_context(Pool(network, ports=PORTS))
    return Search(runner, pool, await open_lans(pool), able, keep)


def test_packets_pass_as_drawn_policies_say(search: Search, publish: Publish) -> None:
    """Whatever the policy, its users, nodes and routers: every packet that it allows is answered, and no other."""

    @settings(max_examples=EXAMPLES, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
    @given(plan=plans(releases=search.choices))
    def every(plan: Plan) -> None:
        search.check(plan)

    try:
        every()
    finally:
        publish("generated.txt", search.figures.told())
    # What goes wrong once is a client's bad moment; many are a fault, whosever.
    assert len(search.figures.restarts) <= 2 + EXAMPLES // 20, "\n\n".join(search.figures.restarts)
