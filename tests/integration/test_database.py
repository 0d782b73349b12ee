"""The database on a real file and a real server: what is committed is there, whole or not at all, and nobody else's."""

import asyncio
import logging
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine

from harness.servers.inprocess import config_of
from harness.servers.local import local_settings, remove_data
from headscale.app import running
from headscale.config.settings import SqliteSettings
from headscale.db import tables
from headscale.db.database import Database, Loaded, RowGone, open_sqlite
from headscale.db.inspection import open_to_look
from headscale.db.migrate import MIGRATIONS, newest
from headscale.errors import Unavailable
from headscale.records import (
    Advance,
    Counter,
    Delete,
    Insert,
    Node,
    PolicyText,
    PreAuthKey,
    Role,
    Update,
    User,
)
from tests.builders import NOW, mkey, nkey, node
from tests.integration.databases import Place, database_path, either_place, schema_of  # noqa: F401  (fixtures)
from tests.integration.records import ALICE, API_KEY, BOB, CLIENT, FULL, HOOK, KEY, PLAIN, TOKEN

WITHIN_S = 10.0
NOTES = "these are notes about the database, not the database " * 10


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)


def _read(path: Path) -> str:
    return path.read_text()


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    opened = await place.open()
    yield opened
    await opened.close()


async def reopened(database: Database, place: Place, now: datetime = NOW) -> Loaded:
    """What another process would find."""
    await database.close()
    again = await place.open()
    try:
        return await again.load(now)
    finally:
        await again.close()


async def test_every_record_comes_back_as_it_was(place: Place) -> None:
    """Every field of every kind, after a restart."""
    database = await place.open()
    records = (ALICE, BOB, KEY, API_KEY, HOOK, CLIENT, TOKEN, FULL, PLAIN)
    await database.commit([*map(Insert, records), Advance(Counter.NODE, 9)])
    loaded = await reopened(database, place)
    assert loaded.users == (ALICE, BOB)
    assert loaded.pre_auth_keys == (KEY,)
    assert loaded.api_keys == (API_KEY,)
    assert loaded.webhooks == (HOOK,)
    assert loaded.oauth_clients == (CLIENT,)
    assert loaded.access_tokens == (TOKEN,)
    assert loaded.nodes == (FULL, PLAIN)
    assert loaded.policy is None
    assert loaded.last_ids == {
        Counter.USER: 0,
        Counter.NODE: 9,
        Counter.PRE_AUTH_KEY: 0,
        Counter.POLICY: 0,
        Counter.AUDIT: 0,
        Counter.API_KEY: 0,
        Counter.WEBHOOK: 0,
        Counter.OAUTH_CLIENT: 0,
        Counter.ACCESS_TOKEN: 0,
    }


async def test_policies_are_kept_byte_for_byte_newest_first(place: Place) -> None:
    """Comments and line ends too; the older ones are there to go back to."""
    database = await place.open()
    texts = ('{"acls": []} // ä\r\n', "two", "three" * 1_000_000)
    rows = [PolicyText(id=n, text=text, created_at=NOW) for n, text in enumerate(texts, start=1)]
    await database.commit([*(Insert(row) for row in rows), Advance(Counter.POLICY, 3)])
    loaded = await reopened(database, place)
    assert (loaded.policy, loaded.last_ids[Counter.POLICY]) == (rows[2], 3)
    again = await place.open()
    assert await again.policy_before(3) == rows[1]
    assert await again.policy_before(2) == rows[0]
    assert await again.policy_before(1) is None
    await again.close()


async def test_a_changed_record_comes_back_changed_and_a_deleted_one_not(place: Place) -> None:
    database = await place.open()
    await database.commit([Insert(ALICE), Insert(BOB), Insert(PLAIN)])
    renamed = replace(PLAIN, given_name="other", node_key=nkey(99), ipv4=None)
    await database.commit([Update(renamed), Delete(BOB), Advance(Counter.NODE, 4), Advance(Counter.NODE, 5)])
    loaded = await reopened(database, place)
    assert (loaded.users, loaded.nodes, loaded.last_ids[Counter.NODE]) == ((ALICE,), (renamed,), 5)


async def test_who_was_online_is_kept_and_what_time_does_is_not(place: Place) -> None:
    """Clients come back after a restart; whether a key has ended is looked up anew."""
    database = await place.open()
    seen = replace(PLAIN, online=True, ending=True, cap_version=142, expiry=NOW + timedelta(hours=1))
    await database.commit([Insert(ALICE), Insert(seen)])
    [loaded] = (await reopened(database, place, NOW + timedelta(hours=1))).nodes
    assert (loaded.online, loaded.cap_version, loaded.ending, loaded.expired) == (True, 142, False, True)


async def test_a_question_does_not_disturb_a_commit(place: Place) -> None:
    """Whoever asks meanwhile waits: health, the audit log."""
    database = await place.open()
    names = [replace(ALICE, id=number, name=f"user{number}") for number in range(1, 51)]
    work = [database.commit([Insert(user)]) for user in names]
    asked = [question for _ in names for question in (database.ping(), database.policy_before(None))]
    await asyncio.gather(*(each for pair in zip(work, asked[::2], asked[1::2], strict=True) for each in pair))
    assert (await reopened(database, place)).users == tuple(names)


async def test_times_are_kept_in_utc(place: Place) -> None:
    database = await place.open()
    there = NOW.astimezone(timezone(timedelta(hours=5)))
    await database.commit([Insert(replace(ALICE, created_at=there))])
    [loaded] = (await reopened(database, place)).users
    assert (loaded.created_at, loaded.created_at.tzinfo) == (NOW, UTC)


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(StatementError, match="naive datetime"):
        await database.commit([Insert(replace(ALICE, created_at=naive))])


def test_migrations_make_the_tables_that_we_use(place: Place) -> None:
    """A column that is only in one of the two would show on somebody's disk."""
    import asyncio

    async def made() -> None:
        await (await place.open()).close()

    asyncio.run(made())
    engine = place.engine()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


async def test_the_second_start_changes_nothing(place: Place) -> None:
    await (await place.open()).close()
    before = schema_of(place)
    assert "counters" in before
    await (await place.open()).close()
    assert schema_of(place) == before


@pytest.mark.parametrize(
    "clash",
    [
        replace(ALICE, id=9),
        replace(BOB, id=9),
        replace(ALICE, id=9, name="eve", role=Role.OWNER),
        replace(KEY, id=9),
        node(9, node_key=nkey(4), cap_version=0),
        node(9, given_name="host4", cap_version=0),
        node(9, ipv4=PLAIN.ipv4, cap_version=0),
        node(9, ipv6=PLAIN.ipv6, cap_version=0),
        node(9, machine_key=mkey(4), cap_version=0),
        node(9, machine_key=mkey(3), user_id=None, tags=("tag:b",), cap_version=0),
        node(9, user_id=77, cap_version=0),
        replace(PLAIN, hostname="same id"),
    ],
)
async def test_what_must_be_unique_is(database: Database, clash: User | PreAuthKey | Node) -> None:
    """Node keys, names, addresses, one node of a machine for each owner, one owner of the tailnet: a bug above is no
    wrong row here."""
    await database.commit([Insert(ALICE), Insert(BOB), Insert(KEY), Insert(FULL), Insert(PLAIN)])
    with pytest.raises(IntegrityError):
        await database.commit([Insert(clash)])
    assert len((await database.load(NOW)).nodes) == 2


async def test_two_of_a_provider_may_have_one_name(database: Database) -> None:
    """Only local names are unique: a provider tells its users apart by other means."""
    again = replace(BOB, id=3, provider_identifier="https://idp/2", role=Role.MEMBER)
    await database.commit([Insert(BOB), Insert(again), Insert(replace(ALICE, name="bob"))])
    assert len((await database.load(NOW)).users) == 3


async def test_a_batch_that_fails_leaves_nothing(place: Place) -> None:
    database = await place.open()
    await database.commit([Insert(ALICE)])
    with pytest.raises(IntegrityError):
        await database.commit(
            [
                Insert(BOB),
                Advance(Counter.USER, 5),
                Update(replace(ALICE, email="x")),
                Insert(replace(BOB, id=3, role=Role.MEMBER)),
            ]
        )
    assert (await database.load(NOW)).users == (ALICE,)
    loaded = await reopened(database, place)
    assert (loaded.users, loaded.last_ids[Counter.USER]) == ((ALICE,), 0)


@pytest.mark.parametrize("write", [Update(BOB), Delete(BOB), Update(PLAIN), Delete(KEY)])
async def test_a_row_that_is_missing_is_an_error(database: Database, write: Update | Delete) -> None:
    """Memory and file differ then, and nothing of the batch may count."""
    with pytest.raises(RowGone):
        await database.commit([Insert(ALICE), write])
    assert (await database.load(NOW)).users == ()


async def test_a_node_goes_before_its_user(database: Database) -> None:
    """Writes happen in the order in which they were decided."""
    await database.commit([Insert(ALICE), Insert(PLAIN)])
    with pytest.raises(IntegrityError):
        await database.commit([Delete(ALICE), Delete(PLAIN)])
    await database.commit([Delete(PLAIN), Delete(ALICE)])
    assert (await database.load(NOW)).users == ()


async def test_every_connection_to_a_file_is_durable_and_checks(path: Path) -> None:
    """A commit that returned survives a power cut: WAL with FULL."""
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}

    def looked_at(connection: Connection) -> None:
        for pragma, value in expected.items():
            assert connection.execute(text(f"PRAGMA {pragma}")).scalar() == value

    database = await open_sqlite(path)
    async with database.reading() as connection:
        await connection.run_sync(looked_at)
    await database.change(looked_at, rows=0)
    await database.close()


async def test_a_change_goes_on_when_nobody_waits_for_it(path: Path) -> None:
    """Whoever waited was cancelled; the file is let go when the change has been made, as a whole."""
    began, may_end = threading.Event(), threading.Event()

    def change(connection: Connection) -> None:
        connection.execute(insert(tables.users), [tables.row_of(ALICE)])
        began.set()
        assert may_end.wait(WITHIN_S)

    database = await open_sqlite(path)
    waiting = asyncio.create_task(database.change(change, rows=1))
    assert await asyncio.to_thread(began.wait, WITHIN_S)
    waiting.cancel()
    closing = asyncio.create_task(database.close())
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(Unavailable, match="in use"):
        await open_sqlite(path)
    may_end.set()
    await closing
    after = await open_sqlite(path)
    assert (await after.load(NOW)).users == (ALICE,)
    await after.close()


async def test_the_event_loop_goes_on_while_a_change_is_made(path: Path) -> None:
    """However long a disk takes: whoever asks for something else does not wait for it."""
    may_end = threading.Event()

    def change(connection: Connection) -> None:
        assert may_end.wait(WITHIN_S)

    database = await open_sqlite(path)
    waiting = asyncio.create_task(database.change(change, rows=0))
    await asyncio.sleep(0)
    may_end.set()  # which nobody could, if it held up the loop
    await waiting
    await database.close()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SqliteSettings(), {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 1000}),
        (SqliteSettings(checkpoint_pages=0), {"journal_mode": "wal", "wal_autocheckpoint": 0}),
        (SqliteSettings(write_ahead_log=False), {"journal_mode": "delete", "synchronous": 3}),
    ],
)
async def test_the_operator_says_how_a_file_keeps_its_journal(
    path: Path, settings: SqliteSettings, expected: dict[str, object]
) -> None:
    """Also of a file that was kept otherwise; without a write-ahead log the folder is synced as well (EXTRA)."""
    await (await open_sqlite(path)).close()
    database = await open_sqlite(path, settings)
    async with database._link.reading() as connection:
        for pragma, value in expected.items():
            assert (await connection.execute(text(f"PRAGMA {pragma}"))).scalar() == value
    await database.commit([Insert(ALICE)])
    assert path.with_name("db.sqlite-wal").exists() == settings.write_ahead_log
    await database.close()
    assert {file.name for file in path.parent.iterdir()} == {"db.sqlite", "db.sqlite.lock"}


async def test_a_file_with_a_rollback_journal_is_looked_at_while_it_is_written(path: Path) -> None:
    """A look waits for what is being written: half of a transaction would look like damage."""
    database = await open_sqlite(path, SqliteSettings(write_ahead_log=False))
    with (
        closing(open_to_look(path)) as looking,
        closing(sqlite3.connect(path, isolation_level=None)) as writing,
    ):
        looking.execute("PRAGMA busy_timeout=0")
        writing.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            looking.execute("SELECT count(*) FROM users")
        writing.execute("ROLLBACK")
        assert looking.execute("SELECT count(*) FROM users").fetchone() == (0,)
    await database.close()


async def test_statements_are_logged_without_their_values(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """`database.debug`: names, hashes and policies are nobody's to read in a log."""
    with caplog.at_level(logging.DEBUG, logger="headscale"):
        database = await place.open()
        await database.commit([Insert(ALICE)])
        assert "INSERT" not in caplog.text
        await database.close()
        database = await place.open(logs_statements=True)
        await database.commit([Insert(BOB), Insert(replace(KEY, user_id=BOB.id))])
        await database.close()
    said = re.findall(r"statement executed seconds=0\.[0-9]{4} sql=(INSERT INTO \w+) \(", caplog.text)
    assert said == ["INSERT INTO users", "INSERT INTO pre_auth_keys"]
    for value in (BOB.name, KEY.prefix, KEY.secret_hash.hex()):
        assert value not in caplog.text


async def test_a_server_does_as_its_configuration_says(caplog: pytest.LogCaptureFixture) -> None:
    """Of its journal, and of its statements in the log."""
    settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5))
    told = replace(config_of(settings), sqlite=SqliteSettings(write_ahead_log=False), logs_statements=True)
    with caplog.at_level(logging.DEBUG, logger="headscale.db"):
        async with running(told):
            with closing(sqlite3.connect(settings.database)) as raw:
                assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert "sql=SELECT users.id" in caplog.text
    remove_data(settings)


@pytest.mark.bar("A13")
async def test_only_its_owner_may_read_it(path: Path) -> None:
    """File, write-ahead log and lock, whatever the umask."""
    before = os.umask(0)
    try:
        database = await open_sqlite(path)
        await database.commit([Insert(ALICE)])
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
        await database.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("db.sqlite", "db.sqlite-wal", "db.sqlite-shm", "db.sqlite.lock"), "0o600")
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_second_process_is_refused(database: Database, place: Place) -> None:
    done = subprocess.run(  # noqa: ASYNC221  (nothing else happens here meanwhile)
        [sys.executable, "-c", place.program()], capture_output=True, text=True, timeout=30, check=False
    )
    assert "is in use by another headscale process: stop that one first" in done.stderr
    await database.commit([Insert(ALICE)])


async def test_the_lock_goes_with_its_holder(place: Place) -> None:
    """A file that is left behind locks nobody out."""
    first = await place.open()
    with pytest.raises(Unavailable, match="in use"):
        await place.open()
    await first.close()
    await (await place.open()).close()


async def test_what_is_no_database_is_said_and_left_alone(path: Path) -> None:
    _write(path, NOTES)
    with pytest.raises(Unavailable, match="cannot be used: file is not a database"):
        await open_sqlite(path)
    assert _read(path) == NOTES


async def test_a_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    _write(tmp_path / "file", "")
    with pytest.raises(Unavailable, match="cannot be opened"):
        await open_sqlite(tmp_path / "file" / "db.sqlite")


async def test_a_file_that_is_gone_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What /health shows; of a server, test_postgres says more."""

    def broken(engine: AsyncEngine) -> None:
        raise OSError("no disk")

    database = await open_sqlite(path)
    await database.ping()
    monkeypatch.setattr(AsyncEngine, "connect", broken)
    with pytest.raises(Unavailable, match="does not answer"):
        await database.ping()
    await database.close()


async def test_a_start_without_migrations_does_without_alembic(place: Place) -> None:
    """It takes longer to load than the rest of the server; the tables that it would make are there."""
    await (await place.open()).close()
    code = place.program("sys.exit('alembic' in sys.modules)")
    ran = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=False)
    assert ran.returncode == 0


def test_the_newest_migration_is_the_last_of_alembics() -> None:
    """Or a database would never be brought up."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [newest()]
