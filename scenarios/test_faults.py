"""The server goes away and comes back: clients keep talking, find it again, and are who they were."""

import pytest

from harness.clients.base import Ability, Client
from harness.reach import assert_reach
from harness.servers.base import all_online
from harness.tailnet import Tailnet, all_pairs
from harness.wait import Budget


async def back_as_before(tailnet: Tailnet, clients: list[Client], addresses: list[str]) -> None:
    """Everyone is online again within the budget, under the same number and addresses, and reaches everyone."""
    nodes = await tailnet.until_nodes(all_online(len(clients)), Budget.RECONNECT)
    assert [f"{node.id} {node.addresses}" for node in nodes] == addresses
    await tailnet.all_hear(clients)
    await tailnet.reach(clients)


async def steady_ones_reach(clients: list[Client]) -> None:
    """Those that can do without the server reach each other; the others only have to come back."""
    steady = [client for client in clients if Ability.OUTAGE in client.abilities]
    await assert_reach(dict.fromkeys(all_pairs(steady), True))


async def test_a_restart_of_the_server_changes_nothing(tailnet: Tailnet) -> None:
    """Stopped in good order, the server is missed by nobody: packets flow, and after the start all are online."""
    clients = await tailnet.join_each()
    await tailnet.reach(clients)
    addresses = [f"{node.id} {node.addresses}" for node in await tailnet.server.nodes()]
    await tailnet.server.stop()
    await steady_ones_reach(clients)
    await tailnet.server.start()
    await back_as_before(tailnet, clients, addresses)
    late = await tailnet.join("alice", name="late")
    await tailnet.meshed([late, *clients])
    await tailnet.reach([late, *clients])


@pytest.mark.server("process")
async def test_a_killed_server_loses_nothing(tailnet: Tailnet) -> None:
    """SIGKILL while clients are connected: packets flow meanwhile, and everyone is who they were afterwards."""
    clients = await tailnet.join_each()
    await tailnet.reach(clients)
    addresses = [f"{node.id} {node.addresses}" for node in await tailnet.server.nodes()]
    await tailnet.server.kill()
    await steady_ones_reach(clients)
    await tailnet.server.start()
    await back_as_before(tailnet, clients, addresses)


async def test_a_killed_client_comes_back_as_itself(tailnet: Tailnet) -> None:
    """A client that is killed and started again is the same node, without logging in."""
    clients = await tailnet.join_each()
    addresses = [f"{node.id} {node.addresses}" for node in await tailnet.server.nodes()]

    async def kill_and_start(client: Client) -> None:
        await client.kill()
        await client.start()

    await tailnet.each(clients, kill_and_start)
    await back_as_before(tailnet, clients, addresses)
