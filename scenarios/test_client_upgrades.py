"""A client that is upgraded in place, minor by minor, as its user would: nobody notices.

Over the selected releases; `--client-versions=all` takes every minor in turn.
"""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from harness.backends.network import Backend
from harness.clients.base import Ability
from harness.clients.tailscaled import TailscaledClient
from harness.conditions import running
from harness.servers.base import all_online, identity
from harness.tailnet import Tailnet
from harness.upgrades import change_release
from harness.versions import Release
from harness.wait import Budget


@pytest.fixture
def rising(tailnet: Tailnet) -> list[Release]:
    """The Go releases, oldest first."""
    chosen = sorted(tailnet.able(Ability.LOGOUT), key=lambda release: release.version_numbers)
    if len(chosen) < 2:
        pytest.skip(f"there is nothing to upgrade from or to: {', '.join(map(str, chosen))}")
    return chosen


async def is_the_same(tailnet: Tailnet, client: TailscaledClient, known: Sequence[object], key: str) -> None:
    """Running as this release, without a login, as the same node, and everybody reaches it."""
    status = await client.until(running(), Budget.RECONNECT)
    assert status.version.split("-")[0] == client.release.version
    assert not status.auth_url
    nodes = await tailnet.until_nodes(all_online(len(tailnet.clients)), Budget.RECONNECT)
    assert identity(nodes) == known
    assert (await tailnet.node_of(client)).node_key == key
    await tailnet.reach(tailnet.clients)


async def test_an_upgraded_client_stays_who_it_is(
    tailnet: Tailnet, rising: list[Release], backend: Backend
) -> None:
    """From the oldest to the newest, one after the other: same node, addresses, name and key, and no login."""
    client = await tailnet.join("alice", rising[0], name="upgraded")
    await tailnet.join("bob", rising[0], name="old")
    await tailnet.join("bob", rising[-1], name="new")
    assert isinstance(client, TailscaledClient)
    known, key = identity(await tailnet.server.nodes()), (await tailnet.node_of(client)).node_key
    await tailnet.reach(tailnet.clients)
    for before, after in pairwise(rising):
        await change_release(client, after, backend.provisioner)
        tailnet.history.record("upgraded", name=client.name, before=str(before), after=str(after))
        await is_the_same(tailnet, client, known, key)


async def test_a_client_may_go_back(tailnet: Tailnet, rising: list[Release], backend: Backend) -> None:
    """From the newest to the oldest and forth again: clients read each other's state, and the server does not mind."""
    client = await tailnet.join("alice", rising[-1], name="undecided")
    await tailnet.join("bob", rising[-1], name="other")
    assert isinstance(client, TailscaledClient)
    known, key = identity(await tailnet.server.nodes()), (await tailnet.node_of(client)).node_key
    for release in (rising[0], rising[-1]):
        await change_release(client, release, backend.provisioner)
        await is_the_same(tailnet, client, known, key)
