"""The database behind the writer: open, migrate, load everything once, commit batches of rows.

`Database` knows the rows, and a `Link` the way to them: a SQLite file here, a server in `postgres`.

SQLite runs with `synchronous=FULL` in WAL mode: a commit that has returned survives power loss. One process
owns the file (a lock beside it), because the state in memory would go stale behind another's back.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import (
    ARRAY,
    URL,
    BigInteger,
    Connection,
    Engine,
    Executable,
    Table,
    any_,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from headscale.config.settings import SqliteSettings
from headscale.db import tables
from headscale.db.migrate import TooNew, bring_up, newest
from headscale.db.statements import log_statements
from headscale.db.upgrading import keep_before_upgrade, usable_copy
from headscale.errors import Unavailable
from headscale.records import (
    AccessToken,
    Advance,
    ApiKey,
    AuditEvent,
    Counter,
    Insert,
    Node,
    OAuthClient,
    PolicyText,
    PreAuthKey,
    Preferences,
    Update,
    User,
    Webhook,
    Write,
)

log = logging.getLogger(__name__)

BUSY_TIMEOUT_MS = 10_000
# With less a start can fail: the write-ahead log and its index need about so much.
LITTLE_ROOM_BYTES: Final = 64 * 1024
# What keeps any change from being made, and is not the fault of its rows, by SQLite's primary result code.
_CAUSES: Final = {
    sqlite3.SQLITE_BUSY: "another program keeps the database to itself",
    sqlite3.SQLITE_FULL: "the disk with the database is full",
    sqlite3.SQLITE_IOERR: "the disk with the database cannot be read or written",
    sqlite3.SQLITE_READONLY: "the database cannot be written to",
}
_ADVANCE: Final = (
    update(tables.counters)
    .where(tables.counters.c.name == bindparam("counter"))
    .values(value=bindparam("last"))
)
# All rows of a large tailnet take longer than a question.
LOAD_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that was kept; of policies the newest."""

    users: tuple[User, ...]
    pre_auth_keys: tuple[PreAuthKey, ...]
    api_keys: tuple[ApiKey, ...]
    webhooks: tuple[Webhook, ...]
    oauth_clients: tuple[OAuthClient, ...]
    access_tokens: tuple[AccessToken, ...]
    nodes: tuple[Node, ...]
    policy: PolicyText | None
    preferences: Preferences
    elections: tuple[str, ...]
    last_ids: dict[Counter, int]


class RowGone(Exception):
    """A row that must be there for an update or delete is not: memory and database differ."""


class Link(Protocol):
    """The way to the rows; one transaction at a time."""

    def reading(self, within_s: float | None = None) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection to read on. Whoever has it has it alone; where answers can fail to come, for so long at most."""

    async def commit(self, change: Callable[[Connection], None], *, rows: int) -> None:
        """Make this change in a transaction of its own; durable when it returns. Raises as `Database.commit` does."""

    async def settle(self) -> bool:
        """See `Database.settle`."""

    async def close(self) -> None:
        """Let go of the database, so that others can have it."""


class SqliteLink:
    """The file. One connection reads it and one changes it, in turns.

    A change is made as a whole in a thread. With aiosqlite each of its statements is several turns of the event loop,
    which cost more than the rows and take long where there is much else to do.
    """

    def __init__(self, engine: AsyncEngine, changing: Engine, lock: int) -> None:
        self._engine = engine
        self._changing = changing
        self._lock = lock
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "sqlite")

    @asynccontextmanager
    async def reading(self, within_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        async with self._turn, self._engine.connect() as connection:
            yield connection

    async def commit(self, change: Callable[[Connection], None], *, rows: int) -> None:
        try:
            async with self._turn:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._change, change)
        except OperationalError as problem:
            code = getattr(problem.orig, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
            if (cause := _CAUSES.get(code)) is None:
                raise
            raise Unavailable(f"{cause}; nothing was changed") from problem

    async def settle(self) -> bool:
        raise AssertionError("no commit to a file is ever in doubt")

    async def close(self) -> None:
        # Whoever waited for a change may have been cancelled; the change goes on, and the file is ours until its end.
        await asyncio.to_thread(self._thread.shutdown)
        self._changing.dispose()
        await self._engine.dispose()
        os.close(self._lock)

    def _change(self, change: Callable[[Connection], None]) -> None:
        with self._changing.begin() as connection:
            change(connection)


class Database:
    """An open database. `commit` is the writer's; nothing else changes rows."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def load(self, now: datetime) -> Loaded:
        """All records and the last id of each kind that was ever handed out."""
        async with self.reading() as connection:
            users = (await connection.execute(select(tables.users))).all()
            keys = (await connection.execute(select(tables.pre_auth_keys))).all()
            api_keys = (await connection.execute(select(tables.api_keys))).all()
            webhooks = (await connection.execute(select(tables.webhooks))).all()
            clients = (await connection.execute(select(tables.oauth_clients))).all()
            tokens = (await connection.execute(select(tables.access_tokens))).all()
            nodes = (await connection.execute(select(tables.nodes))).all()
            counters = (await connection.execute(select(tables.counters))).all()
            preferences = (await connection.execute(select(tables.preferences))).one()
            elections = (await connection.execute(select(tables.elections))).one()
        policy = await self.policy_before(None)
        last = {Counter(row.name): row.value for row in counters if row.name != tables.LAST_COMMIT}
        return Loaded(
            users=tuple(map(tables.user_of, users)),
            pre_auth_keys=tuple(map(tables.key_of, keys)),
            api_keys=tuple(map(tables.api_key_of, api_keys)),
            webhooks=tuple(map(tables.webhook_of, webhooks)),
            oauth_clients=tuple(map(tables.client_of, clients)),
            access_tokens=tuple(map(tables.token_of, tokens)),
            nodes=tuple(tables.node_of(row, now) for row in nodes),
            policy=policy,
            preferences=tables.preferences_of(preferences),
            elections=elections.held,
            last_ids={counter: last.get(counter, 0) for counter in Counter},
        )

    async def policy_before(self, policy_id: int | None) -> PolicyText | None:
        """The policy that was set before the one with this id; without an id, the one that was set last."""
        query = select(tables.policies).order_by(tables.policies.c.id.desc()).limit(1)
        if policy_id is not None:
            query = query.where(tables.policies.c.id < policy_id)
        async with self._link.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return tables.policy_of(row) if row is not None else None

    async def policy(self, policy_id: int) -> PolicyText | None:
        """The policy that was set with this id, in force or not."""
        query = select(tables.policies).where(tables.policies.c.id == policy_id)
        async with self._link.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return tables.policy_of(row) if row is not None else None

    async def policies(self) -> tuple[PolicyText, ...]:
        """Every policy that was ever set, oldest first."""
        async with self._link.reading() as connection:
            rows = await connection.execute(select(tables.policies).order_by(tables.policies.c.id))
            return tuple(map(tables.policy_of, rows))

    async def audit_events(self, *, before: int | None, at_most: int) -> tuple[AuditEvent, ...]:
        """The newest events of the audit log, newest first, or those before the one with this id."""
        query = select(tables.audit_events).order_by(tables.audit_events.c.id.desc()).limit(at_most)
        if before is not None:
            query = query.where(tables.audit_events.c.id < before)
        async with self._link.reading() as connection:
            return tuple(map(tables.event_of, await connection.execute(query)))

    async def commit(self, writes: Sequence[Write]) -> None:
        """All of these rows, or none and an exception; durable when it returns.

        Raises Unavailable when the database cannot be reached, and InDoubt when it went away before it said
        whether it took them: then `settle` comes before the next commit.
        """
        await self._link.commit(partial(_execute, writes=writes), rows=len(writes))

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection to read everything on, before others may go on."""
        return self._link.reading(LOAD_S)

    async def change(self, change: Callable[[Connection], None], *, rows: int) -> None:
        """Any change, for when no server runs; raises as `commit` does."""
        await self._link.commit(change, rows=rows)

    async def settle(self) -> bool:
        """Whether the commit that was in doubt was made. Raises Unavailable while that cannot be known."""
        return await self._link.settle()

    async def ping(self) -> None:
        """Raises Unavailable when the database does not answer."""
        try:
            async with self._link.reading() as connection:
                await connection.execute(text("SELECT 1"))
        except Exception as problem:
            raise Unavailable("the database does not answer") from problem

    async def close(self) -> None:
        """Let go of the database, so that others can have it."""
        await self._link.close()


async def open_sqlite(
    path: Path, settings: SqliteSettings | None = None, *, logs_statements: bool = False
) -> Database:
    """The SQLite database in this file, created and migrated as needed.

    Raises Unavailable when another process has it, or when it is no database that this version can use. The
    file is readable by its owner only.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = take_lock(path)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as problem:
        raise Unavailable(f"the database {path} cannot be opened: {problem.strerror}") from problem
    one: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)), **one)
    changing = create_engine(URL.create("sqlite+pysqlite", database=str(path)), **one)
    for each in (engine.sync_engine, changing):
        event.listen(each, "connect", partial(_set_pragmas, settings or SqliteSettings()))
        event.listen(each, "begin", _begin_immediate)
        if logs_statements:
            log_statements(each)
    copy = None
    try:
        copy = await asyncio.to_thread(keep_before_upgrade, path)
        before = await bring_up(engine)
        await asyncio.to_thread(_connect, changing)
    except BaseException as problem:
        changing.dispose()
        await engine.dispose()
        os.close(lock)
        if isinstance(problem, DatabaseError | sqlite3.Error):
            reason = getattr(problem, "orig", problem)
            raise Unavailable(f"the database {path} cannot be used: {reason}{_room(path)}") from problem
        if isinstance(problem, Unavailable):
            raise Unavailable(
                f"the database {path} cannot be used: {problem}{_way_out(problem, path)}"
            ) from problem
        raise
    if copy is not None:
        log.info("database upgraded from=%s to=%s, and kept as it was in %s", before.revision, newest(), copy)
    return Database(SqliteLink(engine, changing, lock))


def _connect(engine: Engine) -> None:
    """Before the first change, which may come when there is no room for it. The pool keeps the connection."""
    engine.connect().close()


def _room(path: Path) -> str:
    """SQLite says "disk I/O error" where it cannot make its files; whoever reads that is told when there is no room."""
    return " (the disk is full)" if shutil.disk_usage(path.parent).free < LITTLE_ROOM_BYTES else ""


def _way_out(problem: Unavailable, path: Path) -> str:
    copy = usable_copy(path) if isinstance(problem, TooNew) else None
    return f": {copy}" if copy is not None else ""


def take_lock(path: Path) -> int:
    """The descriptor of the lock of the database in this file; whoever closes it lets others in.

    Raises Unavailable when another process has it.
    """
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Unavailable(f"{path} is in use by another headscale process: stop that one first") from None
    return lock


def _set_pragmas(settings: SqliteSettings, connection: Any, _record: object) -> None:
    # sqlite3 must leave BEGIN to us, or DDL in migrations commits behind our back.
    connection.isolation_level = None
    cursor: sqlite3.Cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        *_journal(settings),
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _journal(settings: SqliteSettings) -> tuple[str, ...]:
    """A rollback journal ends a commit by its removal, which is durable with the folder: EXTRA syncs that as well."""
    if not settings.write_ahead_log:
        return "journal_mode=DELETE", "synchronous=EXTRA"
    return "journal_mode=WAL", f"wal_autocheckpoint={settings.checkpoint_pages}", "synchronous=FULL"


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _execute(connection: Connection, writes: Sequence[Write]) -> None:
    """In the given order; neighbours of one kind and table go as one statement."""
    for (kind, table), group in groupby(writes, key=_kind):
        batch = list(group)
        if kind is Advance:
            _advance(connection, [write for write in batch if isinstance(write, Advance)])
            continue
        rows = [tables.row_of(write.record) for write in batch if not isinstance(write, Advance)]
        if kind is Insert:
            connection.execute(_insert(table), rows)
        else:
            _exactly_these(connection, kind, table, rows)


def _kind(write: Write) -> tuple[type[Write], Any]:
    return type(write), None if isinstance(write, Advance) else tables.table_of(write.record)


def _exactly_these(
    connection: Connection, kind: type[Write], table: Any, rows: Sequence[dict[str, Any]]
) -> None:
    """Update or delete these rows in one statement: each way to the database costs more than a row."""
    values = [{"this_id": row.pop("id"), **row} for row in rows]
    # ids are unique, so one that is missing shows in the sum
    if not connection.dialect.supports_sane_multi_rowcount:
        found = _exactly_by_count(connection, kind, table, values)
    elif kind is Update:
        found = connection.execute(_update(table), values).rowcount
    else:
        ids = [{"this_id": row["this_id"]} for row in values]
        found = connection.execute(_delete(table), ids).rowcount
    if found != len(values):
        missing = ", ".join(str(row["this_id"]) for row in values)
        raise RowGone(f"{table.name} has {found} of the rows {missing}")


def _exactly_by_count(
    connection: Connection, kind: type[Write], table: Any, values: Sequence[dict[str, Any]]
) -> int:
    """How many of the rows are there, for a driver that counts no rows of many updates (PostgreSQL's)."""
    ids = literal([row["this_id"] for row in values], ARRAY(BigInteger))
    these = table.c.id == any_(ids)
    if kind is not Update:
        return connection.execute(delete(table).where(these)).rowcount
    found = connection.scalar(select(func.count()).select_from(table).where(these)) or 0
    if found == len(values):
        connection.execute(_update(table), values)
    return found


# A statement is made once for a table: to find out that it has compiled one like it before costs SQLAlchemy more than a
# row. Which row is meant is `this_id`.
@cache
def _insert(table: Table) -> Executable:
    return insert(table)


@cache
def _update(table: Table) -> Executable:
    return update(table).where(table.c.id == bindparam("this_id"))


@cache
def _delete(table: Table) -> Executable:
    return delete(table).where(table.c.id == bindparam("this_id"))


def _advance(connection: Connection, counters: Iterable[Advance]) -> None:
    last = {write.counter: write.value for write in counters}
    for counter, value in last.items():
        changed = connection.execute(_ADVANCE, {"counter": counter.value, "last": value})
        if not changed.rowcount:
            connection.execute(insert(tables.counters).values(name=counter.value, value=value))
