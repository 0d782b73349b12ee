"""`headscale backup` and `headscale restore`: everything that a server is, in one file and back again."""

import asyncio
import gzip
import io
import json
import os
import re
import sqlite3
import stat
import tarfile
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.servers.inprocess import InProcessServer, config_of
from harness.servers.local import LocalSettings, local_settings, remove_data
from headscale.backup.restoring import restore_backup
from headscale.errors import HeadscaleError
from tests.integration.commands import Ran, headscale
from tests.integration.fakes import Join, Tailnet, registered, until

pytestmark = pytest.mark.usefixtures("in_a_file")  # PostgreSQL: test_postgres_backup

DATABASE = "db.sqlite"


@pytest.fixture
def elsewhere(settings: LocalSettings) -> LocalSettings:
    """Another machine, so far without data."""
    return settings


def members(archive: Path) -> dict[str, bytes]:
    """The files in an archive, by name."""
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def packed(files: dict[str, bytes], archive: Path) -> Path:
    """An archive of these files."""
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


async def saved(server: InProcessServer, archive: Path) -> Ran:
    """Back the server up, and see that it worked."""
    ran = await headscale(server.settings, "backup", str(archive))
    assert ran.code == 0, ran.err
    return ran


async def test_a_backup_has_everything_and_is_its_owners(
    server: InProcessServer, join: Join, tmp_path: Path
) -> None:
    """Of a running server: database, keys and the relay's certificate; nothing is left beside the archive."""
    await join("fake")
    archive = tmp_path / "headscale.tar.gz"
    ran = await saved(server, archive)
    assert "2 users and 1 nodes" in ran.out
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]
    files = members(archive)
    assert sorted(files) == [
        *("db.sqlite", "derp.crt", "derp.key", "derp_server_private.key"),
        *("manifest.json", "noise_private.key"),
    ]
    for name in ("noise_private.key", "derp.crt", "derp.key", "derp_server_private.key"):
        assert files[name] == (server.folder / name).read_bytes()
    manifest = json.loads(files["manifest.json"])
    assert manifest["rows"]["nodes"] == 1
    assert manifest["files"][0]["role"] == "database"


async def test_a_backup_under_load_is_one_moment(
    server: InProcessServer, tailnet: Tailnet, elsewhere: LocalSettings, tmp_path: Path
) -> None:
    """While users and keys are written as fast as it goes: no number is missing, nor what was there when it began."""
    ended = asyncio.Event()

    written: list[str] = []

    async def write() -> None:
        while not ended.is_set():
            user = await server.create_user(f"user{len(written)}")
            await tailnet.key(user)
            written.append(user)

    archive = tmp_path / "headscale.tar.gz"
    writing = asyncio.create_task(write())
    try:
        await tailnet.until(lambda: len(written) > 10)
        before = len(written)
        await saved(server, archive)
        after = len(written)
    finally:
        ended.set()
        await writing
    assert after - before > 10
    ran = await headscale(elsewhere, "restore", str(archive))
    assert ran.code == 0, ran.err
    with closing(sqlite3.connect(elsewhere.database)) as connection:
        users = [row[0] for row in connection.execute("SELECT id FROM users ORDER BY id")]
        keys = [row[0] for row in connection.execute("SELECT user_id FROM pre_auth_keys ORDER BY id")]
        (last,) = connection.execute("SELECT value FROM counters WHERE name = 'user'").fetchone()
    assert users == list(range(1, last + 1))
    assert keys in (users[2:], users[2:-1])
    assert before <= len(keys) <= after + 1


async def test_a_restored_server_goes_on_as_itself(
    server: InProcessServer, tailnet: Tailnet, join: Join, tmp_path: Path
) -> None:
    """All its data is lost; from the backup, clients that were in go on with the keys that they have."""
    first, second = await join("first"), await join("second")
    archive = tmp_path / "headscale.tar.gz"
    await saved(server, archive)
    await server.stop()
    for path in server.folder.iterdir():
        path.unlink()
    ran = await headscale(server.settings, "restore", str(archive))
    assert ran.code == 0, ran.err
    assert "2 users and 2 nodes" in ran.out
    for path in server.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    await server.start()
    for client in (first, second):
        await client.client.close()
    stream = await first.stream()
    await second.stream()
    await until(stream, lambda netmap: netmap.peers[second.id]["Online"] is True)
    answer = await registered(first.client)
    assert answer["AuthURL"] == ""


async def test_what_is_there_is_replaced_only_by_force_and_kept(
    server: InProcessServer, tailnet: Tailnet, join: Join, tmp_path: Path
) -> None:
    """Without --force nothing changes; with it the last state is in a folder, commits of its journal included."""
    archive = tmp_path / "headscale.tar.gz"
    await saved(server, archive)
    await join("later")
    ran = await headscale(server.settings, "restore", str(archive), "--force")
    assert (ran.code, "in use by another headscale process" in ran.err) == (1, True)
    await server.stop()
    ran = await headscale(server.settings, "restore", str(archive))
    assert (ran.code, "add --force" in ran.err) == (1, True)
    with closing(sqlite3.connect(server.folder / DATABASE)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("UPDATE users SET name = 'in-the-journal' WHERE id = 1")
        connection.commit()
        ran = await headscale(server.settings, "restore", str(archive), "--force")
    assert ran.code == 0, ran.err
    (kept,) = server.folder.glob("before-restore-*")
    assert f"What was there before is in {kept}" in ran.out
    with closing(sqlite3.connect(kept / DATABASE)) as connection:
        assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (1,)
        assert connection.execute("SELECT name FROM users WHERE id = 1").fetchone() == ("in-the-journal",)
    assert (kept / "noise_private.key").read_bytes() == (server.folder / "noise_private.key").read_bytes()
    await server.start()
    assert await server.nodes() == []
    assert [user.name for user in await server.users()] == ["alice", "bob"]


def _flipped(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    content = bytearray(files[name])
    content[len(content) // 2] ^= 1
    return {**files, name: bytes(content)}


async def test_a_damaged_archive_is_refused_by_name(
    server: InProcessServer, join: Join, elsewhere: LocalSettings, tmp_path: Path
) -> None:
    """A flipped bit, a missing or an added file, a cut end, another database, another format; nothing is restored."""
    await join("fake")
    archive = tmp_path / "headscale.tar.gz"
    await saved(server, archive)
    files, whole = members(archive), archive.read_bytes()
    manifest = json.loads(files["manifest.json"])

    def with_manifest(**changes: object) -> dict[str, bytes]:
        return {**files, "manifest.json": json.dumps({**manifest, **changes}).encode()}

    without = {name: content for name, content in files.items() if name != "derp.key"}
    cases = {
        "flipped": (_flipped(files, DATABASE), "db.sqlite is not what was saved"),
        "key": (_flipped(files, "noise_private.key"), "noise_private.key is not what was saved"),
        "missing": (without, "derp.key is missing"),
        "added": ({**files, "../evil": b"x"}, "'../evil', which its manifest does not name"),
        "longer": ({**files, "derp.key": files["derp.key"] + b"x"}, "derp.key is not what was saved"),
        "late": (dict(reversed(files.items())), "its first file is not manifest.json"),
        "rows": (with_manifest(rows={**manifest["rows"], "nodes": 7}), "not the database that the manifest"),
        "newer": (with_manifest(format=2), "format 2, and this version reads 1"),
        "names": (with_manifest(files=[{**manifest["files"][0], "name": "../x"}]), "cannot be in it"),
    }
    for name, (content, message) in cases.items():
        refused(elsewhere, packed(content, tmp_path / name), message)
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bit").write_bytes(_flipped({"": whole}, "")[""])
    (tmp_path / "text").write_text("hello")
    (tmp_path / "gzip").write_bytes(gzip.compress(b"hello"))
    for name in ("cut", "bit", "text", "gzip"):
        refused(elsewhere, tmp_path / name, name)
    refused(elsewhere, tmp_path / "none", "cannot be read: No such file")
    ran = await headscale(elsewhere, "restore", str(tmp_path / "flipped"))
    assert (ran.code, "db.sqlite is not what was saved" in ran.err, ran.out) == (1, True, "")


def refused(settings: LocalSettings, archive: Path, message: str) -> None:
    """It is not restored, the message says why, and there is nothing new but the lock."""
    with pytest.raises(HeadscaleError, match=re.escape(message)):
        restore_backup(config_of(settings), archive, datetime.now(UTC))
    assert {path.name for path in settings.data.iterdir()} <= {f"{DATABASE}.lock"}


async def test_an_archive_can_be_checked_alone(
    server: InProcessServer, elsewhere: LocalSettings, tailnet: Tailnet, tmp_path: Path
) -> None:
    """Beside a running server, and in JSON for scripts."""
    archive = tmp_path / "headscale.tar.gz"
    await saved(server, archive)
    ran = await headscale(server.settings, "restore", "--check", str(archive), "-o", "json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["rows"]["users"] == 2


async def test_backups_that_cannot_be_made(
    server: InProcessServer, tailnet: Tailnet, elsewhere: LocalSettings, tmp_path: Path
) -> None:
    """No server ever ran here, a file is there, no folder, a damaged database: a message, and no file."""
    taken = tmp_path / "taken"
    taken.write_text("mine")
    ran = await headscale(server.settings, "backup", str(taken))
    assert (ran.code, "add --force" in ran.err, taken.read_text()) == (1, True, "mine")
    ran = await headscale(server.settings, "backup", str(taken), "--force", "-o", "json")
    assert (ran.code, json.loads(ran.out)["rows"]["users"]) == (0, 2)
    ran = await headscale(server.settings, "backup", str(tmp_path / "no" / "file"))
    assert (ran.code, "there is no folder" in ran.err) == (1, True)
    ran = await headscale(elsewhere, "backup", str(tmp_path / "new"))
    assert (ran.code, "has this server ever run" in ran.err) == (1, True)
    await server.stop()
    database = server.folder / DATABASE
    with database.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(os.urandom(3 * 4096))
    ran = await headscale(server.settings, "backup", str(tmp_path / "new"))
    assert ran.code == 1
    assert "database" in ran.err
    assert "Traceback" not in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_root_restores_for_the_servers_user(
    server: InProcessServer, elsewhere: LocalSettings, tmp_path: Path
) -> None:
    """All files are the data directory's owner's, so that the server can write them."""
    archive = tmp_path / "headscale.tar.gz"
    await saved(server, archive)
    os.chown(elsewhere.data, 12345, 23456)
    restore_backup(config_of(elsewhere), archive, datetime.now(UTC))
    assert {(path.stat().st_uid, path.stat().st_gid) for path in elsewhere.data.iterdir()} == {(12345, 23456)}


async def test_a_policy_file_goes_along(tmp_path: Path) -> None:
    """In file mode it is saved, and put back where the configuration has it; the configuration is only saved."""
    async with AsyncExitStack() as stack:
        settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5))
        stack.callback(remove_data, settings)
        config = tmp_path / "config.yaml"
        (tmp_path / "acl.hujson").write_text("{} // mine")
        config.write_text("policy: {mode: file, path: acl.hujson}\n")
        server = InProcessServer(settings)
        await server.start()
        await server.stop()
        archive = tmp_path / "headscale.tar.gz"
        ran = await headscale(settings, "-c", str(config), "backup", str(archive))
        assert ran.code == 0, ran.err
        (tmp_path / "acl.hujson").write_text("{}")
        ran = await headscale(settings, "-c", str(config), "restore", str(archive), "--force")
        assert ran.code == 0, ran.err
        assert (tmp_path / "acl.hujson").read_text() == "{} // mine"
        assert members(archive)["config.yaml"] == config.read_bytes()
        ran = await headscale(settings, "restore", str(archive), "--force")
        assert "has no place for it: policy.hujson" in ran.out
