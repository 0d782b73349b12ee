"""A server that was away: who was online still is, until it is clear that they do not come back."""

import asyncio
import ssl

import pytest

from harness.clients.derp import DerpClient
from tests.integration.fakes import Join, Tailnet, until

# The bar is five seconds (three that a half-asked page may take, one each for what else ends); without any, far less.
STOP_S = 2.5


async def test_a_restart_shows_nobody_offline_who_is_about_to_come_back(tailnet: Tailnet, join: Join) -> None:
    """The first client that is back sees the other online, and offline only when its time to come back is over."""
    first, second, away = await join("first"), await join("second"), await join("away")
    for client in (first, second):
        await client.stream()
    await tailnet.until(lambda: tailnet.node(second.id).online and tailnet.node(first.id).online)
    for client in (first, second, away):
        await client.client.close()
    await tailnet.server.stop()
    await tailnet.server.start()

    back = await first.stream()
    online = {peer: node["Online"] for peer, node in back.netmap.peers.items()}
    assert online == {second.id: True, away.id: False}
    async with asyncio.timeout(10):
        await until(back, lambda netmap: netmap.peers[second.id]["Online"] is False)
    assert tailnet.node(first.id).online is True


async def test_who_comes_back_in_time_was_never_away(tailnet: Tailnet, join: Join) -> None:
    """Its peers hear nothing at all of it."""
    first, second = await join("first"), await join("second")
    for client in (first, second):
        await client.stream()
    await tailnet.until(lambda: tailnet.node(second.id).online and tailnet.node(first.id).online)
    for client in (first, second):
        await client.client.close()
    await tailnet.server.stop()
    await tailnet.server.start()
    back = await first.stream()
    await second.stream()
    await back.quiet(2.5)
    assert back.netmap.peers[second.id]["Online"] is True


@pytest.mark.bar("F6")
async def test_a_stop_waits_for_nobody(tailnet: Tailnet, join: Join) -> None:
    """Clients that poll and are relayed are cut off at once; a web page that is half asked for may take its time."""
    one = await join("one")
    await one.stream()
    settings = tailnet.server.settings
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    relayed = [
        await DerpClient.login(one.client.node_private, settings.host, settings.relay_port, tls=trust),
        await DerpClient.login(one.client.node_private, settings.host, settings.port),
    ]
    began = asyncio.get_running_loop().time()
    await tailnet.server.stop()
    assert asyncio.get_running_loop().time() - began < STOP_S
    await asyncio.gather(*(client.close() for client in relayed), return_exceptions=True)
