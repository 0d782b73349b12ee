"""PostgreSQL behind the writer: one connection that owns the database, and what happens when it is lost.

The connection that writes holds an advisory lock for as long as it lives, so nobody writes without the lock. Each
commit also changes a row from the last commit's number to a new one. After a lost connection a new one first waits
for the lock, which means that the old session has ended: only then the number says for certain whether the commit
that was under way was made, and whether somebody else has written meanwhile.
"""

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
from sqlalchemy import Connection, bindparam, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from headscale.config.settings import PostgresSettings
from headscale.db import tables
from headscale.db.database import Database
from headscale.db.migrate import bring_up, newest
from headscale.db.statements import log_statements
from headscale.errors import InDoubt, Unavailable

log = logging.getLogger(__name__)

# What is waited for at most, one's turn included; less while it is known to be away. Both must fit into ten seconds:
# a change may have to wait for the one before it.
ANSWER_S: Final = 4.0
AWAY_S: Final = 3.0
# A commit may take this much longer for each of its rows.
ROW_S: Final = 0.002
# How long a start waits for a predecessor's session to end; the server notices a dead process in milliseconds.
TAKE_S: Final = 3.0
START_S: Final = 60.0
AGAIN_S: Final = 0.1
# The advisory lock of a database with a headscale: "headscal" as a number.
LOCK: Final = int.from_bytes(b"headscal")

_LOCK: Final = text(f"SELECT pg_try_advisory_lock({LOCK})")
_ME: Final = text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
_END: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :began"
)
_LAST: Final = select(tables.counters.c.value).where(tables.counters.c.name == tables.LAST_COMMIT)
_ADVANCE: Final = (
    update(tables.counters)
    .where(tables.counters.c.name == tables.LAST_COMMIT, tables.counters.c.value == bindparam("last"))
    .values(value=bindparam("next"))
)
_IN_USE: Final = "the database is in use by another headscale process: stop that one first"
_SILENT: Final = "the database does not answer; nothing was changed"
_UNKNOWN: Final = (
    "the database went away during the change: whether it was made shows when the database is back"
)
_STALE: Final = (
    "another headscale process has changed the database: restart this one, so that it reads it again"
)


# What is raised when the server cannot be reached; asyncpg's own until SQLAlchemy has a connection.
_TROUBLE: Final = (DBAPIError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True)
class _Session:
    """A connection that holds the lock, the driver's below it, and the server's process that serves it."""

    connection: AsyncConnection
    driver: "asyncpg.Connection[Any]"
    pid: int
    began: datetime


class PostgresLink:
    """See `Link`. A lost session is made again by whoever needs it next.

    `_last` is the number of the last commit, for certain while there is a session. `_trying` is the number of a commit
    that was sent and not answered.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._turn = asyncio.Lock()
        self._session: _Session | None = None
        self._before: _Session | None = None
        self._last: int | None = None
        self._trying: int | None = None
        self._is_away = False

    @asynccontextmanager
    async def reading(self, within_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._in_time(within_s), self._turn:
                session = await self._reached()
                try:
                    yield session.connection
                    await session.connection.rollback()
                except BaseException:
                    await self._drop()
                    raise
        except TimeoutError:
            raise Unavailable("the database does not answer") from None
        except DBAPIError as problem:
            if not _is_lost(problem):
                raise
            raise Unavailable("the database went away") from problem

    async def commit(self, change: Callable[[Connection], None], *, rows: int) -> None:
        if self._trying is not None:
            raise InDoubt(_UNKNOWN)
        number = secrets.randbits(62)
        try:
            async with self._in_time(rows=rows), self._turn:
                while not await self._committed(change, number):
                    pass
        except TimeoutError:
            raise (InDoubt(_UNKNOWN) if self._trying is not None else Unavailable(_SILENT)) from None

    async def settle(self) -> bool:
        try:
            async with self._in_time(), self._turn:
                await self._reached()
        except TimeoutError:
            raise Unavailable(_UNKNOWN) from None
        return self._settled()

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S), self._turn:
                await self._drop(gently=True)
        await self._engine.dispose()

    async def take(self) -> None:
        """The lock and a number of our own, for a start. Raises Unavailable, or what the driver does."""
        async with asyncio.timeout(START_S), self._turn:
            self._session = await self._connect(within_s=TAKE_S)
            # On a connection of its own: what a session has prepared ends with a change of the tables.
            before = await bring_up(self._engine)
            if before.revision not in (None, newest()):
                log.warning(
                    "database upgraded from=%s to=%s: the way back is a dump of before (docs/upgrading.md)",
                    *(before.revision, newest()),
                )
            async with self._engine.begin() as numbering:
                self._last = await numbering.run_sync(_number_of_our_own)

    async def _committed(self, change: Callable[[Connection], None], number: int) -> bool:
        """Whether this attempt was made; if not, the session was lost, and another attempt is worth it."""
        session = await self._reached()
        if self._trying is not None and self._settled():  # the attempt before this one was lost at its end
            return True
        try:
            await session.connection.run_sync(change)
            advanced = await session.connection.execute(_ADVANCE, {"last": self._last, "next": number})
            if advanced.rowcount != 1:
                raise Unavailable(_STALE)
            self._trying = number
            await session.connection.commit()
        except asyncio.CancelledError:
            await self._drop()
            raise
        except Exception as problem:
            if _is_lost(problem):
                log.warning("the database went away during a commit: %s", _words(problem))
                await self._drop()
                return False
            self._trying = None  # an answer, and it was no
            await session.connection.rollback()
            raise
        self._last, self._trying = number, None
        return True

    @asynccontextmanager
    async def _in_time(self, within_s: float | None = None, *, rows: int = 0) -> AsyncIterator[None]:
        """Raises TimeoutError; then the next one is not given as long."""
        try:
            async with asyncio.timeout(within_s or (AWAY_S if self._is_away else ANSWER_S) + rows * ROW_S):
                yield
        except TimeoutError:
            self._is_away = True
            raise
        self._is_away = False

    def _settled(self) -> bool:
        made, self._trying = self._last == self._trying, None
        return made

    async def _reached(self) -> _Session:
        """The session, made again when it was lost; tries until the caller's time is over."""
        while self._session is None or self._session.driver.is_closed():
            await self._drop()
            try:
                self._session = await self._connect(within_s=ANSWER_S)
                await self._compare(self._session)
            except _TROUBLE as problem:
                log.debug("the database cannot be reached: %s", _words(problem))
                await self._drop()
                await asyncio.sleep(AGAIN_S)
            except BaseException:
                await self._drop()
                raise
            else:
                log.info("the database is back")
        return self._session

    async def _connect(self, *, within_s: float) -> _Session:
        connection = await self._engine.connect()
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
        except BaseException:
            await connection.close()
            raise
        try:
            async with asyncio.timeout(within_s):
                while not await connection.scalar(_LOCK):
                    await self._end_session_before(connection)
                    await connection.commit()
                    await asyncio.sleep(AGAIN_S)
            pid, began = (await connection.execute(_ME)).one()
            await connection.commit()  # the lock is the session's and stays
        except BaseException as problem:
            await _ended(connection, driver)
            if isinstance(problem, TimeoutError):
                raise Unavailable(_IN_USE) from None
            raise
        return _Session(connection, driver, pid, began)

    async def _end_session_before(self, connection: AsyncConnection) -> None:
        """A server that has not noticed yet that our last connection is gone would keep the lock for it."""
        if self._before is not None:
            await connection.execute(_END, {"pid": self._before.pid, "began": self._before.began})

    async def _compare(self, session: _Session) -> None:
        """The number of the last commit tells what became of the one in doubt, and whether others have written."""
        found = await session.connection.scalar(_LAST)
        await session.connection.rollback()
        if found not in (self._last, self._trying):
            raise Unavailable(_STALE)
        self._last = found

    async def _drop(self, *, gently: bool = False) -> None:
        if (session := self._session) is not None:
            self._session, self._before = None, session
            await _ended(session.connection, session.driver, gently=gently)


async def open_postgres(settings: PostgresSettings, *, logs_statements: bool = False) -> Database:
    """The PostgreSQL database of these settings, migrated as needed.

    Raises Unavailable when another process has it, when it cannot be reached, or when it is no database that this
    version can use.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, connect_args=_arguments(settings), hide_parameters=True
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    if logs_statements:
        log_statements(engine.sync_engine)
    link = PostgresLink(engine)
    try:
        await link.take()
    except BaseException as problem:
        await link.close()
        where = f"the database {settings.shown}"
        if str(problem) == _IN_USE:
            raise Unavailable(_IN_USE.replace("the database", where)) from problem
        if isinstance(problem, TimeoutError):
            raise Unavailable(f"{where} does not answer") from problem
        if isinstance(problem, SQLAlchemyError | OSError | asyncpg.PostgresError | asyncpg.InterfaceError):
            raise Unavailable(f"{where} cannot be used: {_words(problem)}") from problem
        if isinstance(problem, Unavailable):
            raise Unavailable(f"{where} cannot be used: {problem}") from problem
        raise
    return Database(link)


@asynccontextmanager
async def looking(settings: PostgresSettings) -> AsyncIterator[AsyncConnection]:
    """A connection that sees one moment of the database and changes nothing; a server may have it meanwhile.

    Raises Unavailable when it cannot be reached.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        connect_args=_arguments(settings),
        hide_parameters=True,
        isolation_level="REPEATABLE READ",
        execution_options={"postgresql_readonly": True},
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    try:
        async with engine.connect() as connection:
            yield connection
    except _TROUBLE as problem:
        raise Unavailable(f"the database {settings.shown} cannot be read: {_words(problem)}") from problem
    finally:
        await engine.dispose()


def _arguments(settings: PostgresSettings) -> dict[str, Any]:
    """asyncpg's. What is not said is left to it: it knows libpq's variables and password file."""
    said = {
        "host": settings.host or None,
        "port": settings.port or None,
        "database": settings.name or None,
        "user": settings.user or None,
        "password": settings.password or None,
        "ssl": settings.ssl or None,
    }
    return {
        **{name: value for name, value in said.items() if value is not None},
        "timeout": ANSWER_S,
        "server_settings": {
            "application_name": "headscale",
            "timezone": "UTC",
            # Our session owns the database by being there.
            "idle_session_timeout": "0",
        },
    }


def _prepare(connection: Any, _record: object) -> None:
    connection.run_async(_set_up)


async def _set_up(connection: "asyncpg.Connection[Any]") -> None:
    # A commit that has returned survives a crash, whatever the server's default is; a stronger one stays.
    await connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
    for kind in ("text", "varchar"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=without_null, decoder=with_null, format="text"
        )


_NULL: Final = re.compile("␀([0␀])")


def without_null(plain: str) -> str:
    """A text as PostgreSQL keeps it, which takes no null character: that is ␀0, and ␀ itself is ␀␀."""
    if "\x00" in plain or "␀" in plain:
        return plain.replace("␀", "␀␀").replace("\x00", "␀0")
    return plain


def with_null(kept: str) -> str:
    """The text that `without_null` was given."""
    if "␀" in kept:
        return _NULL.sub(lambda found: "\x00" if found[1] == "0" else "␀", kept)
    return kept


def _number_of_our_own(connection: Connection) -> int:
    """Whoever had the database before sees by it that we did."""
    number = secrets.randbits(62)
    counters = tables.counters
    changed = connection.execute(
        update(counters).where(counters.c.name == tables.LAST_COMMIT).values(value=number)
    )
    if not changed.rowcount:
        connection.execute(insert(counters).values(name=tables.LAST_COMMIT, value=number))
    return number


def _is_lost(problem: BaseException) -> bool:
    """Whether the session is gone; SQLAlchemy asks the driver about it when something fails."""
    return (
        problem.connection_invalidated if isinstance(problem, DBAPIError) else isinstance(problem, _TROUBLE)
    )


async def _ended(
    connection: AsyncConnection, driver: "asyncpg.Connection[Any]", *, gently: bool = False
) -> None:
    """Close it. A server that hangs must not hold us up, so it is only told when all is well."""
    with contextlib.suppress(*_TROUBLE):
        if not gently:
            driver.terminate()
            await connection.invalidate()
        await connection.close()


def _words(problem: BaseException) -> str:
    """What the driver says, in one line."""
    cause = getattr(problem, "orig", None) or problem
    said = str(getattr(cause, "__cause__", None) or cause)
    return said.splitlines()[0] if said else type(cause).__name__
