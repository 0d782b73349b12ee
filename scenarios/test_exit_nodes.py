"""Exit nodes: who is offered one, what goes through it and what stays at home, and which one a client is advised to
take.

That packets come out at the exit node's place, with its address: scenarios/test_networks.py.
"""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from harness.backends.base import Capability
from harness.clients.base import Ability, Client
from harness.conditions import knows_peer_api, offers_exits
from harness.errors import HarnessError
from harness.lab.lab import Lab, Lan, run
from harness.lab.nat import Nat
from harness.nameserver import Nameserver, start_nameserver
from harness.policies import grant, policy
from harness.tailnet import Tailnet
from harness.wait import Budget, holds
from harness.ways import answer_on, until_seen_as

pytestmark = pytest.mark.needs(Capability.SEGMENTS)

EXIT = "tag:exit"
SITE = "site.example"
EVERYWHERE = ("0.0.0.0/0", "::/0")


@pytest_asyncio.fixture(loop_scope="session")
async def lab(tailnet: Tailnet) -> Lab:
    return Lab(tailnet.network)


async def exit_node(tailnet: Tailnet, name: str, *, old: bool = False, **more: Any) -> Client:
    """One that waits for its approval."""
    releases = tailnet.able(Ability.LOGOUT)
    release = releases[0] if old else releases[-1]
    flags = ["--advertise-exit-node"]
    return await tailnet.join("alice", release, name=name, tags=[EXIT], extra=flags, **more)


async def approve(tailnet: Tailnet, client: Client, *routes: str) -> None:
    await tailnet.server.approve_routes((await tailnet.node_of(client)).id, routes)


async def test_one_approved_exit_route_is_for_both_families(tailnet: Tailnet) -> None:
    """And before that nobody is offered the node."""
    await tailnet.server.set_policy(policy(grant("*", to="*"), tag_owners={EXIT: []}))
    leaving = await exit_node(tailnet, "leaving")
    clients = [await tailnet.join("alice", release) for release in tailnet.able(Ability.LOGOUT)]
    for client in clients:
        await holds(client, offers_exits(), Budget.HOLD)
    await approve(tailnet, leaving, EVERYWHERE[0])
    for client in clients:
        await client.until(offers_exits("leaving"), Budget.SYNC)
    node = await tailnet.node_of(leaving)
    assert (set(node.routes), set(node.serving)) == ({*EVERYWHERE}, {*EVERYWHERE})
    await approve(tailnet, leaving)
    for client in clients:
        await client.until(offers_exits(), Budget.SYNC)


async def test_only_who_may_reach_the_internet_is_offered_the_way(tailnet: Tailnet) -> None:
    """`autogroup:internet` for Alice; Bob reaches the node itself, and it is no way out for him."""
    await tailnet.server.set_policy(
        policy(grant("alice@", to="autogroup:internet"), grant("bob@", to=f"{EXIT}"), tag_owners={EXIT: []})
    )
    leaving = await exit_node(tailnet, "leaving")
    await approve(tailnet, leaving, *EVERYWHERE)
    releases = tailnet.able(Ability.LOGOUT)
    for release in (releases[0], releases[-1]):
        alices, bobs = await tailnet.join("alice", release), await tailnet.join("bob", release)
        await alices.until(offers_exits("leaving"), Budget.SYNC)
        await bobs.until(offers_exits(), Budget.SYNC)
        assert bobs.status.peer("leaving") is not None
        refused = await bobs.set("--exit-node=leaving")
        assert not refused.ok, refused.message
        await tailnet.leave(alices)
        await tailnet.leave(bobs)


@pytest.mark.parametrize("old", [True, False], ids=["oldest", "newest"])
async def test_the_own_lan_is_reached_only_when_that_is_allowed(
    tailnet: Tailnet, lab: Lab, *, old: bool
) -> None:
    """While an exit node is used: a printer next to the client is cut off, unless `--exit-node-allow-lan-access`."""
    await tailnet.server.set_policy(policy(grant("*", to="*"), exit_nodes=EXIT, tag_owners={EXIT: []}))
    home = await lab.lan("home")
    printer = await lab.host("printer", on=home)
    await answer_on(printer)
    web: Lan = await lab.lan("web", nat=Nat.NONE, public=True)
    site = await lab.host("site", on=web)
    await answer_on(site)
    releases = tailnet.able(Ability.LOGOUT)
    release = releases[0] if old else releases[-1]
    client = await tailnet.join("alice", release, machine=await lab.machine("client", release, on=home))
    leaving = await exit_node(
        tailnet, "leaving", old=not old, machine=await lab.machine("leaving", releases[-1 if old else 0])
    )
    there, at_home = await lab.address_of(site), await lab.address_of(printer)
    own, exits = await lab.address_of(client.machine), await lab.address_of(leaving.machine)
    await until_seen_as(client, at_home, own)
    await client.until(offers_exits("leaving"), Budget.SYNC)
    assert (await client.set("--exit-node=leaving")).ok
    await until_seen_as(client, there, exits)
    await until_seen_as(client, at_home, None)
    assert (await client.set("--exit-node-allow-lan-access")).ok
    await until_seen_as(client, at_home, own)
    await until_seen_as(client, there, exits)


@pytest.mark.parametrize("old", [True, False], ids=["oldest", "newest"])
async def test_names_are_resolved_where_the_exit_node_is(tailnet: Tailnet, lab: Lab, *, old: bool) -> None:
    """While it is used, by the resolver of its machine: that of the own LAN would tell of a place one is not at."""
    await tailnet.server.set_policy(policy(grant("*", to="*"), exit_nodes=EXIT, tag_owners={EXIT: []}))
    releases = tailnet.able(Ability.DNS)
    release, other = (releases[0], releases[-1]) if old else (releases[-1], releases[0])
    host = tailnet.network.host_address
    async with AsyncExitStack() as stack:
        world = await start_nameserver(stack, host, {SITE: "192.0.2.9"}, port=53)
        home = await lab.lan("home")
        machines = await lab.machine("client", release, on=home), await lab.machine("leaving", other)
        for machine in machines:
            await run(machine, f"echo nameserver {host} > /etc/resolv.conf")
        client = await tailnet.join("alice", release, machine=machines[0])
        leaving = await exit_node(tailnet, "leaving", old=not old, machine=machines[1])
        outside, exits = await lab.outer_address_of(home), await lab.address_of(leaving.machine)
        await client.until(offers_exits("leaving") & knows_peer_api("leaving"), Budget.SYNC)
        assert (await client.set("--exit-node=leaving")).ok
        await until_asked_by(client, world, exits)
        assert (await client.set("--exit-node=")).ok
        await until_asked_by(client, world, outside)


async def until_asked_by(client: Client, world: Nameserver, asker: str) -> None:
    """Wait until the client's questions come from this address, and from no other."""
    end = asyncio.get_running_loop().time() + Budget.SYNC.seconds
    number = 0
    while True:
        number += 1
        name = f"n{number}.{SITE}"  # nobody remembers its answer
        world.hosts[name] = "192.0.2.9"
        with contextlib.suppress(HarnessError):
            await client.resolve(name)
        askers = {who for asked, who in world.askers if asked == name}
        if askers == {asker}:
            return
        assert asyncio.get_running_loop().time() < end, f"{name} was asked for by {askers or 'nobody'}"
        await asyncio.sleep(0.5)


async def test_an_approved_exit_node_is_suggested(tailnet: Tailnet) -> None:
    """And no other, nor any while there is none."""
    await tailnet.server.set_policy(policy(grant("*", to="*"), tag_owners={EXIT: []}))
    await exit_node(tailnet, "waiting")
    leaving = await exit_node(tailnet, "leaving")
    client = await tailnet.join("alice", tailnet.able(Ability.LOGOUT)[-1])
    nothing = await client.cli("exit-node", "suggest")
    assert "No exit node suggestion is available" in nothing.message
    await approve(tailnet, leaving, *EVERYWHERE)
    await client.until(offers_exits("leaving"), Budget.SYNC)
    advice = await client.cli("exit-node", "suggest")
    assert "Suggested exit node: leaving.tailnet.internal" in advice.message
