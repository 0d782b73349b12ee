"""One open long poll: where its bytes go, and what it was sent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from headscale.state.snapshot import Snapshot


class Sink(Protocol):
    """Where a stream's bytes go."""

    @property
    def writable(self) -> bool:
        """Whether more may be sent now."""

    def send(self, data: bytes) -> None:
        """Queue bytes; never blocks."""

    def end(self) -> None:
        """Nothing follows."""


class Ending(StrEnum):
    """Why a stream ended."""

    CANCELLED = "cancelled"
    LOST = "lost"
    REPLACED = "replaced"
    STUCK = "stuck"
    DELETED = "deleted"
    SHUTDOWN = "shutdown"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Stream:
    """One node's open long poll. `sent` is None until its full map went out, `ending` until we end it."""

    node_id: int
    version: int
    compress: bool
    sink: Sink
    sent: Snapshot | None = None
    keep_alive_at: float = 0.0
    stuck_since: float | None = None
    ending: Ending | None = None
    ended: Callable[[], None] = field(default=lambda: None)
