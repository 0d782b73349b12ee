"""SIGHUP: the configuration is read again, and clients that are connected learn what is different."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

from harness.browsing import Page, open_browser
from harness.clients.fake import FakeClient, MapStream
from harness.servers.configuration import Configuration
from harness.servers.identity import IdentityProvider
from harness.servers.local import local_settings
from harness.servers.process import ProcessServer
from headscale.config.settings import Config
from headscale.reload import AT_START
from tests.integration.fakes import PATIENCE_S, registered, until
from tests.integration.people import ALICE

POLICY = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
REGIONS = {"regions": {"900": {"regionid": 900, "regioncode": "far", "regionname": "Far", "nodes": [
    {"name": "900a", "regionid": 900, "hostname": "far.example"}]}}}  # fmt: skip
FIRST: dict[str, Any] = {
    "dns.base_domain": "first.example",
    "dns.extra_records": [{"name": "a.example", "type": "A", "value": "192.0.2.1"}],
}


class Reloading:
    """A server of its own process, and what it said."""

    def __init__(self, server: ProcessServer) -> None:
        self.server = server

    async def reload(self, keys: dict[str, Any], *, says: str, files: dict[str, str] | None = None) -> str:
        """Have this configuration read; returns the log since then, once it has these words."""
        before = len(self.server.output)
        self.server.reload(Configuration(keys, files or {}))
        async with asyncio.timeout(PATIENCE_S):
            while says not in self.server.output[before:]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return self.server.output[before:]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


@pytest.fixture
async def reloading(stack: AsyncExitStack) -> Reloading:
    settings = local_settings(
        "127.0.0.1",
        ephemeral_timeout=timedelta(minutes=5),
        configuration=Configuration(FIRST, {"policy.json": POLICY, "regions.yaml": json.dumps(REGIONS)}),
    )
    server = ProcessServer(settings)
    stack.push_async_callback(server.close)
    await server.start()
    return Reloading(server)


@pytest.fixture
async def stream(reloading: Reloading, stack: AsyncExitStack) -> MapStream:
    """A client's poll that has its first map."""
    server = reloading.server
    user = await server.create_user("alice")
    key = await server.create_key(user, reusable=False, ephemeral=False, lifetime=timedelta(hours=1), tags=())
    client = await stack.enter_async_context(FakeClient(server.url, hostname="laptop"))
    await registered(client, key.text)
    stream = await client.stream_map()
    stack.callback(stream.close)
    await until(stream, lambda netmap: netmap.updates > 0)
    return stream


READ = "SIGHUP: the configuration was read again"


async def test_clients_learn_what_changed(reloading: Reloading, stream: MapStream) -> None:
    """Names, resolvers, records, relays, updates: each at once, on the poll that is open."""
    changes: list[tuple[dict[str, Any], Callable[[Any], bool]]] = [
        (
            {"dns.base_domain": "second.example", "dns.nameservers.global": ["192.0.2.53"]},
            lambda n: (
                n.node["Name"] == "laptop.second.example."
                and [r["Addr"] for r in n.dns["Resolvers"]] == ["192.0.2.53"]
            ),
        ),
        (
            {"dns.extra_records": [{"name": "b.example", "type": "A", "value": "192.0.2.2"}]},
            lambda n: [r["Name"] for r in n.dns["ExtraRecords"]] == ["b.example"],
        ),
        ({"derp.paths": ["regions.yaml"]}, lambda n: "900" in map(str, n.derp_map["Regions"])),
        ({"derp.paths": []}, lambda n: "900" not in map(str, n.derp_map["Regions"])),
        (
            {"auto_update.enabled": True},
            lambda n: n.node["CapMap"]["default-auto-update"] == [True],
        ),
    ]
    keys = dict(FIRST)
    for changed, holds in changes:
        keys |= changed
        await reloading.reload(keys, says=READ)
        await until(stream, holds)


async def test_wireguard_peers_come_change_and_go(reloading: Reloading, stream: MapStream) -> None:
    peer = {
        "name": "sto1",
        "public_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "endpoints": ["192.0.2.1:51820"],
        "tags": ["tag:vpn"],
    }
    await reloading.reload({**FIRST, "wireguard_peers": [peer]}, says="WireGuard peers changed count=1")
    await until(stream, lambda m: [p["Name"] for p in m.peers.values()] == ["sto1.first.example."])
    (number,) = stream.netmap.peers
    moved = {**peer, "endpoints": ["192.0.2.2:51820"]}
    await reloading.reload({**FIRST, "wireguard_peers": [moved]}, says="WireGuard peers changed count=1")
    await until(stream, lambda m: m.peers[number]["Endpoints"] == ["192.0.2.2:51820"])
    await reloading.reload(FIRST, says="WireGuard peers changed count=1")
    await until(stream, lambda m: not m.peers)


async def test_logins_follow_the_identity_providers(reloading: Reloading, stack: AsyncExitStack) -> None:
    """One that comes, another beside it, whom it lets in, and none any more: each seen by the next login."""
    first, second = [await identity_provider(stack) for _ in range(2)]
    client = await stack.enter_async_context(FakeClient(reloading.server.url, hostname="laptop"))
    url = str((await client.register())["AuthURL"])

    async def seen(keys: dict[str, Any]) -> Page:
        await reloading.reload({**FIRST, **keys}, says=READ)
        return await (await stack.enter_async_context(open_browser())).get(url)

    assert "headscale auth register" in (await seen({})).text
    asked = await seen(first.configuration)
    assert (asked.status, "alice@example.com" in asked.text, asked.has_form) == (200, True, True)
    other = {
        **{key.removeprefix("oidc."): value for key, value in second.configuration.items()},
        "name": "partners",
    }
    choice = await seen({**first.configuration, "oidc.others": [other]})
    assert [f"/oidc/start/{name}/register/" in choice.text for name in ("oidc", "partners")] == [True, True]
    refused = await seen({**first.configuration, "oidc.allowed_domains": ["corp.example"]})
    assert (refused.status, refused.has_form) == (403, False)
    assert (await seen({**first.configuration, "oidc.allowed_domains": ["example.com"]})).has_form
    gone = await seen({})
    assert ("headscale auth register" in gone.text, gone.has_form) == (True, False)


async def identity_provider(stack: AsyncExitStack) -> IdentityProvider:
    """One at which alice logs in."""
    made = IdentityProvider()
    await made.start()
    stack.push_async_callback(made.close)
    made.knows("sub-alice", **ALICE)
    return made


async def test_the_policy_may_come_from_a_file_from_now_on(reloading: Reloading, stream: MapStream) -> None:
    await reloading.reload({**FIRST, "policy.path": "policy.json"}, says=READ)
    assert (await reloading.server.call("GET", "policy"))["policy"] == POLICY


async def test_a_mistake_changes_nothing_and_is_named(reloading: Reloading, stream: MapStream) -> None:
    said = await reloading.reload(
        {**FIRST, "dns.base_domain": "second.example", "log.level": "loud", "nonsense": 1},
        says="all stays as it is",
    )
    assert "log.level" in said
    assert "unknown key nonsense" in said
    said = await reloading.reload(
        {**FIRST, "derp.paths": ["broken.yaml"], "taildrop.enabled": False},
        says=READ,
        files={"broken.yaml": "regions: ["},
    )
    assert "the DERP map stays as it is" in said
    await until(stream, lambda netmap: "https://tailscale.com/cap/file-sharing" not in netmap.node["CapMap"])
    assert stream.netmap.node["Name"] == "laptop.first.example."


async def test_what_waits_for_a_restart_is_named(reloading: Reloading) -> None:
    said = await reloading.reload(
        {
            **FIRST,
            "prefixes.v4": "100.100.0.0/16",
            "prefixes.v6": "fd7a:115c:a1e0::/48",
            "tuning.register_cache_max_entries": 5,
        },
        says="takes effect at the next start",
    )
    assert "tuning.register_cache_max_entries, prefixes.v4 changed" in said
    assert "prefixes" not in await reloading.reload(FIRST, says=READ)


async def test_the_level_of_the_log_follows(reloading: Reloading) -> None:
    await reloading.reload({**FIRST, "log.level": "error"}, says="")
    server = reloading.server
    await server.call("GET", "health")
    quiet = len(server.output)
    await server.set_policy(POLICY)
    assert "policy set" not in server.output[quiet:]
    await reloading.reload({**FIRST, "log.level": "info"}, says=READ)
    await server.set_policy("{}")
    assert "policy set" in server.output[quiet:]


def test_every_part_of_the_configuration_is_either_reloaded_or_named() -> None:
    at_once = {
        *("source", "derp_sources", "tailnet", "extra_records_path", "policy", "log_level", "later", "oidc"),
        "wireguard_peers",
        *("cli_timeout", "cli_address", "cli_api_key", "cli_insecure"),  # of no concern to the server
    }
    assert {field.name for field in fields(Config)} == AT_START.keys() | at_once
