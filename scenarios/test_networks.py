"""Clients behind NATs, in networks without UDP or without IPv4, on the move, and as the way to others."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Network, IPv6Network
from itertools import combinations_with_replacement
from typing import Any

import pytest
import pytest_asyncio

from harness.backends.base import Capability
from harness.backends.machine import Machine
from harness.backends.network import Network
from harness.clients.base import Ability, Client
from harness.conditions import direct_to, has_addresses, offers_exits, relayed_to, running
from harness.lab.faults import loss, one_way_cut, udp_blocked
from harness.lab.lab import Lab, Lan, run
from harness.lab.nat import Nat, Path, predict
from harness.lab.paths import Seen, grid, path_between
from harness.plugin import MakeTailnet, Publish
from harness.policies import grant, policy
from harness.reach import assert_reach
from harness.tailnet import Tailnet, gather
from harness.versions import Release
from harness.wait import Budget, Condition
from harness.ways import answer_on, until_seen_as

pytestmark = pytest.mark.needs(Capability.SEGMENTS)

ROUTER = "tag:router"
TAILNET = "100.64.0.0/10"


@pytest_asyncio.fixture(loop_scope="session")
async def lab(tailnet: Tailnet) -> Lab:
    """Networks around the tailnet's server."""
    return Lab(tailnet.network)


def ends(tailnet: Tailnet) -> tuple[Release, Release]:
    """The oldest and the newest of the selected releases that tell which path a peer has."""
    able = tailnet.able(Ability.PATHS)
    return able[0], able[-1]


async def join_on(
    tailnet: Tailnet, lab: Lab, name: str, release: Release, on: Lan | None = None, **more: Any
) -> Client:
    """A client of alice's on this LAN, or on the internet."""
    return await tailnet.join("alice", release, machine=await lab.machine(name, release, on=on), **more)


async def test_pairs_of_nats_take_the_predicted_path(tailnet: Tailnet, lab: Lab, publish: Publish) -> None:
    """Behind each pair of kinds two clients, an old and a new one, go directly or by the relay as the oracle says."""
    oldest, newest = ends(tailnet)
    ways = [*map(str, Nat), "two in a row"]

    async def behind(way: str, side: str) -> Lan:
        place = f"{way.split()[0].split('-')[0]}-{side}"
        if way == "two in a row":
            carrier = await lab.lan(f"{place}-carrier", nat=Nat.FULL_CONE)
            return await lab.lan(place, nat=Nat.PORT_RESTRICTED, behind=carrier)
        return await lab.lan(place, nat=Nat(way))

    async def placed(way: str, side: str, release: Release) -> tuple[Lan, Client]:
        lan = await behind(way, side)
        return lan, await join_on(tailnet, lab, lan.name, release, lan)

    old = dict(zip(ways, await gather(*(placed(way, "old", oldest) for way in ways)), strict=True))
    new = dict(zip(ways, await gather(*(placed(way, "new", newest) for way in ways)), strict=True))
    pairs = list(combinations_with_replacement(ways, 2))
    expected = {pair: predict(old[pair[0]][0].behaviour, new[pair[1]][0].behaviour) for pair in pairs}
    clients = [client for _, client in (*old.values(), *new.values())]
    await tailnet.meshed(clients)

    async def measured(pair: tuple[str, str]) -> Seen:
        return await path_between(old[pair[0]][1], new[pair[1]][1], wanted=expected[pair])

    seen = dict(zip(pairs, await gather(*map(measured, pairs)), strict=True))
    table = grid(ways, expected, seen)
    publish("nat-grid.txt", table)
    wrong = [pair for pair in pairs if seen[pair].direct != expected[pair].direct]
    assert not wrong, f"{wrong} are not as predicted\n{table}"
    await assert_reach(
        {(old[a][1], target): True for a, b in pairs for target in (new[b][1].tcp(), new[b][1].udp())}
    )


async def test_without_udp_the_relay_carries_everything(tailnet: Tailnet, lab: Lab) -> None:
    """In a LAN whose router lets no UDP through a client is reached by the relay; directly once it does again."""
    oldest, newest = ends(tailnet)
    office = await lab.lan("office")
    async with udp_blocked(office):
        inside = await join_on(tailnet, lab, "inside", oldest, office)
        outside = await join_on(tailnet, lab, "outside", newest)
        await tailnet.reach([inside, outside])
        await inside.until(relayed_to(await tailnet.given_name(outside)), Budget.PATH)
        await outside.until(relayed_to(await tailnet.given_name(inside)), Budget.PATH)
    await path_between(inside, outside, wanted=Path(True, "UDP passes again"))
    await tailnet.reach([inside, outside])
    await inside.until(direct_to(await tailnet.given_name(outside)), Budget.PATH)


async def test_a_one_way_cut_is_gone_around(tailnet: Tailnet, lab: Lab) -> None:
    """When packets of one client no longer arrive at the other, both talk by the relay, and directly again after."""
    oldest, newest = ends(tailnet)
    one, other = await join_on(tailnet, lab, "one", oldest), await join_on(tailnet, lab, "other", newest)
    await tailnet.reach([one, other])
    await one.until(direct_to(await tailnet.given_name(other)), Budget.PATH)
    addresses = [
        await lab.address_of(one.machine, version=version)
        for version in (4, 6)
        if tailnet.network.internet.prefix(version) is not None
    ]
    async with one_way_cut(addresses, other.machine):
        await tailnet.reach([one, other], budget=Budget.PATH)
        await one.until(relayed_to(await tailnet.given_name(other)), Budget.PATH)
    await path_between(one, other, wanted=Path(True, "nothing is lost any more"))
    await one.until(direct_to(await tailnet.given_name(other)), Budget.PATH)


async def test_a_lossy_way_carries_what_is_sent_again(tailnet: Tailnet, lab: Lab) -> None:
    """A client that loses every fifth packet in both directions joins all the same, is reached, and directly."""
    oldest, newest = ends(tailnet)
    train = await lab.lan("train")
    async with loss(train.router, 20):
        traveller = await join_on(tailnet, lab, "traveller", newest, train)
        other = await join_on(tailnet, lab, "other", oldest)
        await tailnet.reach([traveller, other], budget=Budget.PATH)
        seen = await path_between(traveller, other, wanted=Path(True, "lost packets are sent again"))
        assert seen.direct, f"still by {seen.way}"


@pytest.mark.parametrize("which", ["oldest", "newest"])
async def test_a_client_roams_from_one_lan_to_another(tailnet: Tailnet, lab: Lab, which: str) -> None:
    """It keeps its addresses and its place in the tailnet, and its peer finds it at the new router."""
    oldest, newest = ends(tailnet)
    home, cafe = await lab.lan("home"), await lab.lan("cafe")
    mover = await join_on(tailnet, lab, "mover", oldest if which == "oldest" else newest, home)
    stays = await join_on(tailnet, lab, "stays", newest)
    name = await tailnet.given_name(mover)
    before, node = mover.status.addresses, await tailnet.node_of(mover)
    await tailnet.reach([mover, stays])
    await stays.until(direct_at(name, await lab.outer_address_of(home)), Budget.PATH)
    await lab.move(mover.machine, to=cafe)
    await tailnet.reach([mover, stays], budget=Budget.PATH)
    assert mover.status.addresses == before
    assert (await tailnet.node_of(mover)).id == node.id
    await stays.until(direct_at(name, await lab.outer_address_of(cafe)), Budget.PATH)


def direct_at(name: str, address: str) -> Condition[Any]:
    """Packets to the peer go to this IPv4 address."""

    def why_not(status: Any) -> str | None:
        peer = status.peer(name)
        where = peer.current_address if peer else "nowhere"
        return None if where.rpartition(":")[0] == address else f"{name} is reached at {where or 'a relay'}"

    return Condition(f"reaches {name} at {address}", why_not)


async def test_a_lan_without_ipv4_is_a_place_like_others(make_tailnet: MakeTailnet) -> None:
    """Clients there log in, reach IPv6 machines directly, and those that have IPv4 alone by the relay."""

    async def both(network: Network) -> dict[str, Any]:
        assert network.internet.ipv6 is not None
        return {"derp.server.ipv4": network.host_address, "derp.server.ipv6": str(network.internet.ipv6[1])}

    tailnet = await make_tailnet(config=both, everywhere=True)
    lab = Lab(tailnet.network)
    oldest, newest = ends(tailnet)
    new_lan = await lab.lan("sixes", ipv4=False, ipv6=True)
    old_lan = await lab.lan("fours", nat=Nat.NONE)
    anywhere = await join_on(tailnet, lab, "anywhere", newest)
    four = await join_on(tailnet, lab, "four", newest, old_lan)
    six = await tailnet.client(oldest, machine=await lab.machine("six", oldest, on=new_lan))
    assert tailnet.network.internet.ipv6 is not None
    url = tailnet.server.url.replace(tailnet.network.host_address, f"[{tailnet.network.internet.ipv6[1]}]")
    result = await six.up(url, auth_key=(await tailnet.auth_key("alice")).text)
    assert result.ok, result.message
    await six.until(running() & has_addresses(), Budget.JOIN)
    await tailnet.meshed([anywhere, four, six])
    await tailnet.reach([anywhere, four, six])
    await path_between(six, anywhere, wanted=Path(True, "both have IPv6"))
    await six.until(direct_to(await tailnet.given_name(anywhere)), Budget.PATH)
    await six.until(relayed_to(await tailnet.given_name(four)), Budget.PATH)


# ---- machines without a client, behind those that have one


@pytest_asyncio.fixture(loop_scope="session")
async def home(lab: Lab) -> AsyncIterator[Lan]:
    """A LAN behind a NAT, with a printer that answers echoes."""
    lan = await lab.lan("home")
    yield lan


async def plain_host(lab: Lab, name: str, on: Lan) -> Machine:
    """A machine without a client that answers."""
    machine = await lab.host(name, on=on)
    await answer_on(machine)
    return machine


def approving(*routes: IPv4Network | IPv6Network | None) -> str:
    """Everybody reaches everything; routers have these routes, and exit routes, approved at once."""
    return policy(grant("*", to="*"), routes={str(route): ROUTER for route in routes}, exit_nodes=ROUTER)


@pytest.mark.parametrize("which", ["oldest", "newest"])
@pytest.mark.parametrize("snat", [True, False], ids=["snat", "own-address"])
async def test_a_plain_host_is_reached_through_a_subnet_router(
    tailnet: Tailnet, lab: Lab, home: Lan, snat: bool, which: str
) -> None:
    """It sees the router's address, or the client's tailnet address where the router is told to leave that alone."""
    oldest, newest = ends(tailnet)
    release = oldest if which == "oldest" else newest
    await tailnet.set_policy(approving(home.segment.ipv4))
    printer = await plain_host(lab, "printer", home)
    flags = [f"--advertise-routes={home.segment.ipv4}", f"--snat-subnet-routes={str(snat).lower()}"]
    router = await join_on(tailnet, lab, "router", release, home, extra=flags, tags=[ROUTER])
    visitor = await join_on(tailnet, lab, "visitor", newest, extra=["--accept-routes"])
    inside = await lab.address_of(router.machine)
    if not snat:
        await run(printer, f"ip route add {TAILNET} via {inside}")
    seen_as = inside if snat else str(visitor.address(4))
    there = await lab.address_of(printer)
    await until_seen_as(visitor, there, seen_as)
    assert (await visitor.set("--accept-routes=false")).ok
    await until_seen_as(visitor, there, None, budget=Budget.SYNC)


@pytest.mark.parametrize("which", ["oldest", "newest"])
async def test_an_exit_node_is_the_way_to_the_internet(
    tailnet: Tailnet, lab: Lab, home: Lan, which: str
) -> None:
    """A web server sees the exit node's router instead of the client, as long as the client uses it."""
    oldest, newest = ends(tailnet)
    await tailnet.set_policy(approving())
    web = await lab.lan("web", nat=Nat.NONE, public=True)
    server = await plain_host(lab, "server", web)
    release = oldest if which == "oldest" else newest
    exit_node = await join_on(
        tailnet, lab, "exit", release, home, extra=["--advertise-exit-node"], tags=[ROUTER]
    )
    client = await join_on(tailnet, lab, "client", newest)
    there = await lab.address_of(server)
    own = await lab.address_of(client.machine)
    await until_seen_as(client, there, own)
    await client.until(offers_exits(await tailnet.given_name(exit_node)), Budget.SYNC)
    assert (await client.set(f"--exit-node={exit_node.address(4)}")).ok
    await until_seen_as(client, there, await lab.outer_address_of(home))
    assert (await client.set("--exit-node=")).ok
    await until_seen_as(client, there, own)
