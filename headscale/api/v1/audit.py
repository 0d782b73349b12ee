"""/api/v1/audit: what was done, newest first (ours; the peer keeps no such log)."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from headscale.api.v1.body import answer, parse_id
from headscale.errors import Malformed
from headscale.records import AuditEvent, Change

PAGE: Final = 100
PAGE_MAX: Final = 1000


class AuditEvents(Protocol):
    """Where events are read from."""

    def __call__(self, *, before: int | None, at_most: int) -> Awaitable[tuple[AuditEvent, ...]]:
        """The newest, newest first, or those before the one with this id."""


class ChangeShown(msgspec.Struct, frozen=True):
    """What became of one record: of a new one there is no `before`, of a deleted one no `after`."""

    target: str
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """An event; `told_at` is when it was by the actor's own clock."""

    id: str
    at: datetime
    actor: str
    action: str
    details: str
    told_at: datetime | None
    changes: tuple[ChangeShown, ...]


class AuditLog:
    """List."""

    def __init__(self, events: AuditEvents) -> None:
        self._events = events

    def routes(self) -> list[web.RouteDef]:
        """Where they are mounted."""
        return [web.get("/api/v1/audit", self.list)]

    async def list(self, request: web.Request) -> web.Response:
        """The newest ?limit=100 events, or those before the one with the id ?before."""
        before = request.query.get("before")
        found = await self._events(
            before=parse_id(before, "audit event") if before else None,
            at_most=_page(request.query.get("limit")),
        )
        events = [
            Event(
                id=str(event.id),
                at=event.at,
                actor=event.actor,
                action=event.action,
                details=event.details,
                told_at=event.told_at,
                changes=tuple(map(_shown, event.changes)),
            )
            for event in found
        ]
        return answer({"events": events})


def _shown(change: Change) -> ChangeShown:
    return ChangeShown(
        target=change.target,
        name=change.name,
        before=dict(change.before) if change.before is not None else None,
        after=dict(change.after) if change.after is not None else None,
    )


def _page(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdecimal()) or len(text) > 4 or not 0 < int(text) <= PAGE_MAX:
        raise Malformed(f"limit: expected 1 to {PAGE_MAX}, got {text[:20]!r}")
    return int(text)
