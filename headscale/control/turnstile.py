"""Lets so many through in a turn of the event loop, in the order in which they came.

After a restart all clients come back at once. A handshake costs a millisecond: without this a thousand of them are one
turn of the loop, and whoever asks for anything else waits for all.
"""

import asyncio
from collections import deque


class Turnstile:
    """`at_once`: how many enter in a turn."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._left = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_turning = False

    @property
    def waiting(self) -> int:
        """How many stand before it."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Returns when it is one's turn."""
        self._turn_soon()
        if self._left and not self._waiting:
            self._left -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _turn_soon(self) -> None:
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_turning, self._left = False, self._at_once
        while self._waiting and self._left:
            waiter = self._waiting.popleft()
            if not waiter.done():  # else its client has gone
                waiter.set_result(None)
                self._left -= 1
        if self._left < self._at_once:  # somebody enters now: what is left counts for this turn only
            self._turn_soon()
