"""Honest clients beside an abuser (O1, O2): what they are told stays quick and right, whatever the others do."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.clients.fake import FakeClient, MapStream
from harness.wait import time_scale
from tests.faults.stand import HOST, Stand, percentile

TOLD_P99_S, TOLD_MAX_S = 3.0, 10.0
HEALTH_P99_S = 0.5
POLICY = '{"grants": [{"src": ["alice@"], "dst": ["alice@"], "ip": ["*"]}]}'


@dataclass
class Canary:
    """Times in seconds: from a change at one client to its peer's map, and of questions about the server's health."""

    told: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    unhealthy: list[int] = field(default_factory=list)
    leaked: list[Any] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, float]:
        """For the table."""
        return {"told_p99_s": percentile(self.told, 99), "health_p99_s": percentile(self.health, 99)}

    def check(self, *, at_least: int = 3) -> None:
        """It was told all in time, nobody saw what the policy hides, and the server called itself healthy."""
        scale = time_scale(os.environ.get("HARNESS_TIME_SCALE"))
        assert len(self.told) >= at_least, f"void: {len(self.told)} changes were told"
        assert not self.unhealthy, self.unhealthy
        assert not self.leaked, self.leaked
        assert percentile(self.told, 99) <= TOLD_P99_S * scale, sorted(self.told)[-5:]
        assert max(self.told) <= TOLD_MAX_S * scale
        assert percentile(self.health, 99) <= HEALTH_P99_S * scale, sorted(self.health)[-5:]


@asynccontextmanager
async def canary(stand: Stand) -> AsyncIterator[Canary]:
    """A moves, B of the same user hears of it, and C of another user sees nobody; until the context ends."""
    bird = Canary()
    other = await stand.server.create_user("carol")
    await stand.server.set_policy(POLICY)
    one, two = await stand.join("canary-a"), await stand.join("canary-b")
    hidden = await stand.join("canary-c", await stand.key(user=other))
    hears, sees = await two.stream_map(), await hidden.stream_map()
    await hears.next_message()
    await sees.next_message()
    work = [
        asyncio.create_task(moving(one, hears, bird)),
        asyncio.create_task(watching(sees, bird)),
    ]
    try:
        async with asking(stand) as answers:
            yield bird
    finally:
        bird.health += [seconds for status, seconds in answers if status == 200]
        bird.unhealthy += [status for status, _ in answers if status != 200]
        for task in work:
            task.cancel()
        results = await asyncio.gather(*work, return_exceptions=True)
    broken = [problem for problem in results if not isinstance(problem, asyncio.CancelledError)]
    assert not broken, broken


async def moving(one: FakeClient, hears: MapStream, bird: Canary) -> None:
    """Another endpoint each second, and how long until the other hears of it."""
    number = 0
    while True:
        number += 1
        endpoint = f"192.0.2.{number % 250 + 1}:{4000 + number % 1000}"
        began = time.monotonic()
        await one.lite_update(endpoints=[endpoint])
        await hears.until(
            lambda netmap, wanted=endpoint: any(
                wanted in (peer.get("Endpoints") or ()) for peer in netmap.peers.values()
            ),
            within=30,
        )
        bird.told.append(time.monotonic() - began)
        await asyncio.sleep(max(0.0, 1.0 - bird.told[-1]))


async def watching(sees: MapStream, bird: Canary) -> None:
    """Who sees nobody hears of nobody."""
    while True:
        message = await sees.next_message()
        if any(message.get(name) for name in ("Peers", "PeersChanged", "PeersChangedPatch")):
            bird.leaked.append(message)


@asynccontextmanager
async def asking(stand: Stand, *, pause_s: float = 1.0) -> AsyncIterator[list[tuple[int, float]]]:
    """Ask for the server's health from a process of its own; status and seconds of each answer, at the end."""
    where = (HOST, str(stand.server.settings.port), str(pause_s))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.asker", *where), stdout=asyncio.subprocess.PIPE
    )
    answers: list[tuple[int, float]] = []
    try:
        yield answers
    finally:
        process.kill()
        out, _ = await process.communicate()
        whole = out.decode().rpartition("\n")[0].splitlines()
        answers += [(int(line.split()[0]), float(line.split()[1])) for line in whole]
