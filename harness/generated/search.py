"""The search for a tailnet that is not what its policy says: plans on real clients, and on fakes as soon as that is
enough to see the fault.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.durations import summary
from harness.errors import HarnessError
from harness.generated.build import Built, Place, built
from harness.generated.plans import Plan
from harness.generated.twin import twin
from harness.generated.verdicts import Outcome
from harness.pool import NotClean, Pool
from harness.versions import Release

TWIN_FAILS = "its twin on fakes is wrong too: the server tells clients something wrong"
TWIN_HOLDS = "its twin on fakes is as it should be: it is a matter of time, of packets, or of a client"
ONLY_TWIN = "on fakes, after another such tailnet was wrong on real clients too"

REASON_LINES = 40

Keep = Callable[[Built, Outcome], Awaitable[None]]
"""Takes the evidence of a failure, while everything still runs."""


class Mismatch(AssertionError):
    """A tailnet is not what its policy says; the text is the whole of it."""

    def __init__(self, text: str, *, leaked: bool) -> None:
        super().__init__(text)
        self.leaked = leaked
        """Whether anything passed that should not, or somebody sees whom they should not."""


@dataclass
class Figures:
    """What was measured so far: seconds, pairs and answered pairs of each tailnet on real clients."""

    seconds: list[float] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    """Why tailnets were built anew: they did not come to be, or something was silent that is told rightly to fakes."""
    mended: list[str] = field(default_factory=list)
    """Clients that met a fault of their own: see harness.clientfaults."""

    def add(self, outcome: Outcome, seconds: float) -> None:
        """One more tailnet."""
        self.seconds.append(seconds)
        self.pairs.append(len(outcome.seen))
        self.answered.append(sum(probe.answered for probe in outcome.seen.values()))

    def told(self) -> str:
        """The figures in a few lines."""
        if not self.seconds:
            return "no tailnet was measured\n"
        return (
            f"{len(self.seconds)} generated tailnets on real clients, in {sum(self.seconds):.0f} s\n"
            f"each with its server, from joining to leaving: {summary(self.seconds)}\n"
            f"{sum(self.pairs)} pairs by packets, {sum(self.answered)} of them answered\n"
            f"{len(self.restarts)} tailnets were built anew{self._reasons()}\n"
            f"{len(self.mended)} clients were started anew for a known fault of theirs: {self._releases()}\n"
        )

    def _reasons(self) -> str:
        """Why, each in its first lines: the plan at a reason's end is long."""
        shown = [line for why in self.restarts for line in ["", *why.splitlines()[:REASON_LINES]]]
        return ":" + "\n  ".join(shown) if shown else ""

    def _releases(self) -> str:
        """Those of the mended, with how often."""
        counted = Counter(each.partition(" ")[0] for each in self.mended)
        return ", ".join(f"{release} {times}" for release, times in sorted(counted.items())) or "none"


class Search:
    """Tries one plan after another."""

    def __init__(
        self,
        runner: asyncio.Runner,
        pool: Pool,
        places: Mapping[str, Place],
        releases: Sequence[Release],
        keep: Keep,
    ) -> None:
        self.figures = Figures()
        self._runner = runner
        self._pool = pool
        self._places = places
        self._releases = releases
        self._keep = keep
        self._on_fakes = False

    @property
    def choices(self) -> int:
        """How many releases a plan may choose from."""
        return len(self._releases)

    def check(self, plan: Plan) -> None:
        """Raise Mismatch when the plan is not what its policy says, with the table and what its twin does."""
        outcome, remark = self._runner.run(self._try(plan))
        if outcome.wrong:
            raise Mismatch(f"{remark}\n{outcome.told()}", leaked=not outcome.only_silent)

    async def _try(self, plan: Plan) -> tuple[Outcome, str]:
        capabilities = [release.capability for release in self._releases]
        if self._on_fakes:
            return await twin(plan, capabilities), ONLY_TWIN
        try:
            outcome = await self._on_clients(plan)
        except NotClean:
            raise
        except HarnessError as problem:
            return await self._again(plan, str(problem)), TWIN_HOLDS
        if not outcome.wrong:
            return outcome, ""
        self._on_fakes = (await twin(plan, capabilities)).wrong
        if not self._on_fakes and outcome.only_silent:
            outcome = await self._again(plan, outcome.told())
        return outcome, TWIN_FAILS if self._on_fakes else TWIN_HOLDS

    async def _again(self, plan: Plan, why: str) -> Outcome:
        """A client's bad moment passes; a fault of the server's does not. The caller limits how many there may be."""
        self.figures.restarts.append(why)
        return await self._on_clients(plan)

    async def _on_clients(self, plan: Plan) -> Outcome:
        began = time.monotonic()
        async with built(plan, self._pool, self._places, self._releases) as made:
            outcome = await made.measure()
            if outcome.wrong:
                await self._keep(made, outcome)
            self.figures.mended += made.mender.mended
        self.figures.add(outcome, time.monotonic() - began)
        return outcome
