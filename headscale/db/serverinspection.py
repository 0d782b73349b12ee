"""Looks into a PostgreSQL database without changing it, as `inspection` does into a file."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text

from headscale.config.settings import PostgresSettings
from headscale.db.inspection import Inspection, with_records
from headscale.db.migrate import refuse_peer, stage_of
from headscale.db.postgres import LOCK, looking
from headscale.errors import Unavailable

# All rows of a large tailnet come in seconds; beyond this it hangs.
LOOK_S: Final = 30.0
# How PostgreSQL shows an advisory lock of one big number: its halves, and 1 for "one number"
# (https://www.postgresql.org/docs/current/view-pg-locks.html).
_HOLDER: Final = text(
    "SELECT a.client_addr, a.backend_start FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid "  # noqa: S608
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    f"AND l.classid = {LOCK >> 32} AND l.objid = {LOCK & 0xFFFFFFFF} "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


async def inspect_postgres(settings: PostgresSettings, now: datetime) -> Inspection:
    """The database of these settings; one that is still empty has no revision."""
    unseen = Inspection(where=settings.shown, in_use=False)
    try:
        async with asyncio.timeout(LOOK_S), looking(settings) as connection:
            return await connection.run_sync(_seen, unseen, now)
    except TimeoutError:
        return replace(unseen, problem=f"the database {settings.shown} does not answer")
    except Unavailable as problem:
        return replace(unseen, problem=str(problem))


def _seen(connection: Connection, unseen: Inspection, now: datetime) -> Inspection:
    stage = stage_of(connection)
    try:
        refuse_peer(connection, stage)
    except Unavailable as problem:
        raise Unavailable(f"the database {unseen.where} cannot be used: {problem}") from problem
    holder = connection.execute(_HOLDER).one_or_none()
    seen = replace(unseen, revision=stage.revision, version=stage.version, in_use=holder is not None)
    if holder is not None and holder.backend_start is not None:
        place = f"from {holder.client_addr}" if holder.client_addr is not None else "on its own machine"
        since = holder.backend_start.astimezone(UTC)
        seen = replace(seen, holder=f"connected {place} since {since:%Y-%m-%d %H:%M} UTC")
    return with_records(connection, seen, now) if seen.revision == seen.newest else seen
