"""Databases of every release that was (tests/data/releases), brought up to this version: nothing is lost on the way.

And what happens when it does not work: the database stays as it was, and somebody is told what to mend.
"""

import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import MetaData, text

from harness.servers.postgres import Postgres
from headscale import __version__
from headscale.db import migrate, upgrading
from headscale.db.database import open_sqlite
from headscale.db.migrate import MIGRATIONS, newest
from headscale.errors import Unavailable
from headscale.records import Advance, Counter, Delete, Insert, User
from tests.builders import NOW
from tests.integration.databases import (  # noqa: F401  (two are fixtures)
    OnFile,
    OnServer,
    Place,
    database_path,
    either_place,
    on_server,
    schema_of,
)

RELEASES = Path(__file__).parents[1] / "data" / "releases"
ALL = sorted(path.name.split(".")[0] for path in RELEASES.glob("*.sqlite.sql"))
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def rows_of(place: Place) -> Rows:
    """Everything in it but for whose it is."""
    engine, found = place.engine(), MetaData()
    with engine.connect() as connection:
        found.reflect(connection)
        rows = {
            table.name: [
                dict(row._mapping) for row in connection.execute(table.select().order_by(*table.primary_key))
            ]
            for table in found.sorted_tables
            if table.name not in ("alembic_version", "program")
        }
    engine.dispose()
    return {name: [row for row in kept if row.get("name") != "last_commit"] for name, kept in rows.items()}


def put(release: str, place: Place) -> None:
    """The database of this release. Before there was PostgreSQL, its tables there are those of the same migrations."""
    if isinstance(place, OnFile):
        place.path.parent.mkdir(exist_ok=True)
        place.path.touch(0o600)
        with closing(sqlite3.connect(place.path)) as connection:
            connection.executescript((RELEASES / f"{release}.sqlite.sql").read_text())
            connection.execute("PRAGMA journal_mode=WAL")
        return
    assert isinstance(place, OnServer)
    if (dump := RELEASES / f"{release}.postgres.sql").exists():
        its = place.settings
        with psycopg.connect(
            host=its.host, port=its.port, dbname=its.name, user=its.user, password=its.password
        ) as raw:
            raw.execute(dump.read_text().encode())
        return
    with closing(sqlite3.connect(":memory:")) as connection, place.engine().begin() as there:
        connection.executescript((RELEASES / f"{release}.sqlite.sql").read_text())
        connection.row_factory = sqlite3.Row
        config = AlembicConfig()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = there
        command.upgrade(config, release)
        found = MetaData()
        found.reflect(there)
        for table in found.sorted_tables:
            rows = [dict(row) for row in connection.execute(f'SELECT * FROM "{table.name}"')]
            there.execute(table.delete())
            for row in rows:  # SQLite keeps no truth values
                kinds = {name: str(table.c[name].type) for name in row}
                there.execute(
                    text(
                        f'INSERT INTO "{table.name}" ({", ".join(map(_quoted, row))}) '
                        f"VALUES ({', '.join(f':{name}' for name in row)})"
                    ),
                    {n: bool(v) if kinds[n] == "BOOLEAN" else v for n, v in row.items()},
                )


def _quoted(name: str) -> str:
    return f'"{name}"'


@pytest.mark.parametrize(
    ("place", "release"),
    [
        *(("sqlite", release) for release in ALL),
        *(("postgres", release) for release in ("0001", "0010", "0014")),
    ],
    indirect=["place"],
)
async def test_a_database_of_every_release_is_brought_up_and_loses_nothing(
    place: Place, release: str
) -> None:
    """Each row and each value that was there is there, what is new has its default, the tables are a new database's,
    and all of it is read."""
    put(release, place)
    before = rows_of(place)
    assert all(before.values()), "a release is kept with rows in every table"
    database = await place.open()
    await database.commit([Insert(User(id=3, name="carol", created_at=NOW)), Advance(Counter.USER, 3)])
    loaded = await database.load(NOW)
    await database.commit([Delete(loaded.users[2]), Advance(Counter.USER, 2)])
    await database.close()
    after = rows_of(place)
    for table, rows in before.items():
        assert [
            {name: kept[name] for name in row} for row, kept in zip(rows, after[table], strict=True)
        ] == rows
    assert (len(loaded.users), len(loaded.nodes), loaded.last_ids[Counter.NODE]) == (3, 3, 7)
    assert [node.given_name for node in loaded.nodes] == ["laptop", "host2", "host3"]
    assert loaded.nodes[0].hostinfo.hostname == "Laptop of Ännchen"


@pytest.mark.parametrize("release", ["0001", "0010", "0014"])
async def test_an_upgraded_database_has_the_tables_of_a_new_one(release: str, tmp_path: Path) -> None:
    old, new = OnFile(tmp_path / "old.sqlite"), OnFile(tmp_path / "new.sqlite")
    put(release, old)
    for place in (old, new):
        await (await place.open()).close()
    assert columns_of(old) == columns_of(new)


def columns_of(place: Place) -> set[str]:
    """Each line of the schema; columns that came later stand last in a table."""
    return {line.strip().rstrip(",") for line in schema_of(place).splitlines()}


def test_the_newest_release_is_kept_or_not_out_yet() -> None:
    """Whoever adds a migration keeps the database from before it: tests/data/releases/make.py."""
    assert ALL[-1] == f"{int(newest()) - 1:04}"


async def test_a_file_is_copied_before_it_is_upgraded(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whole, for its owner only whatever the umask, named by what had it and when; the log says so."""
    caplog.set_level("INFO")
    put(ALL[-1], OnFile(path))
    before = rows_of(OnFile(path))
    mask = os.umask(0)
    try:
        await (await open_sqlite(path)).close()
    finally:
        os.umask(mask)
    [copy] = upgrading.copies(path)
    assert re.fullmatch(rf"db\.sqlite\.before-upgrade-from-schema-{ALL[-1]}-\d{{8}}T\d{{6}}Z", copy.name)
    assert rows_of(OnFile(copy)) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert f"upgraded from={ALL[-1]} to={newest()}, and kept as it was in {copy}" in caplog.text
    assert {file.name for file in path.parent.iterdir()} == {"db.sqlite", "db.sqlite.lock", copy.name}
    await (await open_sqlite(path)).close()
    assert upgrading.copies(path) == [copy]


async def test_postgresql_says_that_nothing_was_kept(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Once; a new database has no way back to speak of."""
    old, new = on_server(postgres), on_server(postgres)
    put(ALL[-1], old)
    for place in (old, old, new):
        await (await place.open()).close()
    said = [record.getMessage() for record in caplog.records if "way back is a dump" in record.getMessage()]
    assert said == [
        f"database upgraded from={ALL[-1]} to={newest()}: the way back is a dump of before (docs/upgrading.md)"
    ]


async def test_what_is_in_the_journal_is_in_the_copy(path: Path) -> None:
    """A server that was killed leaves its last commits there."""
    put(ALL[-1], OnFile(path))
    writing = sqlite3.connect(path)
    writing.execute("PRAGMA wal_autocheckpoint=0")
    writing.execute("UPDATE users SET name = 'in-the-journal' WHERE id = 1")
    writing.commit()
    for suffix in ("", "-wal"):  # as a kill leaves them
        shutil.copyfile(f"{path}{suffix}", path.parent / f"left.sqlite{suffix}")
    writing.close()
    left = path.parent / "left.sqlite"
    await (await open_sqlite(left)).close()
    [copy] = upgrading.copies(left)
    assert rows_of(OnFile(copy))["users"][0]["name"] == "in-the-journal"


async def test_the_last_three_copies_stay(path: Path) -> None:
    put(ALL[-1], OnFile(path))
    old = [f"{path}{upgrading.MARK}0.{n}.0-2025010{n}T000000Z" for n in (4, 3, 2, 1)]
    for name in old:
        Path(name).write_bytes(b"")
    await (await open_sqlite(path)).close()
    copies = upgrading.copies(path)
    assert [str(copy) for copy in copies[:2]] == [old[1], old[0]]
    assert len(copies) == 3


async def test_no_room_for_the_copy_is_no_upgrade(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(ALL[-1], OnFile(path))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(upgrading.os, "fsync", full)
    with pytest.raises(
        Unavailable, match=r"no copy of it can be kept.*nothing was changed: No space left on device"
    ):
        await open_sqlite(path)
    assert path.read_bytes() == before
    assert upgrading.copies(path) == []
    assert {file.name for file in path.parent.iterdir()} <= {"db.sqlite", "db.sqlite.lock"}


def failing(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """A version of the program whose next migration does this, after it has changed something."""
    shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    body = "\n    ".join(("op.execute(\"UPDATE users SET name = 'changed'\")", *lines))
    (folder / "versions" / "9000_next.py").write_text(
        f'from alembic import op\n\nrevision = "9000"\ndown_revision = "{newest()}"\n\n\ndef upgrade():\n    {body}\n'
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", folder)


UNIQUE = 'op.create_index("uq_nodes_hostname", "nodes", ["hostname", "user_id"], unique=True)'
FILLED = """with op.batch_alter_table("nodes") as nodes:
        nodes.alter_column("expiry", nullable=False)"""
REFERRED = 'op.execute("INSERT INTO nodes SELECT * FROM nothing")'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (UNIQUE, "rows 1, 4 of nodes have the same hostname 'host1', user_id 1"),
        (FILLED, "rows 2, 3, 4 of nodes have no expiry"),
        (REFERRED, "nothing"),
        ("raise ValueError('row 3 of nodes: no host info')", "row 3 of nodes: no host info"),
    ],
    ids=["twice", "empty", "statement", "own"],
)
async def test_a_migration_that_fails_changes_nothing_and_names_the_rows(
    place: Place, change: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version before goes on with the database as if nothing had been."""
    put(ALL[-1], place)
    await (await place.open()).close()
    with place.engine().begin() as raw:
        columns = "hostname, user_id, disco_key, tags, hostinfo, endpoints, ephemeral, register_method, approved_routes"
        raw.execute(
            text(
                f"INSERT INTO nodes (id, machine_key, node_key, given_name, created_at, {columns}) "
                f"SELECT 4, 'mkey:4', 'nodekey:4', 'host4', created_at, {columns} FROM nodes WHERE id = 1"
            )
        )
    before, file = rows_of(place), place.path.read_bytes() if isinstance(place, OnFile) else b""
    with monkeypatch.context() as later:
        failing(tmp_path / "later", later, change)
        with pytest.raises(Unavailable) as failed:
            await place.open()
    message = str(failed.value)
    assert f"the upgrade from schema {newest()} to 9000 failed, and nothing was changed" in message
    assert said in message
    assert f"Go on with headscale {__version__}" in message
    assert rows_of(place) == before
    if isinstance(place, OnFile):
        assert place.path.read_bytes() == file
    await (await place.open()).close()


async def test_rows_that_name_others_that_are_gone_are_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ALL[-1], OnFile(path))
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE nodes SET user_id = 77 WHERE id = 3")
        raw.commit()
    failing(tmp_path / "later", monkeypatch, FILLED.replace("expiry", "given_name"))
    with pytest.raises(
        Unavailable, match=r"FOREIGN KEY .*; row 3 of nodes names users 77, which is not there"
    ):
        await open_sqlite(path)


async def test_a_later_versions_database_is_refused_by_its_name(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has both versions and, of a file, the copy that this version can go on with."""
    put(ALL[-1], place)
    await (await place.open()).close()
    with monkeypatch.context() as later:
        failing(tmp_path / "later", later)
        later.setattr(migrate, "__version__", "9.9.9")
        await (await place.open()).close()
    with pytest.raises(
        Unavailable,
        match=rf"headscale 9\.9\.9 wrote it \(schema 9000\), and this is {re.escape(__version__)}",
    ) as refused:
        await place.open()
    if isinstance(place, OnFile):
        copy = upgrading.copies(place.path)[-1]
        assert f"-from-{__version__}-" in copy.name
        assert str(refused.value).endswith(str(copy))
        place.path.unlink()
        shutil.copyfile(copy, place.path)
        await (await place.open()).close()
