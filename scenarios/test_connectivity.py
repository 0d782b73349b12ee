"""Who joins reaches everybody: by address and by name, directly and through the relay."""

from harness.clients.base import Ability
from harness.conditions import direct_to, relayed_to
from harness.faults import direct_blocked
from harness.reach import assert_reach
from harness.tailnet import Tailnet
from harness.wait import Budget


async def test_all_versions_reach_each_other(tailnet: Tailnet) -> None:
    """Clients of all selected releases in one tailnet reach each other over IPv4 and IPv6: TCP, UDP and ICMP."""
    clients = await tailnet.join_each()
    await tailnet.reach(clients)


async def test_names_resolve_and_lead_to_their_nodes(tailnet: Tailnet) -> None:
    """Every client reaches every other one by its MagicDNS name."""
    clients = await tailnet.join_each()
    await assert_reach({(a, b.tcp(by="name")): True for a in clients for b in clients if a is not b})


async def test_the_relay_carries_what_cannot_go_directly(tailnet: Tailnet) -> None:
    """With direct UDP blocked everything goes through the relay; unblocked, the paths become direct again."""
    clients = await tailnet.join_each(able=Ability.PATHS)
    await tailnet.reach(clients)
    first, *others = clients
    names = [await tailnet.given_name(client) for client in others]
    async with direct_blocked(first):
        await tailnet.reach(clients)
        for name in names:
            await first.until(relayed_to(name), Budget.PATH)
        await tailnet.reach(clients)
    for name in names:
        await tailnet.reach(clients)
        await first.until(direct_to(name), Budget.PATH)
