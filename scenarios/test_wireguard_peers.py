"""A plain WireGuard server as an exit node: clients of every age send their packets through it, when the policy lets
them."""

import base64
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from harness.backends.base import Capability
from harness.backends.machine import Machine
from harness.backends.network import Backend, Network
from harness.backends.segment import Segment, random_public
from harness.clients.base import Ability, Client
from harness.conditions import no_peer
from harness.errors import NotOffered
from harness.lab.lab import run
from harness.plugin import MakeTailnet
from harness.policies import grant, policy
from harness.strict import unavailable
from harness.wait import Budget
from harness.ways import answer_on, source_seen, until_seen_as

pytestmark = pytest.mark.needs(Capability.SEGMENTS)

NAME = "sto1"
PORT = 51820
TAILNET = "100.64.0.0/10"


@dataclass(frozen=True, slots=True)
class Exit:
    """The WireGuard server, its public key, and its address in the network that it leads to."""

    machine: Machine
    public_key: str
    address: str
    outside: str

    async def admits(self, client: Client, node_key: str) -> None:
        """As its administrator does for each device that may use it."""
        key = base64.b64encode(bytes.fromhex(node_key.partition(":")[2])).decode()
        await run(self.machine, f"wg set wg0 peer {key} allowed-ips {client.address(4)}/32")


async def wireguard_server(network: Network, outside: Segment) -> Exit:
    """A machine that stands on the internet and on the segment to which it forwards, as itself."""
    machine = await network.host("wg", on=[network.internet, outside])
    outside_address = await network.address_of(machine, outside)
    public = await run(machine, "umask 077; wg genkey > /run/wg.key; wg pubkey < /run/wg.key")
    await run(
        machine,
        f"wireguard-go wg0\nwg set wg0 private-key /run/wg.key listen-port {PORT}\nip link set wg0 up mtu 1280\n"
        f"ip route add {TAILNET} dev wg0\niptables -w -t nat -A POSTROUTING -s {TAILNET} -j MASQUERADE",
    )
    address = await network.address_of(machine)
    return Exit(machine, public.strip(), address, outside_address)


async def test_a_wireguard_server_is_an_exit_node(backend: Backend, make_tailnet: MakeTailnet) -> None:
    """The site sees the server's address; who the policy does not let use it does not even see it."""
    if Capability.HOST_PROGRAMS not in backend.capabilities:
        raise NotOffered("clients' images have no WireGuard server: `nox -s networks` runs this")
    if shutil.which("wireguard-go") is None or shutil.which("wg") is None:
        unavailable(
            "there is no wireguard-go or no wg on this machine (Debian: wireguard-go, wireguard-tools)"
        )
    made: list[tuple[Exit, str]] = []

    async def with_exit(network: Network) -> Mapping[str, Any]:
        outside = await network.segment("outside", ipv4=random_public())
        site = await network.host("site", on=[outside])
        await answer_on(site)
        server = await wireguard_server(network, outside)
        made.append((server, await network.address_of(site)))
        peer = {
            "name": NAME,
            "public_key": server.public_key,
            "endpoints": [f"{server.address}:{PORT}"],
            "tags": ["tag:vpn"],
        }
        return {"wireguard_peers": [peer]}

    tailnet = await make_tailnet(config=with_exit)
    ((server, site),) = made
    await tailnet.server.set_policy(
        policy(grant("alice@", to="autogroup:internet"), grant("bob@", to="bob@"), tag_owners={"tag:vpn": []})
    )
    releases = tailnet.able(Ability.LOGOUT)
    for release in (releases[0], releases[-1]):
        client = await tailnet.join("alice", release)
        await server.admits(client, (await tailnet.node_of(client)).node_key)
        assert await source_seen(client.machine, site) is None
        assert (await client.set(f"--exit-node={NAME}")).ok
        await until_seen_as(client, site, server.outside)
        assert (await client.set("--exit-node=")).ok
        await until_seen_as(client, site, None)
        listed = (await client.cli("exit-node", "list")).message
        assert re.search(rf"\b{NAME}\b", listed), listed
    bobs = await tailnet.join("bob", releases[-1])
    await bobs.until(no_peer(NAME), Budget.SYNC)
