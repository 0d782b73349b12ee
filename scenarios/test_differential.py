"""Two servers side by side: the same for clients and administrators, and a mistake of one is told by its place."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from harness.backends.network import Backend
from harness.differential.ledger import LEDGER, Ruling, read_ledger
from harness.differential.run import compare_sides
from harness.differential.script import Join, Rename, SetPolicy, Step, script
from harness.differential.sides import Side, open_side
from harness.mutants.catalogue import named
from harness.mutants.patches import applied
from harness.versions import Release

pytestmark = pytest.mark.asyncio(loop_scope="session")

STEPS: Sequence[Step] = (
    Join("alice", "alice", 0),
    Join("server", "alice", 1, ("tag:web",)),
    next(step for step in script(1) if isinstance(step, SetPolicy) and step.name == "drawn-1"),
    Rename("alice", "printer"),
)


@asynccontextmanager
async def sides(backend: Backend, releases: tuple[Release, ...]) -> AsyncIterator[tuple[Side, Side]]:
    """Ours in this process, and as a process of its own."""
    chosen = tuple(release for release in releases if release.kind == "go")
    async with AsyncExitStack() as stack:
        first, second = [
            await open_side(stack, backend, chosen, kind, number=number, keys={})
            for number, kind in enumerate(("inprocess", "process"), start=1)
        ]
        yield first, second


async def compared(backend: Backend, releases: tuple[Release, ...]) -> Ruling:
    known = read_ledger(LEDGER.read_text(), ("inprocess", "process"))
    async with sides(backend, releases) as (first, second):
        return await compare_sides(first, second, STEPS, known)


async def test_two_servers_look_the_same(backend: Backend, releases: tuple[Release, ...]) -> None:
    """Netmaps, packet filters, DNS, lists of nodes, and who reaches whom."""
    ruling = await compared(backend, releases)
    assert ruling.is_clean, ruling


async def test_a_mistake_of_one_of_them_is_found(backend: Backend, releases: tuple[Release, ...]) -> None:
    """One that gives nodes their clients' own names differs where the name shows, and nowhere before."""
    with applied(named("dns-name-stale")):
        ruling = await compared(backend, releases)
    assert {difference.at for difference in ruling.unknown} >= {
        "04 rename alice/netmap/server/Peers/alice/Name"
    }
    assert not [d for d in ruling.unknown if not d.at.startswith("04 rename alice/")]
