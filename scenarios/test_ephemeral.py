"""Ephemeral nodes: they outlive a short absence and not a long one."""

from datetime import timedelta

from harness.conditions import no_peer
from harness.plugin import MakeTailnet
from harness.servers.base import only_these
from harness.tailnet import gather
from harness.wait import Budget


async def test_an_ephemeral_node_that_stays_away_is_deleted(make_tailnet: MakeTailnet) -> None:
    """Killed without a word, it is gone for server and peers once the time is up; the others stay."""
    tailnet = await make_tailnet(ephemeral_timeout=timedelta(seconds=5))
    stays = await tailnet.join("alice", name="stays")
    leaving = await tailnet.join_each("alice", ephemeral=True)
    names = await tailnet.each(leaving, tailnet.given_name)
    await tailnet.meshed([stays, *leaving])
    await gather(*(client.kill() for client in leaving))
    await tailnet.until_nodes(only_these({"stays"}), Budget.OFFLINE)
    for name in names:
        await stays.until(no_peer(name), Budget.SYNC)


async def test_an_ephemeral_node_survives_a_short_absence(make_tailnet: MakeTailnet) -> None:
    """Down and up again before the time is up: the same node with the same addresses."""
    tailnet = await make_tailnet(ephemeral_timeout=timedelta(minutes=5))
    clients = await tailnet.join_each("alice", ephemeral=True)
    before = await tailnet.server.nodes()
    await tailnet.each(clients, lambda client: client.restart())
    await tailnet.reach(clients)
    after = await tailnet.server.nodes()
    assert [(node.id, node.addresses) for node in after] == [(node.id, node.addresses) for node in before]
