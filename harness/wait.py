"""Waiting: until a condition on a source holds, or for as long as it must go on holding, within a named budget.

Nothing here sleeps for a fixed time. A source says when something may have changed; reading it again is cheap
(one LocalAPI call). Budgets are upper limits by kind of event, scaled once by HARNESS_TIME_SCALE.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from harness.errors import HarnessError, NotAnswering, NotReached

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

RECHECK_SECONDS = 0.25
"""The longest between two reads: some facts (a path that became direct) change without an event."""


class Budget(Enum):
    """A kind of event that takes time. `BUDGETS` says how much of it."""

    DAEMON = auto()
    """A program starts and answers, or ends."""
    COMMAND = auto()
    """A command of the client ends."""
    JOIN = auto()
    """From `up` to Running: registration, netmap, DERP."""
    SYNC = auto()
    """A change at one node is seen by another."""
    REACH = auto()
    """Two nodes that may talk do, handshake included."""
    PATH = auto()
    """A direct path is found, or given up: disco trusts one for a while after the last answer."""
    OFFLINE = auto()
    """A node that vanished without a word is seen to be gone."""
    RECONNECT = auto()
    """A client finds a server that came back: its back-off grows to 30 s."""
    POLICY = auto()
    """A new policy is what every connected client goes by."""
    CLOSE = auto()
    """What a new policy forbids no longer works, what it allows does: counted from when it is sent."""
    MATRIX = auto()
    """Of a whole matrix, what is to be answered is: a handshake may be lost, and is tried again after five seconds."""
    CERTIFICATE = auto()
    """A client gets a certificate: an order, a record, the authority's look at it, and two polls of a second each."""
    RECORDS = auto()
    """A changed file of DNS records is what clients answer: the server looks at it twice a second."""
    HOLD = auto()
    """How long an absence must last before it is believed."""

    @property
    def seconds(self) -> float:
        """The budget on this machine."""
        return BUDGETS[self] * time_scale(os.environ.get("HARNESS_TIME_SCALE"))


BUDGETS: Mapping[Budget, float] = {
    Budget.DAEMON: 15.0,
    Budget.COMMAND: 20.0,
    Budget.JOIN: 45.0,
    Budget.SYNC: 30.0,
    Budget.REACH: 30.0,
    Budget.PATH: 45.0,
    Budget.OFFLINE: 60.0,
    Budget.RECONNECT: 60.0,
    Budget.POLICY: 10.0,
    Budget.CLOSE: 3.0,
    Budget.MATRIX: 16.0,
    Budget.CERTIFICATE: 60.0,
    Budget.RECORDS: 5.0,
    Budget.HOLD: 3.0,
}
"""Seconds on an idle machine with two cores, with ample room: an upper limit, never a pause."""


def time_scale(text: str | None) -> float:
    """Read HARNESS_TIME_SCALE: a positive factor, 1 when unset."""
    try:
        scale = float(text or 1)
    except ValueError:
        scale = 0.0
    if not 0 < scale <= 100:
        raise HarnessError(f"HARNESS_TIME_SCALE is {text!r}; it must be a number above 0 and at most 100")
    return scale


@dataclass(frozen=True, slots=True)
class Condition(Generic[T]):
    """A predicate with a name. `why_not` returns None when it holds, else the reason in words."""

    name: str
    why_not: Callable[[T], str | None]

    def __and__(self, other: "Condition[T]") -> "Condition[T]":
        """Both; the reason is that of the first that fails."""
        return Condition(f"{self.name} and {other.name}", lambda v: self.why_not(v) or other.why_not(v))


class Source(Protocol[T_co]):
    """Something that can be read and that says when to read again."""

    @property
    def name(self) -> str:
        """Whose facts these are."""

    async def read(self) -> T_co:
        """The facts now. Raises NotAnswering while they cannot be had."""

    async def changed(self, within: float) -> None:
        """Return when something may have changed since the last `read`, at the latest after `within` seconds."""


async def until(source: Source[T], condition: Condition[T], budget: Budget) -> T:
    """Wait until the condition holds and return the facts that show it.

    Raises NotReached with the condition, the last reason and the time waited.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:
        try:
            facts = await source.read()
            reason = condition.why_not(facts)
        except NotAnswering as error:
            reason = str(error)
        if reason is None:
            return facts
        left = start + budget.seconds - loop.time()
        if left <= 0:
            waited = f"{loop.time() - start:.1f} s (budget {budget.name})"
            raise NotReached(
                f"{source.name}: {condition.name!r} is not so after {waited}; last reason: {reason}"
            )
        await source.changed(min(left, RECHECK_SECONDS))


async def holds(source: Source[T], condition: Condition[T], budget: Budget = Budget.HOLD) -> T:
    """Watch that the condition goes on holding for the whole budget. Raises NotReached when it breaks."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:
        facts = await source.read()
        if (reason := condition.why_not(facts)) is not None:
            after = loop.time() - start
            raise NotReached(f"{source.name}: {condition.name} held only {after:.1f} s: {reason}")
        left = start + budget.seconds - loop.time()
        if left <= 0:
            return facts
        await source.changed(min(left, RECHECK_SECONDS))


async def until_it_holds(source: Source[T], condition: Condition[T], budget: Budget) -> T:
    """Wait until the condition holds, then watch that it stays so for Budget.HOLD."""
    await until(source, condition, budget)
    return await holds(source, condition)
