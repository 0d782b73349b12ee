"""Records what administrators ask of a server, and when it starts and ends, whatever server it is.

Scenarios call the server's verbs directly; what reads only (lists of nodes and users) is asked too often to be told.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from harness.history import History, Source
from harness.servers.base import Admin, AuthKey, ControlServer

READS: Final = frozenset({"nodes", "users"})
ACTS: Final = tuple(
    name for name, verb in vars(Admin).items() if inspect.iscoroutinefunction(verb) and name not in READS
)
LIFE: Final = ("start", "stop", "kill")


def observe(server: ControlServer, history: History) -> None:
    """From now on the server's verbs are recorded when they are called, and when they end."""
    for names, source in ((ACTS, Source.ADMIN), (LIFE, Source.SERVER)):
        for name in names:
            verb = getattr(server, name, None)
            if verb is not None:  # another server may lack a verb that none of its scenarios needs
                setattr(server, name, _recorded(verb, server.name, history, source))


def _recorded(
    verb: Callable[..., Awaitable[Any]], who: str, history: History, source: Source
) -> Callable[..., Awaitable[Any]]:
    words = verb.__name__.replace("_", " ")

    @functools.wraps(verb)
    async def recorded(*arguments: Any, **named: Any) -> Any:
        bound = inspect.signature(verb).bind(*arguments, **named)
        bound.apply_defaults()
        history.add(source, who, words, dict(bound.arguments))
        try:
            result = await verb(*arguments, **named)
        except Exception as error:
            history.add(source, who, f"{words}: refused", {"error": str(error)})
            raise
        history.add(source, who, f"{words}: done", {} if result is None else {"result": _shown(result)})
        return result

    return recorded


def _shown(result: Any) -> Any:
    return result.id if isinstance(result, AuthKey) else str(result)
