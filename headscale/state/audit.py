"""The audit log: who did what, kept and never changed. It is not part of the snapshot, which only counts it."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from headscale.errors import Malformed
from headscale.records import Advance, AuditEvent, Change, Counter, Insert
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot

ACTION_MAX: Final = 64
DETAILS_MAX: Final = 4096


def note(
    snapshot: Snapshot,
    moment: Moment,
    *,
    actor: str,
    action: str,
    details: str,
    told_at: datetime | None = None,
    changes: tuple[Change, ...] = (),
) -> Effect[AuditEvent]:
    """Add an event; `told_at` is when it was, as the actor's clock has it. Raises Malformed for one without an action,
    or too long."""
    if not action or len(action) > ACTION_MAX or len(details) > DETAILS_MAX:
        raise Malformed(
            f"an audit event has an action of 1 to {ACTION_MAX} characters and details of at most {DETAILS_MAX}"
        )
    event = AuditEvent(
        id=snapshot.last_audit_id + 1,
        at=moment.now,
        actor=actor,
        action=action,
        details=details,
        told_at=told_at,
        changes=changes,
    )
    after = replace(snapshot, last_audit_id=event.id)
    return Effect(after, event, (Insert(event), Advance(Counter.AUDIT, event.id)))
