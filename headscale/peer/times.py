"""What a row of the peer's tells of when it was made, used and deleted."""

from datetime import datetime

from headscale.peer.cells import LONG_AGO, ZERO_BEFORE, Unreadable, text_of, time_of
from headscale.peer.rows import Cell, Row


def created(row: Row, now: datetime) -> datetime:
    """When the row was made, as far as it tells."""
    for column in ("created_at", "updated_at"):
        try:
            at = time_of(row.get(column))
        except Unreadable:
            continue
        if at is not None and at.year > LONG_AGO.year:
            return at
    return now


def is_set(cell: Cell) -> bool:
    """Whether a column like `deleted_at` or `revoked` says yes: with a time that is not Go's zero, or a flag."""
    if text_of(cell) in ("", "0", "false", "f"):
        return False
    try:
        at = time_of(cell)
    except Unreadable:
        return True
    return at is None or at.year > LONG_AGO.year


def last_seen(row: Row) -> datetime | None:
    """When it was used last, as far as the row tells."""
    try:
        seen = time_of(row.get("last_seen"))
    except Unreadable:
        return None
    return seen if seen is not None and seen > ZERO_BEFORE else None
