"""What the API's callers do to the state: every act carries the name of who did it into the audit log."""

import pwd
import socket
import struct
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from aiohttp import web

from headscale.api.grants import GRANT, NEEDED, Needed
from headscale.api.problems import Handler
from headscale.state.acts import audited
from headscale.state.audit import note
from headscale.state.effect import Step
from headscale.state.permission import permitted
from headscale.state.scopes import EVERYTHING
from headscale.state.snapshot import Snapshot
from headscale.state.writer import Writer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who sent a request, in the words of the audit log."""

    name: str


ACTOR: Final = web.RequestKey("actor", Actor)
_NOTHING: Final = Needed(())
_CREDENTIALS: Final = struct.Struct("3i")


class Acts:
    """The writer as handlers have it: they read the snapshot, and apply steps in somebody's name."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    @property
    def snapshot(self) -> Snapshot:
        """The state of this moment."""
        return self._writer.snapshot

    async def apply(self, request: web.Request, action: str, step: Step[T], *, details: str = "") -> T:
        """The step's result, once it and its audit event are durable. Raises what the step raises, or Unavailable."""
        return await self._writer.apply(self.in_the_name_of(request, action, step, details=details))

    def in_the_name_of(
        self, request: web.Request, action: str, step: Step[T], *, details: str = ""
    ) -> Step[T]:
        """The step as the caller's act, for somebody else to apply."""
        grant = request.get(GRANT)
        needed = request.get(NEEDED, _NOTHING)  # a public route has none
        step = permitted(
            step, person=grant.person if grant else None, scopes=needed.scopes, node_id=needed.node_id
        )
        return audited(step, actor=request[ACTOR].name, action=action, details=details)

    async def note(self, request: web.Request, action: str, details: str) -> None:
        """An act that changes no record."""
        await self._writer.apply(partial(note, actor=request[ACTOR].name, action=action, details=details))


@web.middleware
async def is_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    """On the Unix socket callers are users of this machine; the kernel says which."""
    request[ACTOR] = Actor(f"local {_user_of(request)}")
    request[GRANT] = EVERYTHING
    return await handler(request)


def _user_of(request: web.Request) -> str:
    """The name of the user at the other end, or its number; "user" where the system does not say."""
    transport = request.transport
    at = transport.get_extra_info("socket") if transport is not None else None
    if at is None or not hasattr(socket, "SO_PEERCRED"):
        return "user"
    _, uid, _ = _CREDENTIALS.unpack(at.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
