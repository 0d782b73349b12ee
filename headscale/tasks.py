"""The tasks of a server's life: started one by one, stopped in reverse, and missed when one of them dies."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any


class Tasks:
    """Starts tasks that end with the stack. `failed` fails when one of them does: then nothing can be trusted."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stack = stack

    def start(
        self, name: str, work: Coroutine[Any, Any, None], *, ending: Callable[[], None] | None = None
    ) -> None:
        """Run this until the stack unwinds. `ending` tells it to end by itself; without it, it is cancelled."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._done)
        self._stack.push_async_callback(_stop, task, ending)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (problem := task.exception()) and not self.failed.done():
            self.failed.set_exception(problem)


async def _stop(task: asyncio.Task[None], ending: Callable[[], None] | None) -> None:
    if ending is not None:
        ending()
    else:
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
