"""The writer: durable before told, one commit for many, nothing on failure."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from headscale.clock import ManualClock
from headscale.errors import Conflict, InDoubt, Unavailable
from headscale.records import Advance, Counter, Delete, Insert, Update, User, Write
from headscale.state.effect import Effect
from headscale.state.nodes import delete_node
from headscale.state.presence import arrive, leave
from headscale.state.users import create_user
from headscale.state.writer import HISTORY, Writer, condensed
from tests.builders import NOW, node, tailnet, with_nodes


class FakeStore:
    """Keeps what it is given, unless `refuses` says that it may not."""

    def __init__(self) -> None:
        self.commits: list[Sequence[Write]] = []
        self.refuses: Callable[[Sequence[Write]], bool] = lambda writes: False
        self.gate = asyncio.Event()
        self.gate.set()
        self.away: Exception | None = None
        self.asked = 0
        self.settled: bool | Unavailable = True

    async def settle(self) -> bool:
        if isinstance(self.settled, Unavailable):
            raise self.settled
        return self.settled

    async def commit(self, writes: Sequence[Write]) -> None:
        self.asked += 1
        await self.gate.wait()
        if self.away is not None:
            raise self.away
        if self.refuses(writes):
            raise OSError("disk full")
        self.commits.append(writes)


@asynccontextmanager
async def writing() -> AsyncIterator[tuple[Writer, FakeStore]]:
    store = FakeStore()
    writer = Writer(with_nodes(tailnet("alice"), node(1)), store, ManualClock(NOW))
    task = asyncio.create_task(writer.run())
    try:
        yield writer, store
    finally:
        writer.close()
        await task


def has_user(name: str) -> Callable[[Sequence[Write]], bool]:
    return lambda writes: any(
        isinstance(w, Insert) and isinstance(w.record, User) and w.record.name == name for w in writes
    )


async def test_nothing_is_published_or_answered_before_the_commit() -> None:
    async with writing() as (writer, store):
        store.gate.clear()
        answer = asyncio.create_task(writer.apply(partial(create_user, name="bob")))
        await asyncio.sleep(0.01)
        assert not answer.done()
        assert set(writer.snapshot.users) == {1}
        store.gate.set()
        assert (await answer).id == 2
        assert set(writer.snapshot.users) == {1, 2}


async def test_steps_that_wait_together_share_a_commit() -> None:
    async with writing() as (writer, store):
        names = [f"user{i}" for i in range(50)]
        users = await asyncio.gather(*(writer.apply(partial(create_user, name=n)) for n in names))
        assert sorted(user.id for user in users) == list(range(2, 52))
        assert len(store.commits) == 1


async def test_a_refused_step_leaves_its_neighbours_alone() -> None:
    async with writing() as (writer, _):
        results = await asyncio.gather(
            *(writer.apply(partial(create_user, name=n)) for n in ("bob", "bob", "carol")),
            return_exceptions=True,
        )
        assert isinstance(results[1], Conflict)
        assert [user.name for user in writer.snapshot.users.values()] == ["alice", "bob", "carol"]


async def test_a_failed_commit_changes_nothing_and_says_so() -> None:
    async with writing() as (writer, store):
        store.refuses = lambda writes: True
        with pytest.raises(Unavailable, match="nothing was changed"):
            await writer.apply(partial(create_user, name="bob"))
        assert set(writer.snapshot.users) == {1}
        store.refuses = lambda writes: False
        assert (await writer.apply(partial(create_user, name="bob"))).id == 2


async def test_one_row_that_the_database_refuses_does_not_cost_the_others_theirs() -> None:
    async with writing() as (writer, store):
        store.refuses = has_user("bad")
        results = await asyncio.gather(
            *(writer.apply(partial(create_user, name=n)) for n in ("bob", "bad", "carol")),
            return_exceptions=True,
        )
        assert isinstance(results[1], Unavailable)
        assert [user.name for user in writer.snapshot.users.values()] == ["alice", "bob", "carol"]


async def test_a_database_that_is_away_is_asked_once_for_all_who_wait() -> None:
    """One by one each of them would wait as long again."""
    async with writing() as (writer, store):
        store.away = Unavailable("it is away")
        steps = [writer.apply(partial(create_user, name=f"user{n}")) for n in range(20)]
        results = await asyncio.gather(*steps, return_exceptions=True)
        assert [str(result) for result in results] == ["it is away"] * 20
        assert store.asked == 1
        assert set(writer.snapshot.users) == {1}


@pytest.mark.parametrize("was_made", [True, False])
async def test_a_commit_in_doubt_comes_true_when_the_database_says_so(was_made: bool) -> None:
    """Until then nothing else is decided, as it would be decided on what may be wrong."""
    async with writing() as (writer, store):
        store.away, store.settled = InDoubt("who knows"), Unavailable("still away")
        with pytest.raises(InDoubt):
            await writer.apply(partial(create_user, name="bob"))
        with pytest.raises(Unavailable, match="still away"):
            await writer.apply(partial(create_user, name="carol"))
        assert (store.asked, set(writer.snapshot.users)) == (1, {1})
        store.away, store.settled = None, was_made
        assert (await writer.apply(partial(create_user, name="dora"))).id == (3 if was_made else 2)
        names = [user.name for user in writer.snapshot.users.values()]
        assert names == (["alice", "bob", "dora"] if was_made else ["alice", "dora"])


async def test_a_commit_in_doubt_comes_true_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are to show it although nobody wants anything."""
    monkeypatch.setattr("headscale.state.writer.SETTLE_S", 0.01)
    async with writing() as (writer, store):
        published = asyncio.Event()
        writer.on_publish.append(published.set)
        store.away = InDoubt("who knows")
        with pytest.raises(InDoubt):
            await writer.apply(partial(create_user, name="bob"))
        await asyncio.wait_for(published.wait(), 5)
        assert set(writer.snapshot.users) == {1, 2}


async def test_a_caller_that_went_away_gets_its_step_done_all_the_same() -> None:
    async with writing() as (writer, store):
        store.gate.clear()
        answer = asyncio.create_task(writer.apply(partial(create_user, name="bob")))
        await asyncio.sleep(0.01)
        answer.cancel()
        store.gate.set()
        await writer.apply(partial(create_user, name="carol"))
        assert len(writer.snapshot.users) == 3


async def test_streams_learn_which_nodes_were_touched_since() -> None:
    async with writing() as (writer, _):
        epoch = writer.snapshot.epoch
        await writer.apply(partial(arrive, node_id=1))
        await writer.apply(partial(create_user, name="bob"))
        await writer.apply(partial(delete_node, node_id=1))
        assert writer.touched_since(epoch) == {1}
        assert writer.touched_since(epoch + 1) == {1}
        assert writer.touched_since(writer.snapshot.epoch) == frozenset()


async def test_a_stream_that_is_too_far_behind_is_told_that_nobody_knows() -> None:
    async with writing() as (writer, _):
        epoch = writer.snapshot.epoch
        for number in range(HISTORY + 1):
            await writer.apply(partial(create_user, name=f"user{number}"))
        assert writer.touched_since(epoch) is None
        assert writer.touched_since(epoch + 1) is not None


async def test_a_closed_writer_takes_no_more() -> None:
    async with writing() as (writer, _):
        writer.close()
        with pytest.raises(Unavailable, match="shutting down"):
            await writer.apply(partial(create_user, name="bob"))


def test_what_later_writes_overtake_is_not_written() -> None:
    """The last update of a record and the last value of a counter count; the order of the rest stays."""
    one, two = node(1), node(2)
    writes: list[Write] = [
        *(Update(one), Insert(two), Advance(Counter.NODE, 2), Update(replace(one, online=True))),
        *(Advance(Counter.NODE, 3), Advance(Counter.USER, 9), Update(two), Delete(two)),
    ]
    assert condensed(writes) == [
        *(Insert(two), Update(replace(one, online=True)), Delete(two)),
        *(Advance(Counter.USER, 9), Advance(Counter.NODE, 3)),
    ]


def test_records_of_two_kinds_may_have_one_number() -> None:
    """User 1 and node 1 are two rows."""
    writes: list[Write] = [Update(User(id=1, name="alice", created_at=NOW)), Update(node(1))]
    assert condensed(writes) == writes


async def test_steps_are_counted_by_name_and_failures_apart() -> None:
    """A step without a name of its own is called so; a commit that fails is told from a step that refuses."""
    async with writing() as (writer, store):
        await writer.apply(partial(create_user, name="bob"))
        await writer.apply(lambda snapshot, moment: Effect(snapshot, None))
        with pytest.raises(Conflict):
            await writer.apply(partial(create_user, name="bob"))
        store.refuses = has_user("eve")
        with pytest.raises(Unavailable):
            await writer.apply(partial(create_user, name="eve"))
    counts = writer.counts
    assert (counts.operations, counts.failures) == ({"create_user": 1, "step": 1}, {"create_user": 2})
    assert (counts.failed_commits, counts.sizes.total, counts.committed.number) == (1, 2.0, 3)


async def test_when_an_epoch_became_true_is_known_for_as_long_as_who_was_touched() -> None:
    async with writing() as (writer, _):
        clock = writer._clock
        assert isinstance(clock, ManualClock)
        first = writer.snapshot.epoch
        for number in range(HISTORY + 1):
            clock.advance(timedelta(seconds=1))
            await writer.apply(partial(leave if number % 2 else arrive, node_id=1))
        newest = writer.snapshot.epoch
        assert newest == first + HISTORY + 1
        assert [writer.published_at(epoch) for epoch in (newest, newest - 1, first + 2)] == [
            HISTORY + 1,
            HISTORY,
            2,
        ]
        assert [writer.published_at(epoch) for epoch in (newest + 1, first + 1)] == [None, None]
