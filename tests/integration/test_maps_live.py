"""What clients are told over real sockets while others come, change and go."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from harness.clients.fake import AnswerRefused, FakeClient, MapStream, PollEnded
from harness.clients.session import SessionClosed, StreamCut
from harness.servers.inprocess import InProcessServer, config_of
from harness.servers.local import LocalSettings
from harness.servers.rest import RestAdmin
from headscale.app import running
from headscale.clock import SystemClock
from headscale.mapper.fanout import KEEP_ALIVE_S
from tests.integration.fakes import GRACE, PATIENCE_S, Enrolled, Join, Tailnet, registered, until

DEAD = (PollEnded, SessionClosed, StreamCut)


async def next_change(stream: MapStream) -> dict[str, object]:
    """The next message, without its time."""
    message = await stream.next_message(within=PATIENCE_S)
    assert message.pop("ControlTime")
    return message


async def drain(stream: MapStream) -> None:
    """Read until the poll ends, which raises."""
    while True:
        await stream.next_message(within=PATIENCE_S)


@pytest.fixture
async def pair(join: Join) -> AsyncIterator[tuple[Enrolled, MapStream, Enrolled, MapStream]]:
    """Two clients with open polls that see each other online."""
    one, two = await join("one"), await join("two", user="2")
    first, second = await one.stream(), await two.stream()
    await until(first, lambda netmap: netmap.peers[two.id].get("Online") is True)
    await until(second, lambda netmap: netmap.peers[one.id].get("Online") is True)
    yield one, first, two, second
    first.close()
    second.close()


Pair = tuple[Enrolled, MapStream, Enrolled, MapStream]


@pytest.mark.parametrize("compress", ["zstd", ""])
async def test_a_poll_begins_with_the_full_map(join: Join, compress: str) -> None:
    """Of a client that compresses and of one that does not."""
    one, two, three = await join("one"), await join("two", user="2"), await join("three")
    netmap = (await two.stream(compress=compress)).netmap
    assert netmap.node is not None
    assert netmap.node["Addresses"] == ["100.64.0.2/32", "fd7a:115c:a1e0::2/128"]
    assert (netmap.node["Name"], netmap.node["Online"]) == ("two.tailnet.internal.", True)
    assert {peer["Name"] for peer in netmap.peers.values()} == {
        "one.tailnet.internal.",
        "three.tailnet.internal.",
    }
    assert {netmap.profiles[peer["User"]]["LoginName"] for peer in netmap.peers.values()} == {"alice"}
    assert {one.id, three.id} == set(netmap.peers)
    assert netmap.packet_filter
    assert netmap.derp_map is not None
    assert list(netmap.derp_map["Regions"]) == ["999"]
    assert netmap.dns is not None
    assert netmap.dns["Domains"] == ["tailnet.internal"]


async def test_a_newcomer_appears_at_everybody_else(pair: Pair, join: Join) -> None:
    """Whole, with its owner, without another map."""
    _, first, _, second = pair
    three = await join("three")
    for stream in (first, second):
        netmap = await until(stream, lambda netmap: three.id in netmap.peers)
        assert netmap.peers[three.id]["Key"] == three.client.node_key
        assert netmap.peers[three.id]["Online"] is False


async def test_going_offline_is_seen_after_the_grace_and_coming_back_at_once(pair: Pair) -> None:
    """As patches; last seen comes with it."""
    _, first, two, second = pair
    loop = asyncio.get_running_loop()
    left = loop.time()
    second.close()
    change = await next_change(first)
    assert loop.time() - left >= GRACE.total_seconds()
    [patch] = change["PeersChangedPatch"]  # type: ignore[misc]
    assert patch["NodeID"] == two.id
    assert patch["Online"] is False
    assert datetime.fromisoformat(patch["LastSeen"])
    assert set(change) == {"PeersChangedPatch"}
    await two.stream()
    assert (await next_change(first))["PeersChangedPatch"] == [{"NodeID": two.id, "Online": True}]


async def test_a_change_of_networks_within_the_grace_is_not_seen(pair: Pair) -> None:
    _, first, two, second = pair
    second.close()
    again = await two.stream()
    await first.quiet(GRACE.total_seconds() * 1.5)
    again.close()


async def test_endpoints_reach_the_other_as_a_patch_and_not_oneself(pair: Pair) -> None:
    """The reply to a lite update is empty; the client checks that."""
    one, first, two, second = pair
    await two.client.lite_update(endpoints=["192.0.2.7:41641", "[fe80::1%eth0]:1", "[2001:db8::7]:41641"])
    change = await next_change(first)
    [patch] = change["PeersChangedPatch"]  # type: ignore[misc]
    assert patch["Endpoints"] == ["192.0.2.7:41641", "[2001:db8::7]:41641"]
    await two.client.lite_update(endpoints=[])
    await one.client.lite_update(endpoints=["192.0.2.1:1"])
    message = await next_change(second)
    assert set(message) == {"PeersChangedPatch"}
    assert message["PeersChangedPatch"] == [{"NodeID": one.id, "Endpoints": ["192.0.2.1:1"]}]


async def test_the_same_report_again_is_not_passed_on(pair: Pair) -> None:
    _, first, two, _ = pair
    await two.client.lite_update(endpoints=["192.0.2.7:41641"])
    await next_change(first)
    await two.client.lite_update(endpoints=["192.0.2.7:41641"])
    await first.quiet(0.1)


async def test_a_home_relay_is_told_to_peers_and_to_its_own(pair: Pair) -> None:
    """A client learns its home from its own node."""
    _, first, two, second = pair
    net_info = {**two.client.hostinfo, "NetInfo": {"PreferredDERP": 999}}
    await two.client.lite_update(hostinfo=net_info)
    assert (await next_change(first))["PeersChangedPatch"] == [{"NodeID": two.id, "DERPRegion": 999}]
    own = await next_change(second)
    assert own["Node"]["HomeDERP"] == 999  # type: ignore[index]


async def test_a_restarted_client_is_found_by_its_new_disco_key(pair: Pair) -> None:
    _, first, two, second = pair
    second.close()
    disco = two.client.restart()
    again = await two.stream()
    netmap = await until(first, lambda netmap: netmap.peers[two.id].get("DiscoKey") == disco)
    assert netmap.peers[two.id]["Online"] is True
    again.close()


async def test_a_newer_poll_ends_the_older_of_the_same_node(pair: Pair) -> None:
    """And the node stays online."""
    _, first, two, second = pair
    again = await two.stream()
    with pytest.raises(PollEnded):
        await second.next_message(within=PATIENCE_S)
    await first.quiet(GRACE.total_seconds() * 1.5)
    again.close()


async def test_a_rename_reaches_both_sides(pair: Pair, tailnet: Tailnet) -> None:
    _, first, two, second = pair
    await tailnet.server.rename_node(str(two.id), "Printer")
    netmap = await until(first, lambda netmap: netmap.peer_named("printer") is not None)
    assert netmap.peers[two.id]["Name"] == "printer.tailnet.internal."
    await until(second, lambda netmap: netmap.node is not None and netmap.node["Name"].startswith("printer."))


async def test_a_deleted_node_goes_and_its_poll_ends(pair: Pair, tailnet: Tailnet) -> None:
    """Its client then hears that it is unknown, and may not come back by itself."""
    _, first, two, second = pair
    await tailnet.server.delete_node(str(two.id))
    await until(first, lambda netmap: two.id not in netmap.peers)
    with pytest.raises(PollEnded):
        await drain(second)
    with pytest.raises(AnswerRefused, match="404: node not found"):
        await two.client.stream_map()
    assert (
        "/register/" in (await two.client.register())["AuthURL"]
    )  # it is nobody, as if it had never been here


async def test_a_logout_is_seen_as_an_end_of_the_key(pair: Pair) -> None:
    """At the peer as a past expiry that is not 1970's, at the client's own poll as its node's."""
    _, first, two, second = pair
    assert (await two.client.logout())["NodeKeyExpired"] is True
    netmap = await until(first, lambda netmap: "KeyExpiry" in netmap.peers[two.id])
    assert datetime.fromisoformat(netmap.peers[two.id]["KeyExpiry"]).year > 2020
    await until(second, lambda netmap: netmap.node is not None and "KeyExpiry" in netmap.node)


async def test_a_new_login_after_a_logout_is_the_same_peer_again(pair: Pair, tailnet: Tailnet) -> None:
    _, first, two, _ = pair
    await two.client.logout()
    await until(first, lambda netmap: "KeyExpiry" in netmap.peers[two.id])
    old = two.client.rotate_node_key()
    await registered(two.client, await tailnet.key("2"), old_node_key=old)
    netmap = await until(first, lambda netmap: netmap.peers[two.id]["Key"] == two.client.node_key)
    assert netmap.peers[two.id].get("KeyExpiry", "0001-").startswith("0001-")
    assert not netmap.peers[two.id].get("Expired")


async def test_a_rotated_node_key_is_a_patch_at_the_peer(pair: Pair, tailnet: Tailnet) -> None:
    """The old key's poll goes on, so that nothing is lost in between; the old key then opens nothing."""
    _, first, two, _ = pair
    stale = await tailnet.client(
        machine_private=two.client.machine_private, node_private=two.client.node_private
    )
    old = two.client.rotate_node_key()
    await registered(two.client, await tailnet.key("2"), old_node_key=old)
    change = await next_change(first)
    assert change["PeersChangedPatch"] == [{"NodeID": two.id, "Key": two.client.node_key}]
    await two.stream()
    with pytest.raises(AnswerRefused, match="404"):
        await stale.stream_map()


async def test_an_expiry_and_its_end_reach_the_peer(pair: Pair, tailnet: Tailnet) -> None:
    _, first, two, _ = pair
    await tailnet.server.expire_node(str(two.id))
    await until(first, lambda netmap: "KeyExpiry" in netmap.peers[two.id])
    await tailnet.server.never_expire_node(str(two.id))
    netmap = await until(
        first, lambda netmap: netmap.peers[two.id].get("KeyExpiry", "0001-").startswith("0001-")
    )
    assert not netmap.peers[two.id].get("Expired")


async def test_a_logged_out_ephemeral_node_disappears(pair: Pair, join: Join) -> None:
    _, first, _, _ = pair
    guest = await join("guest", ephemeral=True)
    await until(first, lambda netmap: guest.id in netmap.peers)
    await guest.client.logout()
    await until(first, lambda netmap: guest.id not in netmap.peers)


async def test_a_one_shot_map_is_full_and_changes_nothing(pair: Pair) -> None:
    """No poll, not online by it."""
    _, first, two, _ = pair
    for compress in ("zstd", ""):
        full = await two.client.map_once(compress=compress)
        assert {"Node", "Peers", "DERPMap", "DNSConfig", "PacketFilters"} <= set(full)
    await first.quiet(0.1)


async def test_three_clients_agree_after_a_storm(join: Join, tailnet: Tailnet) -> None:
    """Many changes at once, and each client ends up with what a new one is told."""
    clients = [await join(f"c{number}") for number in range(3)]
    streams = [await client.stream() for client in clients]

    async def storm(enrolled: Enrolled) -> None:
        for number in range(20):
            await enrolled.client.lite_update(endpoints=[f"192.0.2.{enrolled.id}:{number + 1}"])

    renames = [
        tailnet.server.rename_node(str(client.id), f"final{number}") for number, client in enumerate(clients)
    ]
    await asyncio.gather(*(storm(client) for client in clients), *renames)
    for client, stream in zip(clients, streams, strict=True):
        fresh = await client.client.map_once()
        wanted = {peer["ID"]: (peer["Name"], peer["Endpoints"], peer["Online"]) for peer in fresh["Peers"]}
        await until(
            stream,
            lambda netmap, wanted=wanted: (
                {  # type: ignore[misc]
                    i: (peer["Name"], peer.get("Endpoints"), peer["Online"])
                    for i, peer in netmap.peers.items()
                }
                == wanted
            ),
        )


async def test_a_server_that_comes_back_finds_its_clients_as_they_were(pair: Pair, tailnet: Tailnet) -> None:
    """Polls end in good order; after the start the same keys poll again, with the same addresses."""
    one, first, two, second = pair
    addresses = {node.id: node.addresses for node in await tailnet.server.nodes()}
    await tailnet.server.stop()
    for stream in (first, second):
        with pytest.raises(DEAD):
            await drain(stream)
    await tailnet.server.start()
    assert {node.id: node.addresses for node in await tailnet.server.nodes()} == addresses
    assert all(node.online for node in await tailnet.server.nodes())  # they are about to come back
    assert (await one.client.register())["MachineAuthorized"] is True
    again = await one.stream()
    assert again.netmap.peers[two.id]["Online"] is True
    await two.stream()
    assert (await tailnet.join("three")).id == two.id + 1


async def test_a_client_that_stops_reading_holds_nobody_up(pair: Pair, join: Join) -> None:
    """Its changes wait; the other's do not."""
    _, first, two, _ = pair
    two.client.session.abandon()
    for number in range(20):
        await join(f"more{number}")
    await until(first, lambda netmap: len(netmap.peers) == 21)


class Hastened(SystemClock):
    """The machine's clocks, whose monotonic time can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


async def test_a_quiet_poll_is_kept_alive(settings: LocalSettings) -> None:
    """Before the client's patience is over."""
    clock = Hastened()
    async with running(config_of(settings), clock=clock):
        admin = RestAdmin(settings.socket)
        user = await admin.create_user("alice")
        key = await admin.create_key(
            user, reusable=False, ephemeral=False, lifetime=timedelta(hours=1), tags=()
        )
        async with FakeClient(settings.url) as client:
            await registered(client, key.text)
            stream = await client.stream_map()
            await until(stream, lambda netmap: netmap.updates == 1)
            clock.ahead += KEEP_ALIVE_S[1]
            message = await stream.next_message(within=PATIENCE_S)
            assert message["KeepAlive"] is True
            assert set(message) == {"KeepAlive", "ControlTime"}


async def test_a_grace_is_not_waited_for_at_the_end(server: InProcessServer) -> None:
    """A server stops at once, however many have just left."""
    user = await server.create_user("alice")
    key = await server.create_key(user, reusable=False, ephemeral=False, lifetime=timedelta(hours=1), tags=())
    async with FakeClient(server.url) as client:
        await registered(client, key.text)
        (await client.stream_map()).close()
    began = asyncio.get_running_loop().time()
    await server.stop()
    assert asyncio.get_running_loop().time() - began < 3
