"""Relays of others: whom they serve is the control server's to say, and a WebSocket carries as much."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import pytest_asyncio

from harness.backends.network import Backend
from harness.clients.base import Ability
from harness.clients.derp import DerpClient
from harness.clients.fake import FakeClient
from harness.conditions import relayed_to, running
from harness.faults import direct_blocked
from harness.filters import Filter, Netmap
from harness.plugin import MakeTailnet
from harness.reach import assert_reach
from harness.servers.derper import start_derper
from harness.versions import RELEASES
from harness.wait import Budget, Condition, until
from headscale.keys import generate_private_key

MAP = "derp.yaml"
# A server without any relay does not start; nobody joins before it is told of a real one.
NOWHERE = "regions: {900: {regioncode: no, regionname: nowhere, nodes: [{name: a, hostname: no.invalid}]}}\n"


WEBSOCKETS = "ts_debug_websockets"
"""The build tag with which a Go client can be made to reach relays by WebSocket (derp/derphttp/websocket.go)."""


def unchecked() -> ssl.SSLContext:
    """TLS to a relay whose certificate nobody knows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest_asyncio.fixture(loop_scope="session")
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def test_an_external_relay_serves_members_only(
    make_tailnet: MakeTailnet, backend: Backend, stack: AsyncExitStack
) -> None:
    """`derper` asks /verify: members join and are relayed, an unknown key and a deleted node are refused."""
    config = {"derp.server.enabled": False, "derp.paths": [MAP]}
    tailnet = await make_tailnet(config=config, files={MAP: NOWHERE})
    derper = await start_derper(
        stack,
        backend.provisioner.derper(RELEASES[-1]),
        tailnet.network.host_address,
        verify_url=f"{tailnet.server.url}/verify",
    )
    (tailnet.server.folder / MAP).write_text(derper.map_text)
    clients = await tailnet.join_each(able=Ability.PATHS)
    second = await tailnet.join("bob", name="second")
    name = await tailnet.given_name(second)
    async with direct_blocked(*clients):
        await tailnet.changes(clients, running(), Budget.RECONNECT)
        await assert_reach({(client, second.tcp()): True for client in clients})
        await tailnet.changes(clients, relayed_to(name), Budget.PATH)

    with pytest.raises(ConnectionError):
        await DerpClient.login(generate_private_key(), derper.host, derper.port, tls=unchecked())
    async with FakeClient(tailnet.server.url, hostname="fake") as fake:
        await fake.register(auth_key=(await tailnet.auth_key("bob")).text)
        member = await DerpClient.login(fake.node_private, derper.host, derper.port, tls=unchecked())
        await member.close()
        [node] = [n for n in await tailnet.server.nodes() if n.given_name == "fake"]
        await tailnet.server.delete_node(node.id)
        with pytest.raises(ConnectionError):
            await DerpClient.login(fake.node_private, derper.host, derper.port, tls=unchecked())


async def test_a_changed_map_is_told_to_who_is_connected(make_tailnet: MakeTailnet) -> None:
    """A region comes, another goes, while clients run: each has the map that the files make now."""
    tailnet = await make_tailnet(config={"derp.paths": [MAP]}, files={MAP: NOWHERE})
    clients = await tailnet.join_each(able=Ability.NETMAP)

    async def knows(*codes: str) -> None:
        await tailnet.each(clients, lambda client: until(Filter(client), relays(*codes), Budget.SYNC))

    await knows("headscale", "no")
    (tailnet.server.folder / MAP).write_text(NOWHERE.replace("900", "901").replace("code: no,", "code: new,"))
    await knows("headscale", "new")
    await tailnet.reach(clients)


def relays(*codes: str) -> Condition[Netmap]:
    """The client's netmap has the regions of these codes and no others."""

    def why_not(netmap: Netmap) -> str | None:
        found = sorted(region["RegionCode"] for region in netmap["DERPMap"]["Regions"].values())
        return None if found == sorted(codes) else f"it has {found}"

    return Condition(f"knows the regions {sorted(codes)}", why_not)


async def test_a_client_is_relayed_by_websocket(make_tailnet: MakeTailnet, backend: Backend) -> None:
    """A client that reaches the embedded relay by WebSocket alone talks to those that reach it as usual."""
    release = replace(RELEASES[-1], tags=(WEBSOCKETS,))
    await backend.prepare([release])
    tailnet = await make_tailnet(with_tls=True)
    client = await tailnet.client(release, name="websocket")
    client.env["TS_DEBUG_DERP_WS_CLIENT"] = "true"
    await client.restart()
    await tailnet.log_in(client, await tailnet.auth_key("alice"))
    others = await tailnet.join_each(able=Ability.OWN_ROOTS)
    async with direct_blocked(client):
        await client.until(running(), Budget.RECONNECT)
        pairs = [(client, other.tcp()) for other in others] + [(other, client.tcp()) for other in others]
        await assert_reach(dict.fromkeys(pairs, True))
        for other in others:
            await client.until(relayed_to(await tailnet.given_name(other)), Budget.PATH)
    log = (client.machine.data / "tailscaled.log").read_text(errors="replace")
    assert f"websocket: connected to {tailnet.server.url}/derp" in log
