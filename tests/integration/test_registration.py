"""Who gets in, over real sockets: races, strangers with someone else's keys, and what survives a crash."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from harness.clients.fake import AnswerRefused, FakeClient
from harness.servers.local import local_settings
from harness.servers.process import ProcessServer
from headscale.keys import ZERO_NODE_KEY
from headscale.tailcfg import capver
from tests.integration.fakes import Enrolled, Join, Tailnet, registered

PARALLEL = 100


@pytest.mark.bar("A2")
async def test_of_a_hundred_with_one_single_use_key_one_gets_in(tailnet: Tailnet) -> None:
    """However they race; the others are told why."""
    key = await tailnet.key()
    clients = [await tailnet.client(f"racer{number}") for number in range(PARALLEL)]
    await asyncio.gather(*(client.connect() for client in clients))
    answers = await asyncio.gather(*(client.register(auth_key=key) for client in clients))
    winners = [answer for answer in answers if answer["MachineAuthorized"]]
    refusals = {answer["Error"] for answer in answers if not answer["MachineAuthorized"]}
    assert len(winners) == 1
    assert refusals == {"this pre-auth key is for one use and was used already; ask for a new one"}
    assert len(tailnet.server.app.writer.snapshot.nodes) == 1


async def test_a_hundred_with_one_reusable_key_all_get_their_own_address(tailnet: Tailnet) -> None:
    key = await tailnet.key(reusable=True)
    clients = [await tailnet.client("same") for _ in range(PARALLEL)]
    await asyncio.gather(*(registered(client, key) for client in clients))
    nodes = [tailnet.node_of(client) for client in clients]
    assert len({node.ipv4 for node in nodes}) == len({node.ipv6 for node in nodes}) == PARALLEL
    assert len({node.given_name for node in nodes}) == PARALLEL
    assert {node.hostname for node in nodes} == {"same"}


async def test_one_machine_that_registers_in_parallel_is_one_node(tailnet: Tailnet) -> None:
    """A client that lost an answer tries again while the first is on its way."""
    key = await tailnet.key()
    client = await tailnet.client()
    twins = [
        await tailnet.client(machine_private=client.machine_private, node_private=client.node_private)
        for _ in range(5)
    ]
    answers = await asyncio.gather(*(twin.register(auth_key=key) for twin in (client, *twins)))
    assert all(answer["MachineAuthorized"] for answer in answers)
    assert len(tailnet.server.app.writer.snapshot.nodes) == 1


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("hunter2", "invalid pre-auth key: it does not exist here or was deleted"),
        (
            "hskey-auth-000000000000-" + "0" * 64,
            "invalid pre-auth key: it does not exist here or was deleted",
        ),
        ("\x00" * 5000, "invalid pre-auth key: it does not exist here or was deleted"),
    ],
)
async def test_a_user_reads_why_not(tailnet: Tailnet, key: str, error: str) -> None:
    """In words, without anything that the client could not show."""
    answer = await (await tailnet.client()).register(auth_key=key)
    assert answer["Error"].startswith(error)
    assert (answer["MachineAuthorized"], answer["AuthURL"]) == (False, "")
    assert '"' not in answer["Error"]


async def test_an_expired_key_and_unasked_tags_are_named(tailnet: Tailnet) -> None:
    client = await tailnet.client()
    expired = await tailnet.key(lifetime=timedelta(seconds=-1))
    assert "has expired" in (await client.register(auth_key=expired))["Error"]
    tags = {**client.hostinfo, "RequestTags": ["tag:x"]}
    answer = await client.register(auth_key=await tailnet.key(), hostinfo=tags)
    assert "requested tags tag:x are invalid or not permitted" in answer["Error"]
    assert not tailnet.server.app.writer.snapshot.nodes


async def test_a_client_that_is_too_old_is_told_what_to_install(tailnet: Tailnet, join: Join) -> None:
    """Below the oldest version nothing works; with it everything does."""
    key = await tailnet.key()
    old = await tailnet.client("old", version=capver.OLDEST - 1)
    assert "update Tailscale to 1.80 or later" in (await old.register(auth_key=key))["Error"]
    just = await tailnet.client("just", version=capver.OLDEST)
    await registered(just, key)
    just.version = capver.OLDEST - 1
    for ask in (just.stream_map, just.map_once, just.lite_update):
        with pytest.raises(AnswerRefused, match="400: this client speaks capability version 112"):
            await ask()


@pytest.mark.parametrize(
    "request_fields",
    [
        {"Expiry": "2026-01-01T00:00:00"},
        {"Expiry": "9999-12-31T23:59:59-05:00"},
        {"NodeKey": ZERO_NODE_KEY},
        {"NodeKey": "nodekey:" + "a" * 64 + "\n"},
        {"Version": 10**30},
        {"Hostinfo": {"NetInfo": {"PreferredDERP": 10**30}}},
    ],
)
async def test_a_broken_request_is_refused_and_the_next_one_is_not(
    tailnet: Tailnet, request_fields: dict[str, object]
) -> None:
    """The session goes on, and nothing of it is kept."""
    client, key = await tailnet.client(), await tailnet.key()
    fields = {"Version": 142, "NodeKey": client.node_key, "Auth": {"AuthKey": key}, **request_fields}
    answer = await client._post("/machine/register", fields, within=5)
    assert b'"MachineAuthorized":false' in answer
    assert b"the database" not in answer
    await registered(client, key)


async def test_logout_and_login_keep_number_name_and_addresses(tailnet: Tailnet, join: Join) -> None:
    """A logged-out node is told to make a new key, and comes back as itself."""
    first, other = await join("laptop"), await join("other")
    before = tailnet.node_of(first.client)
    assert (await first.client.logout())["NodeKeyExpired"] is True
    assert (await first.client.register())["NodeKeyExpired"] is True
    old = first.client.rotate_node_key()
    await registered(first.client, await tailnet.key(), old_node_key=old)
    after = tailnet.node_of(first.client)
    assert (after.id, after.given_name, after.addresses) == (before.id, before.given_name, before.addresses)
    assert not after.expired
    assert tailnet.node_of(other.client).id == other.id


async def test_another_user_on_the_same_machine_is_a_second_node(tailnet: Tailnet, join: Join) -> None:
    """The first one stays with its owner."""
    first = await join("shared")
    old = first.client.rotate_node_key()
    await registered(first.client, await tailnet.key("2"), old_node_key=old)
    second = tailnet.node_of(first.client)
    kept = tailnet.node(first.id)
    assert kept is not None
    assert (kept.user_id, kept.node_key) == (1, old)
    assert (second.id, second.user_id, second.given_name) == (first.id + 1, 2, "shared-1")


async def test_another_users_key_does_not_take_a_node_over(tailnet: Tailnet, join: Join) -> None:
    """With the node key that is in use as alice's, bob's key makes no second holder of it."""
    first = await join("shared")
    before = tailnet.node(first.id)
    answer = await first.client.register(auth_key=await tailnet.key("2"))
    assert answer["MachineAuthorized"] is False
    assert tailnet.node(first.id) == before
    assert len(tailnet.server.app.writer.snapshot.nodes) == 1
    await first.stream()


@pytest.mark.bar("F1")
async def test_what_was_acknowledged_survives_a_kill() -> None:
    """The process is killed the moment the answers are in; started again it has every node, and spent keys stay
    spent."""
    settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5))
    server = ProcessServer(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        await server.start()
        user = await server.create_user("alice")
        clients = [
            await stack.enter_async_context(FakeClient(server.url, hostname=f"host{number}"))
            for number in range(20)
        ]
        keys = [
            await server.create_key(
                user, reusable=False, ephemeral=False, lifetime=timedelta(hours=1), tags=()
            )
            for _ in clients
        ]
        await asyncio.gather(*(client.connect() for client in clients))
        pairs = list(zip(clients, keys, strict=True))
        await asyncio.gather(*(registered(client, key.text) for client, key in pairs))
        before = {node.node_key: node for node in await server.nodes()}
        late = await stack.enter_async_context(FakeClient(server.url, hostname="late"))
        spare = await server.create_key(
            user, reusable=False, ephemeral=False, lifetime=timedelta(hours=1), tags=()
        )
        await registered(late, spare.text)
        await server.kill()

        await server.start()
        after = {node.node_key: node for node in await server.nodes()}
        assert {key: after[key] for key in before} == before
        assert set(after) == {client.node_key for client in (*clients, late)}
        stranger = await stack.enter_async_context(FakeClient(server.url, hostname="stranger"))
        for key in (spare, *keys[:3]):
            assert "was used already" in (await stranger.register(auth_key=key.text))["Error"]
        again = Enrolled(late, int(after[late.node_key].id))
        assert (await late.register())["MachineAuthorized"] is True
        assert len((await again.stream()).netmap.peers) == len(clients)
