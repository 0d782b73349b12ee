"""DNS: what clients answer to real questions, who else they ask, and how fast they follow the operator's records."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from harness.backends.network import Network
from harness.clients.base import Ability, Client
from harness.nameserver import start_nameserver
from harness.plugin import MakeTailnet
from harness.policies import ALLOW_ALL
from harness.reach import assert_reach
from harness.resolving import goes_on_resolving, resolves
from harness.wait import Budget

RECORDS = "records.json"
DOMAIN = "tailnet.internal"
PRINTER = f"printer.{DOMAIN}"
COMPANY = ("corp.example", "lab")
WIKI = "wiki.corp.example"


class Names:
    """Two nameservers on the host: of the world, which has a wrong idea of the company's names, and of the company."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def start(self, network: Network) -> dict[str, object]:
        """Run them for this network's machines; the keys with which clients ask the first for all but the tailnet."""
        host = network.host_address
        self.world = await start_nameserver(
            self._stack, host, {"www.example": "192.0.2.1", WIKI: "192.0.2.66"}
        )
        self.company = await start_nameserver(self._stack, host, {WIKI: "192.0.2.2", "wiki.lab": "192.0.2.3"})
        return {"dns.nameservers.global": [self.world.address], "dns.override_local_dns": True}


@pytest_asyncio.fixture(loop_scope="session")
async def names() -> AsyncIterator[Names]:
    async with AsyncExitStack() as stack:
        yield Names(stack)


def records(**hosts: str) -> str:
    return json.dumps([{"name": f"{name}.{DOMAIN}", "type": "A", "value": ip} for name, ip in hosts.items()])


async def test_magic_dns_answers_for_every_node(make_tailnet: MakeTailnet, names: Names) -> None:
    """Each client answers for every node by its full name, tagged or a user's, and knows which names do not exist."""
    tailnet = await make_tailnet(config=names.start)
    clients = await tailnet.join_each(able=Ability.DNS)
    clients.append(await tailnet.join("alice", name="tagged", tags=["tag:server"]))
    addresses = {f"{await tailnet.given_name(c)}.{DOMAIN}": str(c.address(4)) for c in clients}

    async def knows_all(client: Client) -> None:
        for name, address in addresses.items():
            await resolves(client, name, address)
        await resolves(client, f"nobody.{DOMAIN}")

    await tailnet.each(clients, knows_all)
    assert not [name for name in names.world.questions if name.endswith(DOMAIN)]


async def test_extra_records_follow_their_file(make_tailnet: MakeTailnet, names: Names) -> None:
    """Written, renamed over, written in place, deleted (the last set stays), made anew: clients answer what it says."""

    async def config(network: Network) -> dict[str, object]:
        return {"dns.extra_records_path": RECORDS, **await names.start(network)}

    tailnet = await make_tailnet(config=config, files={RECORDS: records(printer="192.0.2.10")})
    clients = await tailnet.join_each(able=Ability.DNS)
    file = tailnet.server.folder / RECORDS

    async def says(address: str, *, name: str = PRINTER) -> None:
        await tailnet.each(clients, lambda c: resolves(c, name, address, budget=Budget.RECORDS))

    await says("192.0.2.10")
    file.write_text(records(printer="192.0.2.11", scanner="192.0.2.12"))
    await says("192.0.2.11")
    await says("192.0.2.12", name=f"scanner.{DOMAIN}")
    new = file.with_suffix(".new")
    new.write_text(records(printer="192.0.2.13"))
    new.rename(file)
    await says("192.0.2.13")
    await tailnet.each(clients, lambda c: resolves(c, f"scanner.{DOMAIN}", budget=Budget.RECORDS))
    with file.open("r+") as open_file:
        open_file.write(records(printer="192.0.2.14"))
    await says("192.0.2.14")
    file.unlink()
    await tailnet.each(clients, lambda c: goes_on_resolving(c, PRINTER, "192.0.2.14"))
    file.write_text("[{")
    await tailnet.each(clients, lambda c: goes_on_resolving(c, PRINTER, "192.0.2.14"))
    file.write_text(records(printer="192.0.2.15"))
    await says("192.0.2.15")


async def test_split_dns_asks_the_companys_server_for_its_names_only(
    make_tailnet: MakeTailnet, names: Names
) -> None:
    """Names below a domain go to its nameserver, all others to the global one."""

    async def config(network: Network) -> dict[str, object]:
        started = await names.start(network)
        return {"dns.nameservers.split": {domain: [names.company.address] for domain in COMPANY}, **started}

    tailnet = await make_tailnet(config=config)
    for client in await tailnet.join_each(able=Ability.DNS):
        await resolves(client, WIKI, "192.0.2.2")
        await resolves(client, "wiki.lab", "192.0.2.3")
        await resolves(client, "nothing.corp.example")
        await resolves(client, "www.example", "192.0.2.1")
    assert all(name.endswith(COMPANY) for name in names.company.questions)
    assert "www.example" in names.world.questions
    assert not any(name.endswith(COMPANY) for name in names.world.questions)


async def test_search_domains_and_fallbacks_are_in_the_netmap(make_tailnet: MakeTailnet) -> None:
    """The tailnet's own domain first; nameservers that do not override are fallbacks."""
    config = {
        "dns.search_domains": ["corp.example"],
        "dns.nameservers.global": ["192.0.2.53"],
        "dns.override_local_dns": False,
    }
    tailnet = await make_tailnet(config=config)
    for client in await tailnet.join_each(able=Ability.NETMAP):
        dns = (await client.netmap())["DNS"]
        assert dns.get("Domains") == [DOMAIN, "corp.example"]
        assert dns.get("FallbackResolvers") == [{"Addr": "192.0.2.53"}]
        assert not dns.get("Resolvers")


async def test_the_policy_gives_nodes_a_nextdns_profile(make_tailnet: MakeTailnet) -> None:
    """Of its targets only, while they run; others go on with the common one, each with its own name."""
    config = {"dns.nameservers.global": ["https://dns.nextdns.io/common"], "dns.override_local_dns": True}
    tailnet = await make_tailnet(config=config)
    clients = await tailnet.join_each(able=Ability.NETMAP)
    other = await tailnet.join("bob", name="other")
    attributes = [{"target": ["alice@"], "attr": ["nextdns:abc", "nextdns:no-device-info"]}]
    await tailnet.set_policy(json.dumps({**json.loads(ALLOW_ALL), "nodeAttrs": attributes}))
    for client in clients:
        await until_resolver(client, "https://dns.nextdns.io/abc")
    [resolver] = (await other.netmap())["DNS"]["Resolvers"]
    assert resolver["Addr"].startswith("https://dns.nextdns.io/common?device_ip=100.64.")
    assert resolver["Addr"].endswith("&device_name=other")


@pytest.mark.parametrize(("family", "prefix"), [(4, "100.64.0.0/10"), (6, "fd7a:115c:a1e0::/48")])
async def test_a_tailnet_of_one_family_alone(make_tailnet: MakeTailnet, family: int, prefix: str) -> None:
    """With one prefix nodes have one address; they reach each other by it and by name."""
    tailnet = await make_tailnet(config={f"prefixes.v{family}": prefix})
    tailnet.ip_versions = (family,)
    clients = await tailnet.join_each(able=Ability.NETMAP)  # tailscale-rs needs two addresses
    clients.append(await tailnet.join("bob", name="second"))
    await tailnet.meshed(clients)
    await tailnet.reach(clients)
    await assert_reach({(a, b.tcp(by="name")): True for a in clients for b in clients if a is not b})
    zones = (await clients[0].netmap())["DNS"]["Routes"]
    assert {zone.rsplit(".", 2)[1] for zone in zones} == {"in-addr" if family == 4 else "ip6"}


async def until_resolver(client: Client, url: str) -> None:
    """Wait until the client's only global nameserver is this one."""
    async with asyncio.timeout(Budget.POLICY.seconds):
        while (await client.netmap())["DNS"]["Resolvers"] != [{"Addr": url}]:
            await client.changed(0.2)
