"""The task that feeds open streams: what goes out when, and which streams end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from harness.clients.mapframes import MapFrameReader
from harness.clients.netmap import NetMap
from headscale.clock import ManualClock
from headscale.mapper import fanout as module
from headscale.mapper import round as round_module
from headscale.mapper.diff import News, news_for
from headscale.mapper.fanout import KEEP_ALIVE_S, STUCK_S, Fanout
from headscale.mapper.stream import Stream
from headscale.records import Write
from headscale.state.effect import Effect
from headscale.state.nodes import delete_node, rename_node
from headscale.state.presence import arrive, leave
from headscale.state.users import create_user, rename_user
from headscale.state.writer import HISTORY, Writer
from tests.builders import NOW, both_ways, node, tailnet, with_nodes, with_policy

PATIENCE_S = 5.0


class NoStore:
    """Keeps nothing."""

    async def commit(self, writes: Sequence[Write]) -> None:
        return


@dataclass
class FakeSink:
    """A client that reads as the test tells it to."""

    writable: bool = True
    ended: bool = False
    reader: MapFrameReader = field(default_factory=lambda: MapFrameReader(compress=""))
    messages: list[dict[str, Any]] = field(default_factory=list)
    netmap: NetMap = field(default_factory=lambda: NetMap(version=142))

    def send(self, data: bytes) -> None:
        assert not self.ended
        for message in self.reader.receive(data):
            self.messages.append(message)
            self.netmap.apply(message, now=NOW.isoformat())

    def end(self) -> None:
        self.ended = True


@dataclass
class Feeding:
    """A writer and a fanout that run."""

    writer: Writer
    fanout: Fanout
    clock: ManualClock

    def open(self, node_id: int = 1, *, writable: bool = True) -> tuple[Stream, FakeSink]:
        sink = FakeSink(writable=writable)
        stream = Stream(node_id=node_id, version=142, compress=False, sink=sink)
        self.fanout.open(stream)
        return stream, sink

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():  # noqa: ASYNC110  (any state of the fanout is looked at)
                await asyncio.sleep(0.002)

    async def settle(self) -> None:
        """Let everybody who can be written know of everything, shown by a stream of a last node."""
        _, sink = self.open(3)
        await self.until(lambda: bool(sink.messages))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at keep-alives often; when they are due, the clock says."""
    monkeypatch.setattr(module, "KEEP_ALIVE_CHECK_S", 0.002)


@asynccontextmanager
async def running() -> AsyncIterator[Feeding]:
    clock = ManualClock(NOW)
    writer = Writer(with_nodes(tailnet("alice"), node(1), node(2), node(3)), NoStore(), clock)
    fanout = Fanout(writer, clock)
    tasks = [asyncio.create_task(writer.run()), asyncio.create_task(fanout.run())]
    try:
        yield Feeding(writer, fanout, clock)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [result for result in results if isinstance(result, Exception)]


@pytest.fixture
async def feeding() -> AsyncIterator[Feeding]:
    async with running() as made:
        yield made


async def test_the_first_frame_is_a_full_map(feeding: Feeding) -> None:
    _, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    assert [peer["ID"] for peer in sink.messages[0]["Peers"]] == [2, 3]
    assert sink.messages[0]["Node"]["ID"] == 1


async def test_a_change_reaches_every_open_stream(feeding: Feeding) -> None:
    sinks = [feeding.open(number)[1] for number in (1, 2)]
    await feeding.until(lambda: all(sink.messages for sink in sinks))
    await feeding.writer.apply(partial(arrive, node_id=3))
    await feeding.until(lambda: all(len(sink.messages) == 2 for sink in sinks))
    assert all(sink.netmap.peers[3]["Online"] for sink in sinks)


async def test_streams_may_come_while_they_are_counted(feeding: Feeding) -> None:
    """As they do for a scrape, which is in another thread."""

    class Coming(Stream):
        """Another stream opens whenever somebody looks at this one."""

        def __getattribute__(self, name: str) -> Any:
            if name == "sent":
                streams[len(streams)] = self
            return super().__getattribute__(name)

    streams = feeding.fanout._streams
    streams[0] = Coming(node_id=-1, version=142, compress=False, sink=FakeSink())
    assert feeding.fanout.behind == 1
    streams.clear()


async def test_many_changes_are_one_frame(feeding: Feeding) -> None:
    _, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    sink.writable = False
    for number in range(20):
        await feeding.writer.apply(partial(rename_node, node_id=2, name=f"name{number}"))
    sink.writable = True
    feeding.fanout.drained()
    await feeding.until(lambda: len(sink.messages) == 2)
    await feeding.settle()
    assert [message.get("PeersChanged", [{}])[0].get("Name") for message in sink.messages[1:]] == ["name19"]


async def test_one_that_cannot_be_written_holds_nobody_up_and_catches_up(feeding: Feeding) -> None:
    _, slow = feeding.open(1)
    _, quick = feeding.open(2)
    await feeding.until(lambda: bool(slow.messages and quick.messages))
    slow.writable = False
    await feeding.writer.apply(partial(arrive, node_id=3))
    await feeding.until(lambda: len(quick.messages) == 2)
    assert len(slow.messages) == 1
    slow.writable = True
    feeding.fanout.drained()
    await feeding.until(lambda: len(slow.messages) == 2)
    assert slow.netmap.peers[3]["Online"] is True


async def test_one_that_stays_stuck_is_cut(feeding: Feeding) -> None:
    """Not before its time, and then its handler is told."""
    stream, sink = feeding.open()
    told = asyncio.Event()
    stream.ended = told.set
    await feeding.until(lambda: bool(sink.messages))
    sink.writable = False
    await feeding.writer.apply(partial(arrive, node_id=3))
    await feeding.until(lambda: stream.stuck_since is not None)
    feeding.clock.advance(timedelta(seconds=STUCK_S))
    await asyncio.sleep(0.02)
    assert not sink.ended
    feeding.clock.advance(timedelta(seconds=0.1))
    await feeding.until(lambda: sink.ended)
    assert told.is_set()
    assert len(feeding.fanout) == 0


async def test_one_that_was_never_written_is_cut_too(feeding: Feeding) -> None:
    stream, sink = feeding.open(writable=False)
    await feeding.until(lambda: stream.stuck_since is not None)
    feeding.clock.advance(timedelta(seconds=STUCK_S + 0.1))
    await feeding.until(lambda: sink.ended)


async def test_one_that_takes_no_keep_alive_is_stuck(feeding: Feeding) -> None:
    """A quiet tailnet does not keep a dead stream."""
    stream, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    sink.writable = False
    feeding.clock.advance(timedelta(seconds=KEEP_ALIVE_S[1]))
    await feeding.until(lambda: stream.stuck_since is not None)
    feeding.clock.advance(timedelta(seconds=STUCK_S + 0.1))
    await feeding.until(lambda: sink.ended)


async def test_one_that_was_stuck_and_drains_lives_on(feeding: Feeding) -> None:
    stream, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    sink.writable = False
    feeding.clock.advance(timedelta(seconds=KEEP_ALIVE_S[1]))
    await feeding.until(lambda: stream.stuck_since is not None)
    sink.writable = True
    await feeding.until(lambda: sink.netmap.keep_alives == 1)
    feeding.clock.advance(timedelta(seconds=STUCK_S + 0.1))
    await feeding.until(lambda: sink.netmap.keep_alives == 2)
    assert not sink.ended


async def test_a_quiet_stream_is_kept_alive(feeding: Feeding) -> None:
    """Within what the client waits, and never as a bare document that could be mistaken for another."""
    _, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    feeding.clock.advance(timedelta(seconds=KEEP_ALIVE_S[0] - 0.1))
    await asyncio.sleep(0.02)
    assert len(sink.messages) == 1
    feeding.clock.advance(timedelta(seconds=KEEP_ALIVE_S[1] - KEEP_ALIVE_S[0] + 0.2))
    await feeding.until(lambda: len(sink.messages) == 2)
    assert set(sink.messages[1]) == {"KeepAlive", "ControlTime"}


async def test_a_message_puts_the_keep_alive_off(feeding: Feeding) -> None:
    _, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    feeding.clock.advance(timedelta(seconds=KEEP_ALIVE_S[0] - 1))
    await feeding.writer.apply(partial(arrive, node_id=3))
    await feeding.until(lambda: len(sink.messages) == 2)
    feeding.clock.advance(timedelta(seconds=KEEP_ALIVE_S[0] - 1))
    await asyncio.sleep(0.02)
    assert sink.netmap.keep_alives == 0


async def test_a_newer_stream_of_a_node_ends_the_older(feeding: Feeding) -> None:
    old_stream, old = feeding.open()
    await feeding.until(lambda: bool(old.messages))
    _, new = feeding.open()
    assert old.ended
    await feeding.until(lambda: bool(new.messages))
    feeding.fanout.close(old_stream)
    assert len(feeding.fanout) == 1


async def test_a_deleted_node_hears_the_end_of_its_stream(feeding: Feeding) -> None:
    _, gone = feeding.open(1)
    _, other = feeding.open(2)
    await feeding.until(lambda: bool(gone.messages and other.messages))
    await feeding.writer.apply(partial(delete_node, node_id=1))
    await feeding.until(lambda: gone.ended)
    await feeding.until(lambda: 1 not in other.netmap.peers)
    assert len(gone.messages) == 1


async def test_a_client_that_left_is_fed_no_more(feeding: Feeding) -> None:
    stream, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    feeding.fanout.close(stream)
    await feeding.writer.apply(partial(arrive, node_id=2))
    await feeding.settle()
    assert len(sink.messages) == 1


async def test_nobody_hears_what_nobody_can_see(feeding: Feeding) -> None:
    """A user without nodes; the stream counts as being at the present all the same."""
    stream, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    await feeding.writer.apply(partial(create_user, name="bob"))
    await feeding.until(lambda: stream.sent is feeding.writer.snapshot)
    assert len(sink.messages) == 1


async def test_everybody_hears_of_a_renamed_user(feeding: Feeding) -> None:
    """The owner's own nodes are viewers as well, and are told the same."""
    sinks = [feeding.open(number)[1] for number in (1, 2)]
    await feeding.until(lambda: all(sink.messages for sink in sinks))
    await feeding.writer.apply(partial(rename_user, user_id=1, name="alicia"))
    await feeding.until(lambda: all(len(sink.messages) == 2 for sink in sinks))
    assert [sink.netmap.profiles[1]["LoginName"] for sink in sinks] == ["alicia", "alicia"]


async def fall_behind(feeding: Feeding, sink: FakeSink) -> None:
    """More changes than the writer remembers, while the stream cannot be written."""
    sink.writable = False
    for number in range(HISTORY // 2 + 1):
        await feeding.writer.apply(partial(arrive, node_id=3))
        await feeding.writer.apply(partial(leave, node_id=3))
        if number == 0:
            await feeding.writer.apply(partial(delete_node, node_id=2))


async def test_one_that_is_too_far_behind_starts_over(feeding: Feeding) -> None:
    _, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    await fall_behind(feeding, sink)
    sink.writable = True
    feeding.fanout.drained()
    await feeding.until(lambda: len(sink.messages) == 2)
    assert {"Node", "DERPMap", "DNSConfig"} <= set(sink.messages[1])
    assert set(sink.netmap.peers) == {3}


async def test_one_that_starts_over_alone_forgets_its_peers(feeding: Feeding) -> None:
    """A Go client ignores an empty list of peers."""
    _, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    await fall_behind(feeding, sink)
    await feeding.writer.apply(partial(delete_node, node_id=3))
    sink.writable = True
    feeding.fanout.drained()
    await feeding.until(lambda: len(sink.messages) == 2)
    assert sink.netmap.peers == {}


async def test_going_down_ends_every_stream(feeding: Feeding) -> None:
    sinks = [feeding.open(number)[1] for number in (1, 2)]
    feeding.fanout.end_all()
    assert all(sink.ended for sink in sinks)


async def test_a_one_shot_map_is_a_full_one(feeding: Feeding) -> None:
    node_1 = feeding.writer.snapshot.nodes[1]
    body = feeding.fanout.one_shot(node_1, version=142, compress=True)
    [full] = MapFrameReader(compress="zstd").receive(body)
    assert [peer["ID"] for peer in full["Peers"]] == [2, 3]


async def test_viewers_that_know_the_same_get_the_same_bytes(feeding: Feeding) -> None:
    """A frame is made once a round."""

    def many(snapshot: Any, moment: Any) -> Effect[None]:
        return Effect(with_nodes(snapshot, *(node(n) for n in range(4, 104))), None)

    await feeding.writer.apply(many)
    streams = [feeding.open(number) for number in range(4, 104)]
    await feeding.until(lambda: all(sink.messages for _, sink in streams))
    await feeding.writer.apply(partial(arrive, node_id=3))
    await feeding.until(lambda: all(len(sink.messages) == 2 for _, sink in streams))
    assert len({str(sink.messages[1]) for _, sink in streams}) == 1


def ruled(feeding: Feeding, **what: Any) -> Any:
    """A step that puts a policy in force."""

    def step(snapshot: Any, moment: Any) -> Effect[None]:
        return Effect(with_policy(snapshot, **what), None)

    return feeding.writer.apply(step)


async def test_a_policy_takes_peers_away_and_gives_them_back(feeding: Feeding) -> None:
    """In one message each, and nothing is left of the filter."""
    sinks = [feeding.open(number)[1] for number in (1, 2)]
    await feeding.until(lambda: all(sink.messages for sink in sinks))
    await ruled(feeding, pairs=frozenset())
    await feeding.until(lambda: not any(sink.netmap.peers for sink in sinks))
    assert [sink.netmap.packet_filter for sink in sinks] == [[], []]
    await ruled(feeding, pairs=None)
    await feeding.until(lambda: all(len(sink.netmap.peers) == 2 for sink in sinks))
    assert [len(sink.messages) for sink in sinks] == [3, 3]


async def test_what_is_hidden_is_not_patched(feeding: Feeding) -> None:
    await ruled(feeding, pairs=frozenset())
    stream, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    await feeding.writer.apply(partial(arrive, node_id=2))
    await feeding.until(lambda: stream.sent is feeding.writer.snapshot)
    assert len(sink.messages) == 1


async def test_nothing_that_an_older_policy_allowed_is_sent_once_a_newer_is_in_force(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when it comes in the middle of a round; those who were not fed yet hear of the newer one at once."""
    monkeypatch.setattr(module, "SLICE_S", -1.0)
    opened = [feeding.open(number) for number in (1, 2, 3)]
    await feeding.until(lambda: all(sink.messages for _, sink in opened))
    fed: list[tuple[int, int]] = []
    switched = False

    def send(stream: Stream, data: bytes, kind: str) -> None:
        nonlocal switched
        assert stream.sent is not None
        fed.append((stream.sent.policy_epoch, feeding.writer.snapshot.policy_epoch))
        stream.sink.send(data)
        if not switched:
            switched = True
            feeding.writer.snapshot = replace(
                with_policy(feeding.writer.snapshot, pairs=frozenset()),
                epoch=feeding.writer.snapshot.epoch + 1,
            )
            feeding.writer._history.append((feeding.writer.snapshot.epoch, frozenset()))

    monkeypatch.setattr(feeding.fanout, "_send", send)
    await feeding.writer.apply(partial(rename_node, node_id=1, name="other"))
    await feeding.until(lambda: len(fed) == 3)
    assert [built == in_force for built, in_force in fed] == [True, True, True]
    assert [sink.netmap.peers for _, sink in opened][1:] == [{}, {}]


async def test_one_that_starts_over_is_not_told_of_nodes_that_it_never_saw(feeding: Feeding) -> None:
    """When it sees nobody any more, those that it saw are removed by name, and only those."""
    await ruled(feeding, pairs=both_ways((1, 1)))
    await feeding.writer.apply(
        lambda snapshot, moment: Effect(with_nodes(snapshot, node(4, user_id=None, tags=("tag:a",))), None)
    )
    _, sink = feeding.open()
    await feeding.until(lambda: bool(sink.messages))
    sink.writable = False
    for _ in range(HISTORY // 2 + 1):
        await feeding.writer.apply(partial(arrive, node_id=3))
        await feeding.writer.apply(partial(leave, node_id=3))
    await ruled(feeding, pairs=frozenset())
    sink.writable = True
    feeding.fanout.drained()
    await feeding.until(lambda: len(sink.messages) == 2)
    assert sink.messages[1]["PeersRemoved"] == [2, 3]


async def test_viewers_of_one_class_get_the_same_bytes_under_a_policy(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is worked out for one of them is not worked out again."""
    await feeding.writer.apply(
        lambda snapshot, moment: Effect(
            with_policy(with_nodes(snapshot, *(node(n) for n in range(4, 54))), pairs=both_ways((1, 1))), None
        )
    )
    opened = [feeding.open(number) for number in range(4, 54)]
    await feeding.until(lambda: all(sink.messages for _, sink in opened))
    made: list[int] = []

    def counted(comparison: Any, viewer_id: int) -> News:
        made.append(viewer_id)
        return news_for(comparison, viewer_id)

    monkeypatch.setattr(round_module, "news_for", counted)
    await feeding.writer.apply(partial(arrive, node_id=3))
    await feeding.until(lambda: all(len(sink.messages) == 2 for _, sink in opened))
    assert len(made) == 1
