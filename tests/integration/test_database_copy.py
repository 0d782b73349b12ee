"""`headscale database copy`: all records from one kind of database into the other, or nothing."""

import sqlite3
from pathlib import Path

import pytest

from harness.servers.local import LocalSettings
from harness.servers.postgres import Postgres
from headscale.db import tables
from headscale.db.transfer import copy_database, place_of
from headscale.errors import Conflict, Malformed, Unavailable
from headscale.records import Advance, Counter, Insert, PolicyText, Preferences, Update
from tests.builders import NOW
from tests.integration.commands import headscale
from tests.integration.databases import OnFile, on_server
from tests.integration.records import ALICE, API_KEY, BOB, CHOICES, CLIENT, FULL, HOOK, KEY, PLAIN, TOKEN

POLICY = PolicyText(id=1, text='{"acls": []} // ä ␀ \x00\r\n', created_at=NOW)
RECORDS = (ALICE, BOB, KEY, API_KEY, HOOK, CLIENT, TOKEN, FULL, PLAIN, POLICY)


async def filled(path: Path) -> OnFile:
    """With a record of every kind."""
    place = OnFile(path)
    database = await place.open()
    wish = Update(Preferences(device_approval=True, choices=CHOICES))
    await database.commit([*map(Insert, RECORDS), Advance(Counter.NODE, 9), wish])
    await database.close()
    return place


async def test_everything_is_there_and_back_again(postgres: Postgres, tmp_path: Path) -> None:
    """Into PostgreSQL and from there into a file: every record as it was, the last ids too."""
    start = await filled(tmp_path / "start.sqlite")
    between = on_server(postgres)
    url = postgres.url(between.settings.name)
    done = await copy_database(str(start.path), url)
    assert set(done.rows) == set(tables.metadata.tables)
    assert (done.rows["users"], done.rows["nodes"], done.rows["counters"]) == (2, 2, 1)
    assert postgres.password not in repr(done)
    await copy_database(url, str(tmp_path / "end.sqlite"))

    loaded = []
    for place in (start, between, OnFile(tmp_path / "end.sqlite")):
        database = await place.open()
        loaded.append(await database.load(NOW))
        await database.close()
    assert loaded[0].nodes == (FULL, PLAIN)
    assert loaded[0] == loaded[1] == loaded[2]


async def test_a_database_with_records_is_not_written_to(postgres: Postgres, tmp_path: Path) -> None:
    start = await filled(tmp_path / "start.sqlite")
    there = on_server(postgres)
    database = await there.open()
    await database.commit([Insert(ALICE)])
    await database.close()
    with pytest.raises(Conflict, match="is not empty: it has users"):
        await copy_database(str(start.path), postgres.url(there.settings.name))
    database = await there.open()
    loaded = await database.load(NOW)
    await database.close()
    assert (loaded.users, loaded.nodes) == ((ALICE,), ())


async def test_a_copy_that_fails_leaves_the_target_empty(postgres: Postgres, tmp_path: Path) -> None:
    """It is one transaction: here the last node names a user that is not there, which SQLite was made to take."""
    start = await filled(tmp_path / "start.sqlite")
    with sqlite3.connect(start.path) as raw:
        raw.execute("UPDATE nodes SET user_id = 77 WHERE id = 4")
    there = on_server(postgres)
    with pytest.raises(Unavailable, match="cannot be copied"):
        await copy_database(str(start.path), postgres.url(there.settings.name))
    database = await there.open()
    assert (await database.load(NOW)).users == ()
    await database.close()


async def test_a_server_that_runs_keeps_its_database(postgres: Postgres, tmp_path: Path) -> None:
    start = await filled(tmp_path / "start.sqlite")
    running = await start.open()
    with pytest.raises(Unavailable, match="in use by another headscale process"):
        await copy_database(str(start.path), postgres.url(on_server(postgres).settings.name))
    await running.close()


async def test_the_command_counts_and_the_password_stays_out(
    settings: LocalSettings, postgres: Postgres, tmp_path: Path
) -> None:
    start = await filled(tmp_path / "start.sqlite")
    there = postgres.url(on_server(postgres).settings.name)
    ran = await headscale(settings, "database", "copy", str(start.path), there, "-o", "json")
    assert ran.code == 0, ran.err
    assert ran.document["rows"]["pre_auth_keys"] == 1
    again = await headscale(settings, "database", "copy", str(start.path), there)
    assert again.code != 0
    assert "is not empty" in again.err
    assert postgres.password not in ran.out + ran.err + again.out + again.err


@pytest.mark.parametrize(
    ("source", "target", "error", "said"),
    [
        ("nothing.sqlite", "x.sqlite", Unavailable, "there is no database nothing.sqlite"),
        ("a.sqlite", "a.sqlite", Conflict, "both"),
        (
            "mysql://me:geheim@h/x",
            "x.sqlite",
            Malformed,
            "expected the path of a SQLite file or postgresql://",
        ),
        ("postgresql://me:geheim@h:none/x", "x.sqlite", Malformed, "no URL of a database"),
        ("postgresql://me:geheim@127.0.0.1:1/x", "x.sqlite", Unavailable, "cannot be used"),
    ],
)
async def test_what_cannot_be_copied_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said) as problem:
        await copy_database(source, target)
    assert "geheim" not in str(problem.value)
    assert list(tmp_path.iterdir()) == []


def test_a_url_may_name_a_socket_and_escape_its_parts() -> None:
    settings = place_of("postgresql://m%40e:p%2Fw@/h%20s?host=/run/postgresql&port=5433&sslmode=disable")
    assert not isinstance(settings, Path)
    assert (settings.host, settings.port, settings.name) == ("/run/postgresql", 5433, "h s")
    assert (settings.user, settings.password, settings.ssl) == ("m@e", "p/w", "disable")
