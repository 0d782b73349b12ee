"""Policies through the running server: who is told of whom, what is kept, and what a broken one does."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness.clients.fake import MapStream
from harness.servers.inprocess import InProcessServer, config_of
from harness.servers.local import LocalSettings
from headscale.api.v1.policy import TEXT_MAX_BYTES
from headscale.app import App, running
from headscale.config.settings import PolicyMode, PolicySettings
from headscale.errors import Malformed, Unavailable
from headscale.sources.policy import NOT_HERE
from tests.integration.fakes import PATIENCE_S, Enrolled, Tailnet, until

OPEN = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]} // everybody\n'
APART = """{
  // each user's own
  "acls": [
    {"action": "accept", "src": ["alice@"], "dst": ["alice@:*"]},
    {"action": "accept", "src": ["bob@"], "dst": ["bob@:*"]},
  ],
}
"""
BROKEN = '{\n  "acls": [\n    {"action": "accept", "src": ["group:nobody"], "dst": ["*:*"]}\n  ]\n}'
FAILING = """{
  "acls": [{"action": "accept", "src": ["alice@"], "dst": ["bob@:22"]}],
  "tests": [{"src": "bob@", "accept": ["alice@:22"]}]
}"""

Call = Callable[..., Awaitable[tuple[int, Any]]]


async def ask(socket: Path, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """The API's answer on this socket."""
    connector = aiohttp.UnixConnector(str(socket))
    async with aiohttp.ClientSession("http://headscale", connector=connector) as session:
        async with session.request(method, f"/api/v1/{path}", json=body) as answer:
            return answer.status, await answer.json(content_type=None)


@pytest.fixture
def call(server: InProcessServer) -> Call:
    """Ask the API of the server."""

    async def called(method: str, path: str, body: object = None) -> tuple[int, Any]:
        return await ask(server.settings.socket, method, path, body)

    return called


async def seen(url: str) -> tuple[int, Any]:
    """What /health of the main listener says to anybody."""
    async with aiohttp.ClientSession(url) as session, session.get("/health") as answer:
        return answer.status, await answer.json(content_type=None)


async def put(call: Call, text: str) -> Any:
    """Set a policy that is good."""
    status, document = await call("PUT", "policy", {"policy": text})
    assert status == 200, document
    return document


async def test_a_policy_comes_back_byte_for_byte(call: Call) -> None:
    """Comments and all; with the time at which it was set."""
    document = await put(call, OPEN)
    assert document["policy"] == OPEN
    assert datetime.fromisoformat(document["updatedAt"]).year > 2020
    assert document["updatedAt"].endswith("Z")
    assert await call("GET", "policy") == (200, document)
    assert set(document) == {"policy", "updatedAt"}


async def test_every_policy_that_was_set_can_be_read_by_its_id(call: Call, tailnet: Tailnet) -> None:
    """The audit log names the ids: an act is undone with the text of before."""
    first, second = await put(call, OPEN), await put(call, APART)
    assert await call("GET", "policy/1") == (200, {"id": "1", **first})
    events = (await call("GET", "audit?limit=2"))[1]["events"]
    told = [change for event in events for change in event["changes"]]
    assert [(each["target"], each["before"], each["after"]) for each in told] == [
        ("policy 2", {"id": 1, "bytes": len(OPEN)}, {"id": 2, "bytes": len(APART)}),
        ("policy 1", None, {"id": 1, "bytes": len(OPEN)}),
    ]
    await tailnet.server.stop()
    await tailnet.server.start()
    assert await call("GET", "policy/2") == (200, {"id": "2", **second})
    status, document = await call("GET", "policy/3")
    assert (status, document["detail"]) == (404, "no policy has the id 3")
    assert (await call("GET", "policy/0"))[0] == 400


async def test_without_a_policy_there_is_none_to_get(call: Call) -> None:
    """In words that the peer's clients look for."""
    status, document = await call("GET", "policy")
    assert status == 404
    assert "acl policy not found" in document["detail"]


@pytest.mark.bar("F7")
async def test_a_broken_policy_is_refused_with_every_place_and_changes_nothing(call: Call) -> None:
    kept = await put(call, OPEN)
    status, document = await call("PUT", "policy", {"policy": BROKEN})
    assert (status, document["title"]) == (400, "Bad Request")
    [error] = document["errors"]
    assert (error["line"], error["location"]) == (3, "acls[0].src[0]")
    assert error["column"] > 1
    assert "group:nobody" in error["message"]
    assert "line 3" in document["detail"]
    assert await call("GET", "policy") == (200, kept)


async def test_a_policy_whose_tests_fail_is_refused(call: Call, tailnet: Tailnet) -> None:
    await tailnet.join("one", user="1")
    await tailnet.join("two", user="2")
    status, document = await call("PUT", "policy", {"policy": FAILING})
    assert status == 400
    assert "alice@:22" in document["detail"]
    assert (await call("GET", "policy"))[0] == 404


async def test_a_check_says_the_same_and_keeps_nothing(call: Call) -> None:
    assert await call("POST", "policy/check", {"policy": OPEN}) == (200, {})
    assert (await call("POST", "policy/check", {"policy": BROKEN}))[0] == 400
    assert (await call("GET", "policy"))[0] == 404


@pytest.mark.parametrize("body", [{}, {"policy": ""}, {"policy": "[]"}, {"policy": 5}, {"policy": "{"}])
async def test_what_is_no_policy_is_a_400(call: Call, body: object) -> None:
    for method, path in (("PUT", "policy"), ("POST", "policy/check")):
        assert (await call(method, path, body))[0] == 400


async def test_a_policy_may_be_large_but_not_larger(call: Call) -> None:
    """Other bodies may not even be that."""
    base = '{"acls": []}'
    largest = base + "\n" * (TEXT_MAX_BYTES - len(base))
    assert (await call("POST", "policy/check", {"policy": largest}))[0] == 200
    assert (await call("POST", "policy/check", {"policy": largest + "\n"}))[0] == 413
    assert (await call("POST", "policy/check", {"policy": largest * 3}))[0] == 413
    assert (await call("POST", "user", {"name": "x" * 2 * 1024 * 1024}))[0] == 413


async def pair(tailnet: Tailnet) -> tuple[Enrolled, MapStream, Enrolled, MapStream]:
    """alice's and bob's clients, which see each other."""
    one, two = await tailnet.join("one", user="1"), await tailnet.join("two", user="2")
    first, second = await one.stream(), await two.stream()
    await until(first, lambda netmap: netmap.peers[two.id].get("Online") is True)
    await until(second, lambda netmap: netmap.peers[one.id].get("Online") is True)
    return one, first, two, second


async def test_a_policy_hides_a_peer_and_shows_it_again(call: Call, tailnet: Tailnet) -> None:
    """In one message each: the peer, its owner, the filter."""
    one, first, two, second = await pair(tailnet)
    await put(call, APART)
    hidden = await first.next_message(within=PATIENCE_S)
    assert hidden["PeersRemoved"] == [two.id]
    assert "PeersChanged" not in hidden
    assert first.netmap.node is not None
    own = {address.partition("/")[0] for address in first.netmap.node["Addresses"]}
    assert {source for rule in first.netmap.packet_filter for source in rule["SrcIPs"]} <= own
    await until(second, lambda netmap: one.id not in netmap.peers)
    await put(call, OPEN)
    shown = await first.next_message(within=PATIENCE_S)
    assert [peer["ID"] for peer in shown["PeersChanged"]] == [two.id]
    assert [profile["LoginName"] for profile in shown["UserProfiles"]] == ["bob"]
    assert "base" in shown["PacketFilters"]
    await until(second, lambda netmap: one.id in netmap.peers)


async def test_a_hidden_peer_is_not_heard_of(call: Call, tailnet: Tailnet) -> None:
    """Its endpoints, its name, that it left, or that another came."""
    one, first, two, second = await pair(tailnet)
    await put(call, APART)
    await until(first, lambda netmap: two.id not in netmap.peers)
    await two.client.lite_update(endpoints=["192.0.2.7:41641"])
    await tailnet.server.rename_node(str(two.id), "printer")
    await tailnet.join("three", user="2")
    second.close()
    await tailnet.until(lambda: not tailnet.node_of(two.client).online)
    await first.quiet(0.2)
    fresh = await one.client.map_once()
    assert "Peers" not in fresh
    assert [profile["LoginName"] for profile in fresh["UserProfiles"]] == ["alice"]


async def test_the_same_policy_again_is_not_heard(call: Call, tailnet: Tailnet) -> None:
    _, first, _, _ = await pair(tailnet)
    document = await put(call, OPEN)
    await first.next_message(within=PATIENCE_S)  # the rules are others than without a policy
    assert await put(call, OPEN) == document
    await put(call, OPEN + "// said differently\n")
    await first.quiet(0.2)


async def test_a_newcomer_comes_with_the_filter_that_lets_it_in(call: Call, tailnet: Tailnet) -> None:
    await put(call, APART)
    one = await tailnet.join("one", user="1")
    first = await one.stream()
    three = await tailnet.join("three", user="1")
    address = str(tailnet.node_of(three.client).ipv4)
    message = await first.next_message(within=PATIENCE_S)
    assert [peer["ID"] for peer in message["PeersChanged"]] == [three.id]
    assert address in str(message["PacketFilters"])


async def test_a_policy_approves_the_routes_that_it_names(call: Call, tailnet: Tailnet) -> None:
    """At once for those that wait, and for those that are advertised later; peers are told."""
    policy = '{"autoApprovers": {"routes": {"10.0.0.0/8": ["alice@"]}}}'
    router, peer = await tailnet.join("router", user="1"), await tailnet.join("peer", user="2")
    async with asyncio.timeout(PATIENCE_S):
        serving, watching = await router.stream(), await peer.stream()
    told = {**router.client.hostinfo, "RoutableIPs": ["10.1.2.3/16", "192.0.2.0/24", "nonsense"]}
    await router.client.lite_update(hostinfo=told)
    shown = (await call("GET", f"node/{router.id}"))[1]["node"]
    assert shown["availableRoutes"] == ["10.1.0.0/16", "192.0.2.0/24"]
    assert shown["approvedRoutes"] == []
    await put(call, policy)
    await until(watching, lambda m: "10.1.0.0/16" in m.peers[router.id]["AllowedIPs"])
    assert watching.netmap.peers[router.id]["PrimaryRoutes"] == ["10.1.0.0/16"]
    await until(serving, lambda m: m.node is not None and m.node.get("PrimaryRoutes") == ["10.1.0.0/16"])
    [listed, _] = (await call("GET", "node"))[1]["nodes"]
    assert listed["subnetRoutes"] == ["10.1.0.0/16"]
    await router.client.lite_update(hostinfo={**told, "RoutableIPs": ["10.2.0.0/16"]})
    await until(watching, lambda m: m.peers[router.id].get("PrimaryRoutes") == ["10.2.0.0/16"])
    shown = (await call("GET", f"node/{router.id}"))[1]["node"]
    assert shown["approvedRoutes"] == ["10.1.0.0/16", "10.2.0.0/16"]


async def test_a_restart_finds_the_policy_that_was_set_last(call: Call, tailnet: Tailnet) -> None:
    one, first, two, _ = await pair(tailnet)
    await put(call, OPEN)
    kept = await put(call, APART)
    await tailnet.server.stop()
    await tailnet.server.start()
    assert await call("GET", "policy") == (200, kept)
    assert "Peers" not in await one.client.map_once()
    assert (await call("GET", "health"))[1] == {"databaseConnectivity": True}
    assert first.netmap.peers.keys() <= {two.id}


def spoil(settings: LocalSettings, policy_id: int) -> None:
    """What a version with other rules may make of a stored policy."""
    with sqlite3.connect(settings.database) as raw:
        raw.execute("UPDATE policies SET data = ? WHERE id = ?", (BROKEN, policy_id))


@pytest.mark.usefixtures("in_a_file")
async def test_a_stored_policy_that_no_longer_loads_gives_way_to_the_one_before(
    call: Call, tailnet: Tailnet
) -> None:
    """The server starts, says so, and takes a new one."""
    one, _, _, _ = await pair(tailnet)
    for text in (APART, OPEN):
        await put(call, text)
    await tailnet.server.stop()
    spoil(tailnet.server.settings, 2)
    await tailnet.server.start()
    assert "Peers" not in await one.client.map_once()
    problem = (await call("GET", "health"))[1]["policyProblem"]
    assert "policy 2" in problem
    assert "policy 1 of " in problem
    words = "the policy that was set last cannot be used, another one is in force"
    assert await seen(tailnet.server.url) == (
        200,
        {"status": "warn", "output": words, "checks": {"policy": words}},
    )
    await put(call, APART)
    assert (await call("GET", "health"))[1] == {"databaseConnectivity": True}
    assert await seen(tailnet.server.url) == (200, {"status": "pass"})
    await tailnet.server.stop()
    await tailnet.server.start()
    assert (await call("GET", "health"))[1] == {"databaseConnectivity": True}


@pytest.mark.usefixtures("in_a_file")
async def test_with_no_stored_policy_that_loads_nobody_is_let_in(call: Call, tailnet: Tailnet) -> None:
    """Rather than everybody."""
    one, _, _, _ = await pair(tailnet)
    await put(call, OPEN)
    await tailnet.server.stop()
    spoil(tailnet.server.settings, 1)
    await tailnet.server.start()
    alone = await one.client.map_once()
    assert "Peers" not in alone
    assert alone["PacketFilters"] == {"base": []}
    assert "nobody may reach anybody" in (await call("GET", "health"))[1]["policyProblem"]
    assert (await call("GET", "policy"))[1]["policy"] == BROKEN
    await put(call, OPEN)
    assert len((await one.client.map_once())["Peers"]) == 1


def with_file(settings: LocalSettings, path: Path | None) -> Any:
    """A server whose policy is a file's."""
    policy = PolicySettings(mode=PolicyMode.FILE, path=path)
    return running(replace(config_of(settings), policy=policy))


def in_force(app: App) -> str | None:
    """The text of the policy in force."""
    text = app.writer.snapshot.policy_text
    return text.text if text else None


@pytest.mark.bar("F7")
async def test_a_policy_file_is_read_at_the_start_and_again_when_asked(
    settings: LocalSettings, tmp_path: Path
) -> None:
    """A broken one is not taken (F7), and nobody but the operator changes it."""
    path = tmp_path / "acl.hujson"
    path.write_text(OPEN)
    async with with_file(settings, path) as app:
        assert in_force(app) == OPEN
        path.write_text(APART)
        assert in_force(app) == OPEN
        await app.policy.reload()
        assert in_force(app) == APART
        for broken in (BROKEN, "", FAILING):
            path.write_text(broken)
            await app.policy.reload()
            assert in_force(app) == APART
        path.unlink()
        await app.policy.reload()
        assert in_force(app) == APART
        status, document = await ask(settings.socket, "PUT", "policy", {"policy": OPEN})
        assert (status, document["detail"]) == (400, NOT_HERE)
        assert (await ask(settings.socket, "GET", "policy"))[1]["policy"] == APART
        assert (await ask(settings.socket, "POST", "policy/check", {"policy": OPEN}))[0] == 200
    with sqlite3.connect(settings.database) as raw:
        assert raw.execute("SELECT count(*) FROM policies").fetchone() == (0,)


@pytest.mark.bar("F7")
async def test_a_broken_policy_file_keeps_a_server_from_starting(
    settings: LocalSettings, tmp_path: Path
) -> None:
    """With every complaint, its line and column."""
    path = tmp_path / "acl.hujson"
    path.write_text(BROKEN)
    with pytest.raises(Malformed, match=rf"{path}:3:\d+: acls\[0\]\.src\[0\]: .*group not found"):
        async with with_file(settings, path):
            pass
    path.write_bytes(b"\xff")
    with pytest.raises(Malformed, match="is not UTF-8 text"):
        async with with_file(settings, path):
            pass
    with pytest.raises(Unavailable, match="cannot be read: No such file"):
        async with with_file(settings, tmp_path / "none"):
            pass


async def test_tests_that_fail_at_the_start_only_warn(
    settings: LocalSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The users whom they speak of may have gone since."""
    path = tmp_path / "acl.hujson"
    path.write_text(FAILING)
    async with with_file(settings, path) as app:
        assert in_force(app) == FAILING
    assert "a test of the policy fails" in caplog.text


async def test_file_mode_without_a_file_is_no_policy(settings: LocalSettings) -> None:
    async with with_file(settings, None) as app:
        await app.policy.reload()
        assert in_force(app) is None
        assert (await ask(settings.socket, "PUT", "policy", {"policy": OPEN}))[0] == 400
