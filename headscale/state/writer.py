"""The one place where state changes: decide, commit, publish, tell.

Steps that wait at the same moment are decided one after the other on a working snapshot and share one
durable commit (group commit). Only when that has returned is the snapshot published, the streams are told,
and each caller learns its result: what was acknowledged survives a crash. When the commit fails, nobody is
told anything but an error, and the published snapshot stays as it was. A commit that the database went away
from is in doubt: what it would have made is kept aside, and published once the database says that it was made;
until that is known nothing else is decided.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from headscale.clock import Clock
from headscale.counts import WriterCounts
from headscale.errors import HeadscaleError, InDoubt, Unavailable
from headscale.records import Advance, Counter, Update, Write
from headscale.state.effect import Effect, Moment, Step
from headscale.state.elections import election_writes
from headscale.state.snapshot import Snapshot

log = logging.getLogger(__name__)
T = TypeVar("T")

# Decided in one go before the commit; more only delays the first of them.
BATCH_MAX = 256
# How many epochs of touched nodes are remembered; a stream that is further behind starts over.
HISTORY = 1024
# How often the database is asked about a commit in doubt while nobody wants anything of it.
SETTLE_S = 1.0


class Store(Protocol):
    """Where rows become durable."""

    async def commit(self, writes: Sequence[Write]) -> None:
        """All of these rows or none; returns when they are durable. Raises Unavailable when none of them can be
        reached, InDoubt when it is not known, anything else when these rows are at fault."""

    async def settle(self) -> bool:
        """Whether the commit in doubt was made. Raises Unavailable while that is not known."""


@dataclass(slots=True)
class _Waiting:
    step: Step[Any]
    answer: asyncio.Future[Any]
    since: float


class Writer:
    """Owns the current snapshot. `on_publish` is called, in order, after each epoch has become true."""

    def __init__(
        self, snapshot: Snapshot, store: Store, clock: Clock, counts: WriterCounts | None = None
    ) -> None:
        self.snapshot = snapshot
        self.counts = counts or WriterCounts()
        self.on_publish: list[Callable[[], None]] = []
        self._store = store
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._history: deque[tuple[int, frozenset[int]]] = deque(maxlen=HISTORY)
        self._published: deque[float] = deque(maxlen=HISTORY)
        self._closing = False
        # What a commit in doubt makes true, if it was made.
        self._doubted: tuple[Snapshot, frozenset[int]] | None = None

    @property
    def queue_depth(self) -> int:
        """How many steps wait for their batch."""
        return len(self._waiting)

    async def apply(self, step: Step[T]) -> T:
        """The step's result, once it is durable. Raises what the step raises, or Unavailable."""
        if self._closing:
            raise Unavailable("the server is shutting down")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(step, answer, self._clock.monotonic()))
        self._wake.set()
        return await answer

    def touched_since(self, epoch: int) -> frozenset[int] | None:
        """The nodes that look different now than at that epoch; None when that is too long ago to know."""
        if epoch == self.snapshot.epoch:
            return frozenset()
        if not self._history or self._history[0][0] > epoch + 1:
            return None
        return frozenset().union(*(touched for at, touched in self._history if at > epoch))

    def published_at(self, epoch: int) -> float | None:
        """When that epoch became true, on the monotonic clock; None when that is too long ago to know."""
        back = self.snapshot.epoch - epoch
        return self._published[-1 - back] if 0 <= back < len(self._published) else None

    async def run(self) -> None:
        """Apply steps until closed and drained. One task runs this for the life of the server."""
        while not (self._closing and not self._waiting):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), SETTLE_S if self._doubted else None)
            self._wake.clear()
            if self._doubted and not self._waiting:
                await self._settle()
            while self._waiting:
                await self._apply_batch()

    def close(self) -> None:
        """Take no more steps; `run` returns when the waiting ones are done."""
        self._closing = True
        self._wake.set()

    async def _apply_batch(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
        if (problem := await self._settle()) is not None:
            self._refuse(batch, problem)
            return
        if await self._apply_together(batch) or len(batch) == 1:
            return
        # One of them spoiled the commit for all: each on its own finds the one.
        for waiting in batch:
            await self._apply_together([waiting])

    async def _settle(self) -> Unavailable | None:
        """What became of the commit in doubt is seen to. The error, while that is not known."""
        if self._doubted is not None:
            try:
                was_made = await self._store.settle()
            except Unavailable as problem:
                return problem
            log.warning("the commit that was in doubt was %s", "made" if was_made else "not made")
            doubted, self._doubted = self._doubted, None
            if was_made:
                self._publish(*doubted)
        return None

    def _refuse(self, batch: list[_Waiting], problem: Unavailable) -> None:
        for waiting in batch:
            self.counts.failures[name_of(waiting.step)] += 1
            _answer(waiting, error=problem)

    async def _apply_together(self, batch: list[_Waiting]) -> bool:
        """Whether all were answered. Where rows are at fault, a larger batch than one is left to retry."""
        began = self._clock.monotonic()
        moment = Moment(self._clock.now(), secrets.randbelow)
        working = self.snapshot
        decided: list[tuple[_Waiting, Effect[Any]]] = []
        refused: list[tuple[_Waiting, Exception]] = []
        for waiting in batch:
            try:
                effect = waiting.step(working, moment)
            except Exception as problem:
                refused.append((waiting, problem))
            else:
                working = effect.snapshot
                decided.append((waiting, effect))
        known = self._clock.monotonic()
        try:
            writes = [write for _, effect in decided for write in effect.writes]
            await self._commit([*writes, *election_writes(self.snapshot, working)])
        except Unavailable as problem:
            # It is not the rows' fault, and one by one they would wait as long again, each.
            log.warning("commit failed: %d changes: %s", len(decided), problem)
            self.counts.failed_commits, self.counts.is_failing = self.counts.failed_commits + 1, True
            if isinstance(problem, InDoubt):
                self._doubted = working, _touched(decided)
            self._refuse(batch, problem)
            return True
        except Exception:
            log.exception("commit failed: %d changes were not made", len(decided))
            self.counts.failed_commits, self.counts.is_failing = self.counts.failed_commits + 1, True
            if len(batch) == 1:
                self.counts.failures[name_of(batch[0].step)] += 1
                _answer(
                    batch[0], error=Unavailable("the database did not take the change; nothing was changed")
                )
            return False
        ended = self._clock.monotonic()
        if writes:  # without any the database was not asked
            self.counts.is_failing = False
        self.counts.sizes.add(len(decided))
        self.counts.decided.add(known - began)
        self.counts.committed.add(ended - known)
        self.counts.batches.add(ended - began)
        self._publish(working, _touched(decided))
        for waiting, effect in decided:
            self.counts.done(name_of(waiting.step), ended - waiting.since)
            _answer(waiting, result=effect.result)
        for waiting, refusal in refused:
            self.counts.failures[name_of(waiting.step)] += 1
            if not isinstance(refusal, HeadscaleError):
                log.error("a state step failed", exc_info=refusal)
            _answer(waiting, error=refusal)
        return True

    async def _commit(self, writes: list[Write]) -> None:
        if writes:
            await self._store.commit(condensed(writes))

    def _publish(self, working: Snapshot, touched: frozenset[int]) -> None:
        if working is self.snapshot:
            return
        self.snapshot = replace(working, epoch=self.snapshot.epoch + 1)
        self._history.append((self.snapshot.epoch, touched))
        self._published.append(self._clock.monotonic())
        for told in self.on_publish:
            told()


def _touched(decided: Sequence[tuple[_Waiting, Effect[Any]]]) -> frozenset[int]:
    return frozenset().union(*(effect.touched for _, effect in decided))


def name_of(step: Step[Any]) -> str:
    """What a step does, in one word: its function's name, as there are few of those."""
    function = step.func if isinstance(step, partial) else step
    name = getattr(function, "__name__", "step")
    return "step" if name == "<lambda>" else name


def condensed(writes: Sequence[Write]) -> list[Write]:
    """The writes of several steps without those that later ones make pointless; what they come to is the same.

    Of updates of a record the last counts, and a counter's last value, wherever it stands: behind the rest, rows of one
    table are neighbours and become one statement.
    """
    kept: list[Write] = []
    counters: dict[Counter, Advance] = {}
    later: set[tuple[type, int]] = set()
    for write in reversed(writes):
        if isinstance(write, Advance):
            counters.setdefault(write.counter, write)
            continue
        row = (type(write.record), write.record.id)
        if not (isinstance(write, Update) and row in later):
            kept.append(write)
        later.add(row)
    return [*reversed(kept), *counters.values()]


def _answer(waiting: _Waiting, *, result: object = None, error: Exception | None = None) -> None:
    if waiting.answer.done():  # the caller has gone; what it asked for has happened all the same
        return
    if error is not None:
        waiting.answer.set_exception(error)
    else:
        waiting.answer.set_result(result)
