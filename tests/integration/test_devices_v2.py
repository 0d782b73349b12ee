"""What REST v2 does to devices that are connected, and what depends on the configuration."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from harness.servers.configuration import Configuration
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from tests.integration.doors import Door, doors_of
from tests.integration.fakes import EPHEMERAL_TIMEOUT, GRACE, Join, Tailnet, until

DOMAIN = "tail.example.com"


@pytest.fixture
async def server() -> AsyncIterator[InProcessServer]:
    """With a domain, and keys that live for 30 days."""
    keys = {"node.expiry": "30d", "dns.magic_dns": True, "dns.base_domain": DOMAIN}
    settings = local_settings(
        "127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT, configuration=Configuration(keys=keys)
    )
    made = InProcessServer(settings, grace=GRACE)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def admin(server: InProcessServer) -> AsyncIterator[Door]:
    async with doors_of(server) as (socket, _):
        yield socket.v2


async def shown(admin: Door, node_id: int) -> dict[str, Any]:
    status, document = await admin("GET", f"device/{node_id}")
    assert status == 200
    return dict(document)


async def test_another_address_is_told_to_the_device_and_its_peers(
    tailnet: Tailnet, join: Join, admin: Door
) -> None:
    one, two = await join("one"), await join("two")
    streams = [await each.stream() for each in (one, two)]
    old = (await shown(admin, one.id))["addresses"][0]
    assert await admin("POST", f"device/{one.id}/ip", {"ipv4": "100.64.9.9"}) == (200, {})

    def has(addresses: list[str], address: str) -> bool:
        return f"{address}/32" in addresses

    await until(streams[0], lambda netmap: has((netmap.node or {})["Addresses"], "100.64.9.9"))
    await until(
        streams[1], lambda netmap: any(has(peer["Addresses"], "100.64.9.9") for peer in netmap.peers.values())
    )
    three = await join("three")
    addresses = tailnet.node_of(three.client).addresses
    assert ip_address("100.64.9.9") not in addresses
    assert ip_address(old) not in addresses


async def test_a_key_ends_and_never_ends(join: Join, admin: Door) -> None:
    """What is written is read; a key that has an end keeps it."""
    node = await join("one")
    first = await shown(admin, node.id)
    assert first["keyExpiryDisabled"] is False
    path = f"device/{node.id}/key"
    assert await admin("POST", path, {"keyExpiryDisabled": False}) == (200, {})
    assert (await shown(admin, node.id))["expires"] == first["expires"]
    assert await admin("POST", path, {"keyExpiryDisabled": True}) == (200, {})
    never = await shown(admin, node.id)
    assert (never["keyExpiryDisabled"], "expires" in never) == (True, False)
    assert await admin("POST", path, {"keyExpiryDisabled": False}) == (200, {})
    left = datetime.fromisoformat((await shown(admin, node.id))["expires"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


async def test_a_key_that_is_ended_has_ended(tailnet: Tailnet, join: Join, admin: Door) -> None:
    node = await join("one")
    assert await admin("POST", f"device/{node.id}/expire") == (200, {})
    assert tailnet.node(node.id).expired  # type: ignore[union-attr]
    assert (await shown(admin, node.id))["keyExpiryDisabled"] is False


@pytest.mark.parametrize(
    ("name", "status", "told"),
    [
        ("desk", 200, "desk"),
        (f"desk.{DOMAIN}", 200, "desk"),
        (f"desk.{DOMAIN}.", 200, "desk"),
        ("desk.x", 400, "one"),
    ],
)
async def test_a_name_may_have_the_domain(join: Join, admin: Door, name: str, status: int, told: str) -> None:
    node = await join("one")
    assert (await admin("POST", f"device/{node.id}/name", {"name": name}))[0] == status
    assert (await shown(admin, node.id))["name"] == told


async def test_the_tailnet_has_its_domains_name_too(admin: Door) -> None:
    for tailnet, status in (("-", 200), (DOMAIN, 200), ("example.com", 404)):
        assert (await admin("GET", f"tailnet/{tailnet}/devices"))[0] == status
