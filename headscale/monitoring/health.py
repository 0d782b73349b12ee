"""Whether a server can work, and what is wrong when it cannot: for `/health` and the metrics.

Anybody may ask, so that answers are fixed words: no path, no address, no text of an error.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headscale.counts import WriterCounts
from headscale.errors import Unavailable
from headscale.monitoring.lag import LoopLag

# How long the database may take to say that it is there.
PING_S: Final = 2.0
# SQLite needs room for its journal, a start for a copy; below this both become a matter of luck.
FREE_MIN_BYTES: Final = 100 * 1024 * 1024
# A client gives up on a question after ten seconds; much less is felt everywhere.
LAG_MAX_S: Final = 1.0
CHECKS: Final = ("database", "writes", "disk", "lag", "policy")


@dataclass(frozen=True, slots=True)
class State:
    """How it stands: `trouble` has what is wrong, by check. Free bytes are None where nobody can say."""

    trouble: dict[str, str]
    free_bytes: int | None

    @property
    def status(self) -> str:
        """`fail` is for a server that answers nobody's changes; with a `warn` it still works."""
        return "fail" if "database" in self.trouble else "warn" if self.trouble else "pass"


class Health:
    """Looks at one server."""

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        data: Path,
        *,
        counts: WriterCounts,
        lag: LoopLag,
        policy_problem: Callable[[], str],
    ) -> None:
        self._ping = ping
        self._data = data
        self._counts = counts
        self._lag = lag
        self._policy_problem = policy_problem

    async def state(self) -> State:
        """As it is now; takes two seconds at most."""
        answers, free = await asyncio.gather(self._answers(), asyncio.to_thread(self._free))
        trouble = {}
        if not answers:
            trouble["database"] = "the database does not answer"
        if self._counts.is_failing:
            trouble["writes"] = "the last change could not be written"
        if free is not None and free < FREE_MIN_BYTES:
            trouble["disk"] = "the disk with the data is nearly full"
        if self._lag.worst_s > LAG_MAX_S:
            trouble["lag"] = "the server was too busy to answer at once during the last minute"
        if self._policy_problem():
            trouble["policy"] = "the policy that was set last cannot be used, another one is in force"
        return State(trouble, free)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(PING_S):
                await self._ping()
        except (Unavailable, TimeoutError):
            return False
        return True

    def _free(self) -> int | None:
        try:
            return shutil.disk_usage(self._data).free
        except OSError:
            return None
