"""The control proxy in front of a running server: it changes nothing by itself, and what it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from harness.clients.fake import AnswerRefused, FakeClient, MapStream, PollEnded
from harness.clients.session import SessionClosed, StreamCut
from harness.proxy.messages import MAP, REGISTER, To, answers, map_responses, requests
from harness.proxy.proxy import ControlProxy, start_proxy
from harness.proxy.recording import clients, lines, polls, read_recording
from harness.proxy.replay import NothingToReplay, Replay, start_replay
from harness.proxy.rules import waiting
from harness.servers.base import ServerNode
from harness.servers.inprocess import InProcessServer
from harness.wait import Budget, Condition
from harness.wait import until as wait_until
from tests.integration.fakes import PATIENCE_S, Tailnet, until


@pytest.fixture
async def proxy(server: InProcessServer) -> AsyncIterator[ControlProxy]:
    """In front of the server."""
    async with start_proxy("127.0.0.1", 0, server.url) as made:
        yield made


@pytest.fixture
async def enrol(proxy: ControlProxy, tailnet: Tailnet) -> AsyncIterator["Enrol"]:
    """Lets clients in through the proxy."""
    async with AsyncExitStack() as stack:
        yield Enrol(proxy, tailnet, stack)


class Enrol:
    """See the fixture."""

    def __init__(self, proxy: ControlProxy, tailnet: Tailnet, stack: AsyncExitStack) -> None:
        self._proxy = proxy
        self._tailnet = tailnet
        self._stack = stack

    async def client(self, name: str) -> FakeClient:
        """One that is not in yet."""
        return await self._stack.enter_async_context(FakeClient(self._proxy.url, hostname=name))

    async def key(self) -> str:
        """A single-use key of Alice's."""
        return await self._tailnet.key()

    async def poll(self, name: str) -> tuple[FakeClient, MapStream]:
        """One that is in, and has its first map."""
        client = await self.client(name)
        await client.register(auth_key=await self.key())
        stream = await client.stream_map()
        await until(stream, lambda netmap: netmap.updates > 0)
        return client, stream


async def node_called(name: str, server: InProcessServer) -> ServerNode:
    """As the server lists it."""
    return next(node for node in await server.nodes() if node.hostname == name)


def is_online(tailnet: Tailnet) -> bool:
    """The first node, as the server has it."""
    node = tailnet.node(1)
    return node is not None and node.online


async def until_online(stream: MapStream, name: str) -> None:
    """The client sees that peer, and has heard all there is."""
    await until(stream, lambda netmap: bool((netmap.peer_named(name) or {}).get("Online")))
    await stream.quiet(0.2)


async def test_nothing_changes_on_the_way(enrol: Enrol, proxy: ControlProxy, server: InProcessServer) -> None:
    """A client gets in, polls and sees another, as without; the proxy has a record of it in which no key stands."""
    _, first = await enrol.poll("one")
    other, second = await enrol.poll("two")
    await until_online(first, "two")
    await until(second, lambda netmap: netmap.peer_named("one") is not None)
    await other.lite_update(endpoints=["192.0.2.7:41641"])
    await until(first, lambda m: (m.peer_named("two") or {}).get("Endpoints") == ["192.0.2.7:41641"])
    assert clients(proxy.messages) == ["one", "two"]
    kinds = [(message.client, message.to, message.kind) for message in proxy.messages[:3]]
    assert kinds == [("one", To.SERVER, REGISTER), ("one", To.CLIENT, REGISTER), ("one", To.SERVER, MAP)]
    assert "hskey-auth" not in "".join(lines(proxy.messages))
    assert {node.hostname for node in await server.nodes()} == {"one", "two"}


async def test_a_refusal_of_the_server_arrives(enrol: Enrol) -> None:
    """With its status and text."""
    client = await enrol.client("stranger")
    with pytest.raises(AnswerRefused) as refused:
        await client.stream_map()
    assert refused.value.status in (401, 404)


async def test_what_is_held_comes_when_it_is_released(
    enrol: Enrol, proxy: ControlProxy, server: InProcessServer
) -> None:
    """In order: what comes after it on the stream waits behind it."""
    _, first = await enrol.poll("one")
    await enrol.poll("two")
    await until_online(first, "two")
    async with proxy.holding(map_responses(of="one", having="PeersRemoved")) as held:
        two = await node_called("two", server)
        await server.delete_node(two.id)
        await wait_until(held, waiting(), Budget.SYNC)
        await enrol.poll("three")
        await first.quiet(0.5)
        assert first.netmap.peer_named("two") is not None
        held.release()
        await until(first, lambda netmap: netmap.peer_named("two") is None)
        await until(first, lambda netmap: netmap.peer_named("three") is not None)


async def test_the_end_of_the_context_releases(enrol: Enrol, proxy: ControlProxy) -> None:
    client = await enrol.client("one")
    async with proxy.holding(requests(REGISTER)) as held:
        joining = asyncio.create_task(client.register(auth_key=await enrol.key()))
        await wait_until(held, waiting(), Budget.SYNC)
        assert not joining.done()
    assert (await joining)["MachineAuthorized"]


async def test_who_gives_up_is_no_longer_held(enrol: Enrol, proxy: ControlProxy) -> None:
    client = await enrol.client("one")
    async with proxy.holding(requests(REGISTER)) as held:
        joining = asyncio.create_task(client.register(auth_key=await enrol.key()))
        await wait_until(held, waiting(), Budget.SYNC)
        client.session.cut()
        with pytest.raises(SessionClosed):
            await joining
        await wait_until(
            held, Condition("holds nothing", lambda held: str(held) if held else None), Budget.SYNC
        )


async def test_a_lost_answer_is_never_heard(
    enrol: Enrol, proxy: ControlProxy, server: InProcessServer
) -> None:
    """The server believes that the node is in; the client waits, and comes again with the same single-use key."""
    client = await enrol.client("one")
    key = await enrol.key()
    async with proxy.dropping(answers(REGISTER)) as lost:
        with pytest.raises(TimeoutError):
            await client.register(auth_key=key, within=0.5)
    assert len(lost.met) == 1
    assert len(await server.nodes()) == 1
    client.rotate_node_key()
    assert (await client.register(auth_key=key))["MachineAuthorized"]
    assert len(await server.nodes()) == 1


async def test_a_lost_request_never_comes(enrol: Enrol, proxy: ControlProxy, server: InProcessServer) -> None:
    client = await enrol.client("one")
    async with proxy.dropping(requests(REGISTER)):
        with pytest.raises(TimeoutError):
            await client.register(auth_key=await enrol.key(), within=0.5)
    assert await server.nodes() == []


async def test_rewritten_fields_arrive(enrol: Enrol, proxy: ControlProxy) -> None:
    """Both ways: what a client says of itself, and what it is told."""

    def renamed(request: dict[str, object]) -> dict[str, object]:
        return {**request, "Hostinfo": {"Hostname": "other", "OS": "linux"}}

    client = await enrol.client("one")
    async with proxy.rewriting(
        lambda message: "Hostinfo" in message.json and message.to is To.SERVER, renamed
    ):
        await client.register(auth_key=await enrol.key())
        async with proxy.rewriting(map_responses(), lambda told: {**told, "Domain": "elsewhere.example"}):
            stream = await client.stream_map()
            netmap = await until(stream, lambda netmap: netmap.updates > 0)
    assert netmap.domain == "elsewhere.example"
    assert netmap.node is not None
    assert netmap.node["Name"].startswith("other.")


async def test_changes_arrive_in_the_other_order(
    enrol: Enrol, proxy: ControlProxy, server: InProcessServer, tailnet: Tailnet
) -> None:
    """Two renames, the second told first: the client ends with the first name, as the server never said it."""
    _, first = await enrol.poll("one")
    _, second = await enrol.poll("two")
    await until_online(first, "two")
    two = await node_called("two", server)
    async with proxy.reordering(
        map_responses(of="one", having=("PeersChanged", "PeersChangedPatch"))
    ) as reorder:
        await server.rename_node(two.id, "early")
        await until(second, lambda netmap: str((netmap.node or {}).get("Name")).startswith("early."))
        await tailnet.until(lambda: len(reorder.met) == 1)
        await server.rename_node(two.id, "late")
        await until(first, lambda netmap: netmap.peer_named("late") is not None)
        await until(first, lambda netmap: netmap.peer_named("early") is not None)
    assert len(reorder.met) == 2


async def test_what_waits_for_its_turn_comes_at_the_end(
    enrol: Enrol, proxy: ControlProxy, server: InProcessServer
) -> None:
    _, first = await enrol.poll("one")
    await enrol.poll("two")
    await until_online(first, "two")
    two = await node_called("two", server)
    async with proxy.reordering(
        map_responses(of="one", having=("PeersChanged", "PeersChangedPatch")), count=5
    ):
        await server.rename_node(two.id, "early")
        await first.quiet(0.5)
    await until(first, lambda netmap: netmap.peer_named("early") is not None)


async def test_a_refusal_of_the_proxy_keeps_the_server_out_of_it(
    enrol: Enrol, proxy: ControlProxy, server: InProcessServer
) -> None:
    client = await enrol.client("one")
    async with proxy.refusing(requests(REGISTER), 429, "too many"):
        with pytest.raises(AnswerRefused, match="429: too many"):
            await client.register(auth_key=await enrol.key())
    assert await server.nodes() == []


async def test_a_client_is_told_what_the_server_never_said(enrol: Enrol, proxy: ControlProxy) -> None:
    _, stream = await enrol.poll("one")
    assert await proxy.tell("one", {"Health": ["this is a drill"]}) == 1
    await until(stream, lambda netmap: netmap.health == ["this is a drill"])
    assert await proxy.tell("nobody", {"Health": ["this is a drill"]}) == 0


async def test_both_sides_notice_that_it_hangs_up(
    enrol: Enrol, proxy: ControlProxy, tailnet: Tailnet
) -> None:
    """And the client comes again with what it has."""
    client, stream = await enrol.poll("one")
    await proxy.hang_up()
    with pytest.raises((PollEnded, SessionClosed, StreamCut)):
        await stream.next_message(within=PATIENCE_S)
    await tailnet.until(lambda: not is_online(tailnet))
    again = await client.stream_map()
    await until(again, lambda netmap: netmap.updates > 0)
    assert is_online(tailnet)


async def test_a_server_that_is_away_is_a_502_until_it_is_back(
    enrol: Enrol, proxy: ControlProxy, server: InProcessServer
) -> None:
    client, stream = await enrol.poll("one")
    await server.stop()
    with pytest.raises((PollEnded, SessionClosed, StreamCut)):
        await until(stream, lambda netmap: False)
    with pytest.raises(AnswerRefused, match="502"):
        await client.stream_map()
    await server.start()
    await until(await client.stream_map(), lambda netmap: netmap.updates > 0)


async def test_a_recording_is_read_as_it_was_written(
    enrol: Enrol, proxy: ControlProxy, tmp_path: Path
) -> None:
    """With the netmap of every step."""
    _, first = await enrol.poll("one")
    await enrol.poll("two")
    await until_online(first, "two")
    file = tmp_path / "control.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines(proxy.messages)))
    (poll,) = polls(read_recording(file), client="one")
    steps = [step for step in poll.steps() if not step.message.json.get("KeepAlive")]
    assert steps[0].netmap.peers == {}
    assert steps[-1].netmap.peer_named("two") == first.netmap.peer_named("two")
    assert json.dumps(steps[-1].netmap.node) == json.dumps(first.netmap.node)


async def test_a_recording_is_played_to_another_client(enrol: Enrol, proxy: ControlProxy) -> None:
    """Which ends with the netmap that the first one had, and its own keys in it."""
    _, first = await enrol.poll("one")
    await enrol.poll("two")
    await until_online(first, "two")
    async with start_replay("127.0.0.1", proxy.messages, client="one") as (url, replay):
        async with FakeClient(url, hostname="listener") as listener:
            assert (await listener.register(auth_key="any"))["MachineAuthorized"]
            stream = await listener.stream_map()
            await until(stream, lambda netmap: netmap.peers == first.netmap.peers)
            assert replay.finished.is_set()
            assert stream.netmap.node is not None
            assert stream.netmap.node["Key"] == listener.node_key
    with pytest.raises(NothingToReplay, match="it has those of one, two"):
        Replay(proxy.messages, client="three")
