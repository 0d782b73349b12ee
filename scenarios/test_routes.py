"""Subnet routers with packets to a host that runs no client: what is approved, who may use it, and which way it goes.

Two routers stand on the same LAN; which of them carried a packet is told by the address that the host sees.
"""

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

import pytest
import pytest_asyncio

from harness.backends.base import Capability
from harness.backends.segment import random_private, random_ula
from harness.clients.base import Ability, Client
from harness.filters import Filter, Netmap
from harness.policies import ALLOW_ALL, grant, policy
from harness.tailnet import Tailnet
from harness.wait import Budget, Condition, until
from harness.ways import answer_on, followed, source_seen, until_seen_as

pytestmark = [pytest.mark.needs(Capability.SEGMENTS), pytest.mark.timeout(300)]

LEFT, RIGHT = "tag:left", "tag:right"


@dataclass(frozen=True, slots=True)
class Office:
    """A LAN, a host on it by its two addresses, its routers, and Alice's and Bob's devices elsewhere."""

    tailnet: Tailnet
    prefix: str
    prefix6: str
    host: str
    host6: str
    left: Client
    right: Client
    inside: dict[str, tuple[str, str]]
    """The routers' IPv4 and IPv6 address on the LAN, by name."""
    alice: Client
    bob: Client

    async def advertises(self, router: Client, *routes: str) -> None:
        assert (await router.set(f"--advertise-routes={','.join(routes)}")).ok

    async def approve(self, router: Client, *routes: str) -> None:
        node = await self.tailnet.node_of(router)
        await self.tailnet.server.approve_routes(node.id, routes)

    async def serves(self, router: Client, *routes: str) -> None:
        """It advertises these and no others, and they are approved."""
        await self.advertises(router, *routes)
        await self.approve(router, *routes)

    async def goes_through(self, client: Client, router: Client, *, version: int = 4) -> None:
        address = self.host if version == 4 else self.host6
        await until_seen_as(client, address, self.inside[router.name][version == 6])

    async def goes_nowhere(self, client: Client) -> None:
        """For as long as a denial must hold."""
        await until_seen_as(client, self.host, None, budget=Budget.CLOSE)
        end = asyncio.get_running_loop().time() + Budget.HOLD.seconds
        while asyncio.get_running_loop().time() < end:
            assert await source_seen(client.machine, self.host, within=0.5) is None


OFFICE = pytest.StashKey[Office]()


@pytest_asyncio.fixture(loop_scope="session")
async def office(request: pytest.FixtureRequest, lasting_tailnet: Tailnet) -> Office:
    """The office, with everything allowed and nothing advertised."""
    module = request.node.getparent(pytest.Module)
    if OFFICE not in module.stash:
        module.stash[OFFICE] = await _open(lasting_tailnet)
    made: Office = module.stash[OFFICE]
    await lasting_tailnet.set_policy(ALLOW_ALL)
    for router in (made.left, made.right):
        await made.serves(router)
    return made


async def _open(tailnet: Tailnet) -> Office:
    """Each kind of machine once with the oldest and once with the newest release."""
    releases = tailnet.able(Ability.LOGOUT)
    network = tailnet.network
    lan = await network.segment("lan", ipv4=random_private(), ipv6=random_ula())
    host = await network.host("host", on=[lan])
    await answer_on(host)
    tailnet_tags = policy(grant("*", to="*"), tag_owners={LEFT: [], RIGHT: []})
    await tailnet.server.set_policy(tailnet_tags)
    routers, inside = [], {}
    for name, tag, release in (("left", LEFT, releases[0]), ("right", RIGHT, releases[-1])):
        machine = await network.machine(name, release, on=[network.internet, lan])
        routers.append(await tailnet.join("alice", release, machine=machine, tags=[tag]))
        inside[name] = (
            await network.address_of(machine, lan),
            await network.address_of(machine, lan, version=6),
        )
    accepting = ["--accept-routes"]
    return Office(
        tailnet,
        str(lan.ipv4),
        str(lan.ipv6),
        await network.address_of(host),
        await network.address_of(host, version=6),
        routers[0],
        routers[1],
        inside,
        await tailnet.join("alice", releases[0], name="alice", extra=accepting),
        await tailnet.join("bob", releases[-1], name="bob", extra=accepting),
    )


async def test_a_route_is_advertised_then_approved_then_serves(office: Office) -> None:
    """One without the other leads nowhere; taken back, the way is closed within seconds."""
    await office.approve(office.left, office.prefix)
    await office.goes_nowhere(office.alice)
    await office.approve(office.left)
    await office.advertises(office.left, office.prefix)
    await office.goes_nowhere(office.alice)
    node = await office.tailnet.node_of(office.left)
    assert (node.routes, node.serving) == ((), ())
    await office.approve(office.left, office.prefix)
    node = await office.tailnet.node_of(office.left)
    assert (node.routes, node.serving) == ((office.prefix,), (office.prefix,))
    for client in (office.alice, office.bob):
        await office.goes_through(client, office.left)
    await office.approve(office.left)
    await office.goes_nowhere(office.bob)


async def test_both_families_are_routed(office: Office) -> None:
    await office.serves(office.right, office.prefix, office.prefix6)
    for client in (office.alice, office.bob):
        await office.goes_through(client, office.right)
        await office.goes_through(client, office.right, version=6)


async def test_a_route_has_one_way_at_a_time(office: Office) -> None:
    """Two routers serve it and nobody is steered: every client is told of the same one, and of no other."""
    await office.serves(office.left, office.prefix)
    await office.goes_through(office.bob, office.left)
    await office.serves(office.right, office.prefix)
    standing_by = await office.tailnet.node_of(office.right)
    assert (standing_by.routes, standing_by.serving) == ((office.prefix,), ())
    for client in (office.alice, office.bob):
        await until(Filter(client), sends_through(office.prefix, office.left), Budget.SYNC)
        await office.goes_through(client, office.left)


async def test_the_longer_prefix_is_taken(office: Office) -> None:
    """As everywhere in IP, whoever is primary of the other; without it the shorter one leads there."""
    half = next(n for n in IPv4Network(office.prefix).subnets() if IPv4Address(office.host) in n)
    await office.serves(office.left, office.prefix)
    await office.goes_through(office.alice, office.left)
    await office.serves(office.right, str(half))
    for client in (office.alice, office.bob):
        await office.goes_through(client, office.right)
    await office.approve(office.right)
    for client in (office.alice, office.bob):
        await office.goes_through(client, office.left)


async def test_only_the_routes_that_one_may_use_are_told(office: Office) -> None:
    """Bob may use the LAN, Alice only the router itself: her netmap has no such route, and no packet arrives."""
    elsewhere = str(random_private())
    await office.tailnet.set_policy(
        policy(grant("bob@", to=office.prefix), grant("alice@", to=[LEFT, RIGHT]))
    )
    await office.serves(office.left, office.prefix, elsewhere)
    await office.goes_through(office.bob, office.left)
    assert await routes_in_netmap(office.bob) == {office.prefix}
    assert await routes_in_netmap(office.alice) == set()
    assert await source_seen(office.alice.machine, office.host) is None


async def test_a_rule_for_one_port_opens_no_other(office: Office) -> None:
    """The filter stands at the router: TCP to the port passes, UDP to the same does not."""
    await office.tailnet.set_policy(policy(grant("bob@", to=office.prefix, ip="tcp:7")))
    await office.serves(office.left, office.prefix)
    inside = office.inside["left"][0]
    for _ in range(40):
        if await source_seen(office.bob.machine, office.host, network="tcp") == inside:
            break
        await asyncio.sleep(0.2)
    assert await source_seen(office.bob.machine, office.host, network="tcp") == inside
    assert await source_seen(office.bob.machine, office.host, network="udp") is None


async def test_each_goes_through_the_router_that_the_policy_gives_them(office: Office) -> None:
    """`via`: one route, two routers, two ways at the same time; exchanged while packets flow."""

    def steering(alices: str, bobs: str) -> str:
        return policy(
            grant("alice@", to=office.prefix, via=alices),
            grant("bob@", to=office.prefix, via=bobs),
            grant("*", to=[LEFT, RIGHT]),
        )

    await office.serves(office.left, office.prefix)
    await office.serves(office.right, office.prefix)
    await office.tailnet.set_policy(steering(LEFT, RIGHT))
    await office.goes_through(office.alice, office.left)
    await office.goes_through(office.bob, office.right)
    await office.tailnet.set_policy(steering(RIGHT, LEFT))
    await office.goes_through(office.alice, office.right)
    await office.goes_through(office.bob, office.left)


async def test_who_is_steered_does_not_go_another_way(office: Office) -> None:
    """While the router with the tag is away there is no way, though another router of the LAN is there."""
    await office.serves(office.left, office.prefix)
    await office.serves(office.right, office.prefix)
    await office.tailnet.set_policy(
        policy(grant("bob@", to=office.prefix, via=RIGHT), grant("*", to=[LEFT, RIGHT]))
    )
    await office.goes_through(office.bob, office.right)
    await office.approve(office.right)
    await office.goes_nowhere(office.bob)
    await office.approve(office.right, office.prefix)
    await office.goes_through(office.bob, office.right)


async def test_a_route_that_its_router_withdraws_is_gone_at_once(office: Office) -> None:
    """In the middle of a flow; advertised again it is back without anybody approving it anew."""
    await office.serves(office.left, office.prefix)
    await office.goes_through(office.bob, office.left)
    async with followed(office.bob, office.host) as way:
        await asyncio.sleep(1)
        since = way.now
        await office.advertises(office.left)
        await asyncio.sleep(Budget.CLOSE.seconds + 2)
        late = [look for look in way.looks if look.began > since + Budget.CLOSE.seconds]
        assert late
        assert {look.source for look in late} == {None}, way.told()
    # The router itself no longer passes packets on; the others are not even told to send any.
    await until(Filter(office.bob), sends_through(office.prefix, None), Budget.SYNC)
    assert (await office.tailnet.node_of(office.left)).routes == ()
    await office.advertises(office.left, office.prefix)
    await office.goes_through(office.bob, office.left)


async def test_each_site_with_the_same_ipv4_prefix_has_an_ipv6_prefix_of_its_own(office: Office) -> None:
    """4via6: the address says which site, so which router; the host sees that router's IPv4 address."""
    for site, router in ((7, office.left), (8, office.right)):
        await office.serves(router, await via(router, site, office.prefix))
    for site, router in ((7, office.left), (8, office.right)):
        mapped = (await via(office.bob, site, f"{office.host}/32")).partition("/")[0]
        for client in (office.alice, office.bob):
            await until_seen_as(client, mapped, office.inside[router.name][0])


def sends_through(prefix: str, router: Client | None) -> Condition[Netmap]:
    """The client's netmap has this router for the prefix, and no other peer; None for nobody at all."""
    own = [str(router.address())] if router is not None else []

    def why_not(netmap: Netmap) -> str | None:
        ways = [peer for peer in netmap["Peers"] or () if prefix in peer["AllowedIPs"]]
        found = [peer["Addresses"][0].partition("/")[0] for peer in ways]
        return None if found == own else f"it goes through {found}"

    return Condition(f"goes to {prefix} through {router.name if router else 'nobody'} alone", why_not)


async def via(client: Client, site: int, prefix: str) -> str:
    """The IPv6 prefix that stands for this one at the site."""
    return (await client.cli("debug", "via", str(site), prefix)).message


async def routes_in_netmap(client: Client) -> set[str]:
    """What its client was told that it may send through others, but for their addresses."""
    netmap = await client.netmap()
    return {
        route
        for peer in netmap["Peers"] or ()
        for route in peer["AllowedIPs"]
        if route not in peer["Addresses"]
    }
