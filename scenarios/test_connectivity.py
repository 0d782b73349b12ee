"""Who joins reaches everybody: by address and by name, directly and through the relay."""

import asyncio
import time
from itertools import pairwise

from harness.clients.base import Ability
from harness.conditions import direct_to, relayed_to
from harness.faults import direct_blocked
from harness.plugin import MakeTailnet
from harness.reach import assert_reach
from harness.tailnet import Tailnet
from harness.wait import RECHECK_SECONDS, Budget

# Keep-alives come after 50 to 60 s.
QUIET_SECONDS = 70.0


async def test_all_versions_reach_each_other(tailnet: Tailnet) -> None:
    """Clients of all selected releases in one tailnet reach each other over IPv4 and IPv6: TCP, UDP and ICMP."""
    clients = await tailnet.join_each()
    await tailnet.reach(clients)


async def test_names_resolve_and_lead_to_their_nodes(tailnet: Tailnet) -> None:
    """Every client reaches every other one by its MagicDNS name."""
    clients = await tailnet.join_each()
    await assert_reach({(a, b.tcp(by="name")): True for a in clients for b in clients if a is not b})


async def test_addresses_may_be_drawn_at_random(make_tailnet: MakeTailnet) -> None:
    """With `prefixes.allocation: random` they are far apart, and all reach each other by them."""
    tailnet = await make_tailnet(config={"prefixes.allocation": "random"})
    clients = await tailnet.join_each()
    drawn = sorted(int(client.address(4)) for client in clients)
    assert any(after - before > 1 for before, after in pairwise(drawn))
    await tailnet.reach(clients)


async def test_whoever_is_there_is_never_seen_offline(tailnet: Tailnet) -> None:
    """For longer than a keep-alive and a netcheck of the clients', by the server and by every peer."""
    clients = await tailnet.join_each(able=Ability.PREFS)
    await tailnet.meshed(clients)
    names = {client: await tailnet.given_name(client) for client in clients}
    everybody = set(names.values())
    end = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < end:
        assert {node.given_name for node in await tailnet.server.nodes() if node.online} == everybody
        for client in clients:
            peers = {peer.name for peer in (await client.read()).peers if peer.online}
            assert peers == everybody - {names[client]}
        await asyncio.sleep(RECHECK_SECONDS)


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
