"""/api/v1/audit: what was done, newest first (ours; the peer keeps no such log)."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Final, Protocol

import msgspec
from aiohttp import web

from headscale.api.v1.body import answer, parse_id
from headscale.errors import Malformed
from headscale.records import AuditEvent

PAGE: Final = 100
PAGE_MAX: Final = 1000


class AuditEvents(Protocol):
    """Where events are read from."""

    def __call__(self, *, before: int | None, at_most: int) -> Awaitable[tuple[AuditEvent, ...]]:
        """The newest, newest first, or those before the one with this id."""


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """An event; `told_at` is when it was by the actor's own clock."""

    id: str
    at: datetime
    actor: str
    action: str
    details: str
    told_at: datetime | None


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
            )
            for event in found
        ]
        return answer({"events": events})


def _page(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdecimal()) or len(text) > 4 or not 0 < int(text) <= PAGE_MAX:
        raise Malformed(f"limit: expected 1 to {PAGE_MAX}, got {text[:20]!r}")
    return int(text)
