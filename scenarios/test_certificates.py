"""Certificates: nodes prove their names to a real authority by records in a real DNS server."""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from harness.backends.network import Network
from harness.clients.base import Ability, Client
from harness.errors import Missing, NotOffered
from harness.plugin import MakeTailnet
from harness.servers.knot import ALGORITHM, KEY, Knot, start_knot
from harness.servers.pebble import Pebble, start_pebble
from harness.strict import unavailable
from harness.tailnet import Tailnet
from harness.versions import Release
from harness.wait import RECHECK_SECONDS, Budget
from harness.web import fetch_page

ZONE = "tailnet.example"
AUTHORITY = "acme.pem"
# What an operator's script may look like: COMMAND add|remove NAME VALUE.
HOOK = """
import json, sys
import dns.query, dns.rcode, dns.tsig, dns.update
settings, action, name, value = sys.argv[1:]
host, port, zone, key, algorithm, secret = json.loads(settings)
update = dns.update.UpdateMessage(zone, keyring=dns.tsig.Key(key, secret, algorithm))
change = update.add if action == "add" else update.delete
change(name + ".", *([60] if action == "add" else []), "TXT", value)
answer = dns.query.tcp(update, host, port=port, timeout=10)
print(dns.rcode.to_text(answer.rcode()))
sys.exit(answer.rcode())
"""


class World:
    """What is outside the tailnet: its zone's nameserver, and an authority that asks it."""

    def __init__(self, stack: AsyncExitStack, hook: Path) -> None:
        self._stack = stack
        self._hook = hook

    async def start(self, network: Network) -> None:
        """Run both for this network's machines."""
        host = network.host_address
        try:
            self.knot: Knot = await start_knot(self._stack, host, ZONE)
            self.pebble: Pebble = await start_pebble(self._stack, host, dns_server=self.knot.address)
        except Missing as problem:
            unavailable(str(problem))

    def keys(self, backend: str) -> dict[str, object]:
        """A configuration with which the server publishes by this backend; what it publishes goes soon."""
        section, knot = "dns.certificates", self.knot
        if backend == "rfc2136":
            own: dict[str, object] = {
                f"{section}.rfc2136.server": knot.address,
                f"{section}.rfc2136.tsig_name": KEY,
                f"{section}.rfc2136.tsig_secret": knot.secret,
            }
        else:
            self._hook.write_text(HOOK)
            settings = json.dumps([knot.host, knot.port, ZONE, KEY, ALGORITHM, knot.secret])
            own = {f"{section}.exec.command": [sys.executable, str(self._hook), settings]}
        shared = {"dns.base_domain": ZONE, f"{section}.backend": backend, f"{section}.record_lifetime": "12s"}
        return {**shared, **own}

    async def joined(self, tailnet: Tailnet) -> list[Client]:
        """A client of each release that goes to this authority for certificates."""

        async def joins(release: Release) -> Client:
            client = await tailnet.client(release)
            (client.machine.data / AUTHORITY).write_bytes(self.pebble.authority)
            client.env["SSL_CERT_FILE"] = client.machine.path(AUTHORITY)
            client.env["TS_DEBUG_ACME_DIRECTORY_URL"] = self.pebble.directory
            await client.restart()
            return await tailnet.log_in(client, await tailnet.auth_key("alice"))

        clients = await tailnet.each(tailnet.able(Ability.PREFS), joins)
        await tailnet.meshed(clients)
        return clients


@pytest_asyncio.fixture(loop_scope="session")
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack, tmp_path / "hook.py")


@pytest.mark.parametrize("backend_name", ["rfc2136", "exec"])
async def test_nodes_get_certificates_for_their_own_names(
    make_tailnet: MakeTailnet, world: World, backend_name: str, pytestconfig: pytest.Config
) -> None:
    """All at once; each proves its own name and gets none for another's. The records are gone afterwards."""
    if backend_name == "exec" and pytestconfig.getoption("--control-image"):
        raise NotOffered("the program lies on this machine, not in the server's image")

    async def config(network: Network) -> dict[str, object]:
        await world.start(network)
        return world.keys(backend_name)

    tailnet = await make_tailnet(config=config)
    clients = await world.joined(tailnet)
    names = {client.name: f"{await tailnet.given_name(client)}.{ZONE}" for client in clients}
    await tailnet.each(clients, lambda c: gets_certificate(c, names[c.name], root=world.pebble.root))

    for client in clients:
        other = next(name for owner, name in names.items() if owner != client.name)
        refused = await client.cli("cert", other)
        assert not refused.ok
        assert f'must be one of ["{names[client.name]}"]' in refused.message
    async with asyncio.timeout(Budget.SYNC.seconds):
        for name in names.values():
            while await world.knot.texts(f"_acme-challenge.{name}"):  # noqa: ASYNC110  (another program's)
                await asyncio.sleep(RECHECK_SECONDS)


async def test_serve_speaks_https_with_such_a_certificate(make_tailnet: MakeTailnet, world: World) -> None:
    """It is ordered when the first visitor comes, for the name that was asked for. Funnel says what it lacks."""

    async def config(network: Network) -> dict[str, object]:
        await world.start(network)
        return world.keys("rfc2136")

    tailnet = await make_tailnet(config=config)
    clients = await world.joined(tailnet)
    visitor = await tailnet.join("bob", name="visitor")
    await tailnet.meshed([*clients, visitor])
    for client in clients:
        served = await client.cli("serve", "--bg", f"text:of {client.name}")
        assert served.ok, served.message
        url = f"https://{await tailnet.given_name(client)}.{ZONE}/"
        async with asyncio.timeout(Budget.CERTIFICATE.seconds):
            page = await fetch_page(visitor, url, root=world.pebble.root)
        assert (page.status, page.text) == (200, f"of {client.name}")
        told = await client.cli("funnel", "--bg", "text:hello")
        assert "Funnel is not enabled for this node" in told.message


async def gets_certificate(client: Client, name: str, *, root: bytes) -> None:
    """`tailscale cert`, and a handshake with what it wrote."""
    files = [f"--cert-file={client.machine.path('own.crt')}", f"--key-file={client.machine.path('own.key')}"]
    done = await client.cli("cert", *files, name, budget=Budget.CERTIFICATE)
    assert done.ok, done.message
    shakes_hands(client.machine.data / "own.crt", client.machine.data / "own.key", name, root)


def shakes_hands(certificate: Path, key: Path, name: str, root: bytes) -> None:
    """TLS in memory between a server with this certificate and a client that trusts this root; raises SSLError."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    asking = ssl.create_default_context(cadata=root.decode())
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        asking.wrap_bio(back, there, server_hostname=name),
        serving.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert sides[0].version() is not None
