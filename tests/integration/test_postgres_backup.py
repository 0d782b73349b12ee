"""Backup, restore and import where the records are in PostgreSQL: an archive fits into either kind of database."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.peerdatabase import PeerDatabase
from harness.servers.inprocess import InProcessServer
from harness.servers.local import LocalSettings, local_settings, remove_data
from harness.servers.postgres import Postgres
from tests.integration.commands import headscale
from tests.integration.fakes import EPHEMERAL_TIMEOUT, GRACE, Enrolled, Tailnet, registered, until
from tests.integration.test_backup import members
from tests.integration.test_import import dirty  # noqa: F401  (a fixture)


class Site:
    """A server with its records in PostgreSQL, or in a file."""

    def __init__(self, settings: LocalSettings, url: str = "") -> None:
        self.settings = settings
        self.url = url
        self.server = InProcessServer(settings, grace=GRACE)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()


class Sites:
    """Makes them."""

    def __init__(self, stack: AsyncExitStack, postgres: Postgres) -> None:
        self._stack = stack
        self._postgres = postgres

    def on_postgres(self) -> Site:
        name = f"backup{uuid.uuid4().hex}"
        url = self._postgres.create(name)
        return self._made(Site(self._settings(self._postgres.variables(name)), url))

    def on_file(self) -> Site:
        return self._made(Site(self._settings({})))

    def _settings(self, elsewhere: Any) -> LocalSettings:
        made = local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT, elsewhere=elsewhere)
        self._stack.callback(remove_data, made)
        return made

    def _made(self, site: Site) -> Site:
        self._stack.push_async_callback(site.server.close)
        return site


@pytest.fixture
async def sites(postgres: Postgres) -> AsyncIterator[Sites]:
    async with AsyncExitStack() as stack:
        yield Sites(stack, postgres)


async def lived_in(site: Site, stack: AsyncExitStack) -> Enrolled:
    """Start it, let a client in, and read its map."""
    await site.server.start()
    await site.server.create_user("alice")
    await site.server.create_user("bob")
    client = await Tailnet(site.server, stack).join("laptop")
    await client.stream()
    return client


async def test_a_backup_of_a_running_server_is_restored_into_an_empty_database(
    sites: Sites, tmp_path: Path
) -> None:
    """After a loss: an empty PostgreSQL and data directory become the server, and clients go on with what they have."""
    archive = tmp_path / "headscale.tar.gz"
    async with AsyncExitStack() as stack:
        lost = sites.on_postgres()
        client = await lived_in(lost, stack)
        ran = await headscale(lost.settings, "backup", str(archive))
        assert ran.code == 0, ran.err
        assert "2 users and 1 nodes" in ran.out
        assert set(members(archive)) >= {"db.sqlite", "noise_private.key", "manifest.json"}
        await lost.server.stop()
        await client.client.close()
        with psycopg.connect(lost.url, autocommit=True) as raw:
            raw.execute("DROP SCHEMA public CASCADE")
            raw.execute("CREATE SCHEMA public")
        for path in lost.settings.data.iterdir():
            path.unlink()
        ran = await headscale(lost.settings, "restore", str(archive))
        assert ran.code == 0, ran.err
        assert lost.url.rpartition("/")[2] in ran.out
        await lost.server.start()
        again = await client.stream()
        await until(again, lambda netmap: netmap.node is not None)
        answer = await registered(client.client)
        assert answer["AuthURL"] == ""
    assert not list(lost.settings.data.glob("db.sqlite*"))


async def test_an_archive_goes_from_one_kind_of_database_into_the_other_and_back(
    sites: Sites, tmp_path: Path
) -> None:
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    async with AsyncExitStack() as stack:
        start = sites.on_postgres()
        await lived_in(start, stack)
        assert (await headscale(start.settings, "backup", str(first))).code == 0
        await start.server.stop()
    on_file, back = sites.on_file(), sites.on_postgres()
    for site, archive, made in ((on_file, first, second), (back, second, third)):
        ran = await headscale(site.settings, "restore", str(archive))
        assert ran.code == 0, ran.err
        ran = await headscale(site.settings, "backup", str(made))
        assert ran.code == 0, ran.err
    for table in ("users", "nodes", "pre_auth_keys", "counters", "audit_events"):
        query = f"SELECT * FROM {table} ORDER BY 1"
        others = [row for row in start.rows(query) if row[0] != "last_commit"]
        assert others
        assert [row for row in back.rows(query) if row[0] != "last_commit"] == others


async def test_records_that_are_there_are_replaced_only_by_force_and_kept(
    sites: Sites, tmp_path: Path
) -> None:
    """Not while the server runs; not without --force; and what was there can be restored again."""
    archive = tmp_path / "headscale.tar.gz"
    async with AsyncExitStack() as stack:
        site = sites.on_postgres()
        await lived_in(site, stack)
        assert (await headscale(site.settings, "backup", str(archive))).code == 0
        await site.server.create_user("later")
        ran = await headscale(site.settings, "restore", str(archive), "--force")
        assert (ran.code, "in use by another headscale process" in ran.err) == (1, True)
        await site.server.stop()
        for path in site.settings.data.iterdir():
            path.unlink()
        ran = await headscale(site.settings, "restore", str(archive))
        assert (ran.code, "is not empty: it has" in ran.err) == (1, True)
        assert len(site.rows("SELECT * FROM users")) == 3
        ran = await headscale(site.settings, "restore", str(archive), "--force")
        assert ran.code == 0, ran.err
        assert len(site.rows("SELECT * FROM users")) == 2
        [kept] = site.settings.data.glob("before-restore-*")
        assert f"What was there before is in {kept}" in ran.out
        ran = await headscale(
            site.settings,
            "database",
            "copy",
            str(kept / "db.sqlite"),
            str(tmp_path / "was.sqlite"),
            "-o",
            "json",
        )
        assert json.loads(ran.out)["rows"]["users"] == 3


async def test_what_cannot_be_backed_up_is_said_without_the_password(sites: Sites, tmp_path: Path) -> None:
    """Nothing in it yet, another version's, away."""
    site = sites.on_postgres()
    ran = await headscale(site.settings, "backup", str(tmp_path / "new"))
    assert (ran.code, "has this server ever run" in ran.err) == (1, True)
    await site.server.start()
    await site.server.stop()
    with psycopg.connect(site.url) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0007'")
    older = await headscale(site.settings, "backup", str(tmp_path / "new"))
    assert (older.code, "(schema 0007; this is" in older.err) == (1, True)
    away = local_settings(
        "127.0.0.1",
        ephemeral_timeout=EPHEMERAL_TIMEOUT,
        elsewhere={**site.settings.elsewhere, "HEADSCALE_DATABASE_POSTGRES_PORT": "1"},
    )
    try:
        gone = await headscale(away, "backup", str(tmp_path / "new"))
    finally:
        remove_data(away)
    assert (gone.code, "cannot be read" in gone.err) == (1, True)
    for text in (ran.err, older.err, gone.err):
        assert "Traceback" not in text
        assert site.settings.elsewhere["HEADSCALE_DATABASE_POSTGRES_PASS"] not in text
    assert list(tmp_path.iterdir()) == []


async def test_a_go_headscales_database_is_taken_over_into_postgresql(
    sites: Sites,
    dirty: PeerDatabase,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Looked at first, which makes no tables; then all of it, and a second time nothing."""
    theirs = dirty.write_sqlite(tmp_path / "go.sqlite")
    site = sites.on_postgres()
    looked = await headscale(site.settings, "import", str(theirs))
    assert looked.code == 0, looked.err
    assert site.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    done = await headscale(site.settings, "import", str(theirs), "--apply")
    assert done.code == 0, done.err
    assert "rows into postgresql://headscale@127.0.0.1" in done.out
    again = await headscale(site.settings, "import", str(theirs), "--apply")
    assert "nothing was changed" in again.out
    await site.server.start()
    assert len(await site.server.nodes()) == 2
    running = await headscale(site.settings, "import", str(theirs), "--apply")
    assert (running.code, "in use by another headscale process" in running.err) == (1, True)
