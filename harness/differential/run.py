"""Both sides step by step: after each they must come to look the same, but for what the ledger explains."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from harness.differential.ledger import Difference, Known, Ruling, differences, rule
from harness.differential.picture import Look
from harness.differential.script import Step, name_of
from harness.differential.sides import Side
from harness.wait import RECHECK_SECONDS, Budget


async def compare_sides(first: Side, second: Side, steps: Sequence[Step], known: Sequence[Known]) -> Ruling:
    """Do every step on both sides at once, and hold what still differs after Budget.SYNC against the ledger."""
    found: list[Difference] = []
    for number, step in enumerate(steps, start=1):
        await asyncio.gather(first.act(step), second.act(step))
        found += await _settled(first, second, f"{number:02} {name_of(step)}", known)
    return rule(found, known)


async def _settled(first: Side, second: Side, at: str, known: Sequence[Known]) -> Sequence[Difference]:
    """What differs for longer than a change takes to be seen. Who reaches whom is asked once all else is the same.

    Two pictures in a row must be alike on each side, so that both are of what the step came to.
    """
    deadline = asyncio.get_running_loop().time() + Budget.SYNC.seconds
    before: tuple[Look, Look] | None = None
    while True:
        looks = await _looks(first, second)
        is_over = asyncio.get_running_loop().time() > deadline
        found = list(differences(looks[0].plain(), looks[1].plain(), at=at))
        if looks == before or is_over:
            reaching = await asyncio.gather(first.reach(), second.reach())
            with_reach = [replace(look, reach=reach) for look, reach in zip(looks, reaching, strict=True)]
            found = list(differences(with_reach[0].plain(), with_reach[1].plain(), at=at))
            if is_over or not rule(found, known).unknown:
                return found
        before = looks
        await asyncio.sleep(RECHECK_SECONDS)


async def _looks(first: Side, second: Side) -> tuple[Look, Look]:
    one, other = await asyncio.gather(first.look(), second.look())
    return one, other
