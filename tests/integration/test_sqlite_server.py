"""A server on its SQLite file, as processes meet it: whose files they are, who has the file, and who waits for whom."""

import asyncio
import os
import re
import signal
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.clients.fake import FakeClient
from harness.servers.base import AdminRefused
from harness.servers.inprocess import InProcessServer
from harness.servers.local import LocalSettings, local_settings
from harness.servers.process import ProcessServer
from headscale.backup.restoring import restore_backup
from headscale.db import database as databases
from headscale.errors import Conflict
from tests.integration.commands import headscale
from tests.integration.fakes import EPHEMERAL_TIMEOUT, Tailnet, registered

# What anybody may know.
PUBLIC = {"derp.crt"}


@pytest.fixture
async def process(settings: LocalSettings) -> AsyncIterator[ProcessServer]:
    made = ProcessServer(settings)
    yield made
    await made.close()


@contextmanager
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Of everything below the folder but what the harness put there, without the kind."""
    ours = {"server.log"}
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in folder.rglob("*")
        if path.name not in ours
    }


async def test_nothing_is_for_others_whatever_the_umask(
    settings: LocalSettings, process: ProcessServer, tmp_path: Path
) -> None:
    """Database, journal, lock, keys and backups are the owner's, the socket the owner's and the group's; a restored
    server's, too."""
    archive = tmp_path / "headscale.tar.gz"
    with no_umask():
        await process.start()
        await process.create_user("me")
        made = await headscale(settings, "preauthkeys", "create", "--user", "1")
        async with FakeClient(process.url) as client:
            await registered(client, made.out.strip())
            running = modes(settings.data)
            ran = await headscale(settings, "backup", str(archive))
        await process.stop()
        assert ran.code == 0, ran.err
        files = {"db.sqlite", "db.sqlite-wal", "db.sqlite-shm", "db.sqlite.lock"}
        assert files | {"noise_private.key", "derp_server_private.key", "derp.key", "headscale.sock"} <= set(
            running
        )
        assert running.pop("headscale.sock") == 0o770
        assert {name: oct(mode) for name, mode in running.items() if mode != 0o600} == {"derp.crt": "0o644"}
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        with pytest.raises(Conflict):
            restore_backup_again(settings, archive, replacing=False)
        restore_backup_again(settings, archive, replacing=True)
    restored = modes(settings.data)
    [kept] = settings.data.glob("before-restore-*")
    assert restored.pop(kept.name) == 0o700
    assert {Path(name).name for name, mode in restored.items() if mode & 0o077} <= PUBLIC


def restore_backup_again(settings: LocalSettings, archive: Path, *, replacing: bool) -> None:
    """As `headscale restore` does."""
    from harness.servers.inprocess import config_of

    restore_backup(config_of(settings), archive, datetime.now(UTC), replacing=replacing)


async def test_a_killed_server_leaves_the_file_to_the_next(
    settings: LocalSettings, process: ProcessServer
) -> None:
    """While it runs, even stopped, a second one is refused; killed, it holds nothing, and its last commit is there."""
    await process.start()
    await process.create_user("me")
    process.signal(signal.SIGSTOP)
    try:
        second = await headscale(settings, "serve")
    finally:
        process.signal(signal.SIGCONT)
    assert second.code == 1
    assert re.search(
        rf"{settings.database} is in use by another headscale process: stop that one first", second.err
    )
    assert "Traceback" not in second.err
    await process.kill()
    await process.start()
    assert [user.name for user in await process.users()] == ["me"]


@contextmanager
def somebody_writes(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program has the file's write lock, as sqlite3 on a terminal may."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@pytest.mark.usefixtures("in_a_file")
async def test_a_change_waits_while_another_program_writes(tailnet: Tailnet) -> None:
    """It is made as soon as the other is done, and nobody sees an error."""
    with somebody_writes(tailnet.server.settings.database) as other:
        creating = asyncio.create_task(tailnet.server.create_user("carol"))
        async with asyncio.timeout(0.5):
            await asyncio.wait([creating], timeout=0.2)
            assert not creating.done()
            assert len(await tailnet.server.nodes()) == 0
        other.execute("ROLLBACK")
        async with asyncio.timeout(5):
            await creating
    assert [user.name for user in await tailnet.server.users()] == ["alice", "bob", "carol"]


async def test_another_program_that_keeps_the_file_costs_a_change_and_not_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past the limit the change is refused in words, nothing of it is there, and the next one works."""
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_MS", 150)
    server = InProcessServer(local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT))
    await server.start()
    try:
        with somebody_writes(server.settings.database):
            with pytest.raises(
                AdminRefused, match="503 another program keeps the database to itself; nothing"
            ):
                await server.create_user("carol")
        await server.create_user("dora")
        assert [user.name for user in await server.users()] == ["dora"]
    finally:
        await server.close()
