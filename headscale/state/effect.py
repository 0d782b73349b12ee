"""What a step decides: the next snapshot, the rows to write, who is touched, and the answer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from headscale.records import Write
from headscale.state.snapshot import Snapshot

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a step may know besides its snapshot: the time, and a fair die (`randbelow(n)` in 0..n-1)."""

    now: datetime
    randbelow: Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Effect(Generic[T_co]):
    """A decision, not yet true: it becomes so when the writer has committed `writes`.

    `touched` names the nodes that look different now, gone ones included; streams compare only those.
    A step that refuses raises instead, and nothing changes.
    """

    snapshot: Snapshot
    result: T_co
    writes: tuple[Write, ...] = ()
    touched: frozenset[int] = frozenset()


Step = Callable[[Snapshot, Moment], Effect[T_co]]
