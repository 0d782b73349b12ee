"""So many in a turn of the event loop, in order."""

import asyncio
from collections import Counter

from headscale.control.turnstile import Turnstile


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.number = 0
        self._on = True
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.number += 1
        if self._on:
            asyncio.get_running_loop().call_soon(self._next)

    def stop(self) -> None:
        self._on = False


async def test_a_crowd_goes_through_a_few_at_a_time_and_in_order() -> None:
    stile, turns = Turnstile(4), Turns()
    entered: list[tuple[int, int]] = []

    async def come(number: int) -> None:
        await stile.enter()
        entered.append((number, turns.number))

    await asyncio.gather(*(come(number) for number in range(30)))
    turns.stop()
    assert [number for number, _ in entered] == list(range(30))
    assert max(Counter(turn for _, turn in entered).values()) <= 4
    assert turns.number < 20, "nobody waits for turns in which nobody enters"
    assert stile.waiting == 0


async def test_who_comes_alone_does_not_wait() -> None:
    """Not even a turn, however often."""
    stile = Turnstile(2)
    for _ in range(10):
        entering = stile.enter()
        try:
            entering.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("it waits")
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_who_leaves_while_waiting_takes_nobodys_place() -> None:
    stile = Turnstile(1)
    entered: list[int] = []

    async def come(number: int) -> None:
        await stile.enter()
        entered.append(number)

    tasks = [asyncio.create_task(come(number)) for number in range(6)]
    await asyncio.sleep(0)
    for number in (2, 3):
        tasks[number].cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert entered == [0, 1, 4, 5]
