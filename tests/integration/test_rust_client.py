"""The official Rust client beside a Go one on our server: they join, reach each other, leave and come back."""

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from harness.backends.choose import choose
from harness.backends.network import Network
from harness.clients.rust.client import RustClient, start_rust_client
from harness.clients.tailscaled import TailscaledClient, start_client
from harness.conditions import (
    has_addresses,
    needs_login,
    no_peer,
    running,
    sees,
    sees_offline,
    sees_online,
    stopped,
)
from harness.errors import BuildFailed, Missing, Unsupported
from harness.reach import assert_reach
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.strict import unavailable
from harness.tailnet import all_pairs
from harness.versions import RUST, resolve
from harness.wait import Budget, until_it_holds

pytestmark = pytest.mark.timeout(1200)  # the first run builds clients

NEWEST = resolve("newest")[0]

LOOPBACK = "127.0.0.1"

HOUR = timedelta(hours=1)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    """Processes on loopback, with both clients built."""
    backend = choose("process")
    try:
        await backend.prepare([RUST, NEWEST])
    except (Missing, BuildFailed) as error:
        unavailable(str(error))
    async with backend.network(uuid.uuid4().hex[:6]) as entered:
        yield entered
    await backend.close()


@pytest.fixture
async def server() -> AsyncIterator[InProcessServer]:
    """Our server with its embedded relay."""
    made = InProcessServer(local_settings(LOOPBACK, ephemeral_timeout=HOUR))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def rust(network: Network) -> AsyncIterator[RustClient]:
    """A Rust client that is not connected."""
    client = await start_rust_client(await network.machine("rust", RUST), RUST)
    yield client
    await client.close()


@pytest.fixture
async def go(network: Network) -> AsyncIterator[TailscaledClient]:
    """A Go client that is not connected."""
    client = await start_client(await network.machine("go", NEWEST), NEWEST)
    yield client
    await client.close()


async def new_key(server: InProcessServer, *, lifetime: timedelta = HOUR) -> str:
    """A pre-auth key for one machine, of a user of its own."""
    user = await server.create_user(f"u{uuid.uuid4().hex[:8]}")
    key = await server.create_key(user, reusable=False, ephemeral=False, lifetime=lifetime, tags=())
    return key.text


async def join(server: InProcessServer, *clients: RustClient | TailscaledClient) -> None:
    """All of them are Running and see each other."""
    for client in clients:
        result = await client.up(server.url, auth_key=await new_key(server))
        assert result.ok, result.message
    for client in clients:
        others = [other.name for other in clients if other is not client]
        await client.until(running() & has_addresses() & sees(others), Budget.SYNC)


async def test_rust_and_go_reach_each_other(
    server: InProcessServer, rust: RustClient, go: TailscaledClient
) -> None:
    """TCP, UDP and ICMP go both ways over IPv4 and IPv6, and each is reached by its MagicDNS name."""
    await join(server, rust, go)
    by_name = [(rust, go.tcp(by="name")), (go, rust.tcp(by="name"))]
    await assert_reach(dict.fromkeys([*all_pairs([rust, go]), *by_name], True))


async def test_it_knows_itself_and_its_peers(
    server: InProcessServer, rust: RustClient, go: TailscaledClient
) -> None:
    """Its status has the addresses and names that the server gave, and it follows a rename and a deletion."""
    await join(server, rust, go)
    status = await rust.read()
    listed = {node.given_name: node for node in await server.nodes()}
    assert [str(address) for address in status.addresses] == list(listed["rust"].addresses)
    peer = status.peer("go")
    assert peer is not None
    assert [str(address) for address in peer.addresses] == list(listed["go"].addresses)
    assert (await rust.resolve(peer.dns_name)).addresses == (listed["go"].addresses[0],)
    assert (await rust.resolve("nobody")).code == 3
    await server.rename_node(listed["go"].id, "printer")
    await rust.until(sees(["printer"]) & no_peer("go"), Budget.SYNC)
    await server.delete_node(listed["go"].id)
    await rust.until(no_peer("printer"), Budget.SYNC)


async def test_a_refusal_reaches_its_user(server: InProcessServer, rust: RustClient) -> None:
    """The server's words are in the message of `up`, the client stays out, and a good key lets it in."""
    result = await rust.up(server.url, auth_key=await new_key(server, lifetime=timedelta(seconds=-1)))
    assert not result.ok
    assert "has expired" in result.message
    await until_it_holds(rust, needs_login(), Budget.SYNC)
    assert (await rust.up(server.url, auth_key=await new_key(server))).ok


async def test_it_leaves_and_comes_back(
    server: InProcessServer, rust: RustClient, go: TailscaledClient
) -> None:
    """Down, killed, and after a restart of the server, it is the same node when it is back, and reachable."""
    await join(server, rust, go)
    before = [(node.id, node.addresses) for node in await server.nodes()]
    await rust.down()
    await rust.until(stopped(), Budget.DAEMON)
    await go.until(sees_offline("rust"), Budget.OFFLINE)
    assert (await rust.reconnect()).ok
    await rust.kill()
    await rust.start()
    await rust.until(running(), Budget.JOIN)
    await server.stop()
    await server.start()
    await go.until(sees_online("rust"), Budget.RECONNECT)
    await rust.until(sees_online("go"), Budget.RECONNECT)
    await assert_reach(dict.fromkeys(all_pairs([rust, go]), True))
    assert [(node.id, node.addresses) for node in await server.nodes()] == before


async def test_what_it_cannot_do_it_says(rust: RustClient) -> None:
    """Logout, profiles and preferences are Unsupported, with the reason."""
    with pytest.raises(Unsupported, match="cannot give its node key up"):
        await rust.logout()
    with pytest.raises(Unsupported, match="no profiles"):
        await rust.login("http://127.0.0.1", auth_key="x")
    with pytest.raises(Unsupported, match="no command line for --hostname=x"):
        await rust.set("--hostname=x")
