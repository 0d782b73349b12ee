"""Places where a server of these tests dies at once, as by `kill -9`.

A failpoint is `STEP:PHASE`: the first time that a state step of this name (headscale.state.writer.name_of) reaches the
phase, the process ends. `install` puts the hooks around the server's functions in the process of a test, before the
server starts: the server itself has none, so that they cost nothing and no configuration reaches them.
"""

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, Final

PHASES: Final = (
    "decided",  # what the step changes is known, and nothing is written
    "rows",  # the rows are written inside the transaction, which is not committed
    "committed",  # the commit has returned
    "publishing",  # the snapshot is about to become true
    "published",  # it is true, and the streams are told
    "answered",  # whoever asked for the step has its result
    "responding",  # the answer is about to be sent
    "responded",  # the answer is on its way
)
STEPS: Final = ("register", "rename_node", "set_tags", "delete_node", "set_policy")
POINTS: Final = tuple(f"{step}:{phase}" for step in STEPS for phase in PHASES)


def die() -> None:
    """End as nobody can prepare for."""
    os.kill(os.getpid(), signal.SIGKILL)


def install(point: str) -> None:
    """Have this process die at this failpoint; ValueError for one that there is not."""
    if point not in POINTS:
        raise ValueError(f"{point!r} is no failpoint: expected one of {', '.join(POINTS)}")
    step, _, phase = point.partition(":")
    _Hooks(step, phase).put_in()


class _Hooks:
    """Counts nothing: the first time is the last."""

    def __init__(self, step: str, phase: str) -> None:
        self._step = step
        self._phase = phase
        self._reached = False
        """Whether the step is among those that are decided, or was."""

    def at(self, phase: str) -> None:
        if self._reached and phase == self._phase:
            die()

    def around(self, owner: Any, name: str, before: str, after: str) -> None:
        """A function that is called with anything."""
        inner: Callable[..., Any] = getattr(owner, name)

        def hooked(*args: Any, **more: Any) -> Any:
            self.at(before)
            result = inner(*args, **more)
            self.at(after)
            return result

        setattr(owner, name, hooked)

    def around_async(self, owner: Any, name: str, before: str, after: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        async def hooked(*args: Any, **more: Any) -> Any:
            self.at(before)
            result = await inner(*args, **more)
            self.at(after)
            return result

        setattr(owner, name, hooked)

    def put_in(self) -> None:
        from aiohttp import web

        from headscale.control.exchange import Exchange
        from headscale.control.tunnel import ControlTunnel
        from headscale.db import database
        from headscale.state import writer

        self._watch_steps(writer)
        self.around_async(writer.Writer, "_commit", "decided", "committed")
        self.around(database, "_execute", "", "rows")
        self.around(writer.Writer, "_publish", "publishing", "published")
        self.around(writer, "_answer", "", "answered")
        self._watch_answers(Exchange, ControlTunnel)
        self.around_async(web.StreamResponse, "prepare", "responding", "")
        self.around_async(web.Response, "write_eof", "", "responded")

    def _watch_answers(self, exchange: Any, tunnel: Any) -> None:
        """An answer inside a session is sent when its connection is flushed the next time, not by itself."""
        respond, flush = exchange.respond, tunnel._flush
        given = False

        async def responds(*args: Any, **more: Any) -> None:
            nonlocal given
            self.at("responding")
            await respond(*args, **more)
            given = self._reached

        def flushes(this: Any) -> None:
            flush(this)
            if given:
                self.at("responded")

        exchange.respond, tunnel._flush = responds, flushes

    def _watch_steps(self, writer: Any) -> None:
        """Steps are told by name, under whatever an administrator's act wraps around them."""
        inner = writer.Writer._apply_together

        async def hooked(this: Any, batch: list[Any]) -> bool:
            if any(self._step in names_in(waiting.step) for waiting in batch):
                self._reached = True
            answered: bool = await inner(this, batch)
            return answered

        writer.Writer._apply_together = hooked


def names_in(step: object) -> set[str]:
    """The names of a step and of what it was made of."""
    names = {getattr(step, "__name__", "")}
    inner = [cell.cell_contents for cell in getattr(step, "__closure__", None) or ()]
    if isinstance(step, partial):
        inner += [step.func, *step.args, *step.keywords.values()]
    return names.union(*(names_in(part) for part in inner if callable(part)))
