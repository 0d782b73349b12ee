"""`headscale import` as operators run it, from SQLite files and a real PostgreSQL; and imported keys at work."""

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from harness.peerdatabase import RELEASES, ZERO_TIME, PeerDatabase, stamp
from harness.servers.inprocess import InProcessServer, config_of
from harness.servers.local import LocalSettings
from harness.servers.postgres import Postgres
from headscale.peer.importing import Wish, import_peer
from headscale.peer.source import read_peer
from headscale.state.credentials import hash_secret
from headscale.state.imported import WAITING_MAX
from tests.integration.commands import headscale
from tests.integration.doors import doors_of
from tests.integration.fakes import Tailnet, registered

SECRET = "5ec2e7" * 10 + "cafe"
OLD_SECRET = "A-_z" * 8
OLD_KEY = "0123456789abcdef" * 3
COST = 10  # the peer's


@pytest.fixture
def dirty(tmp_path: Path) -> PeerDatabase:
    """Users, nodes, keys and a policy, some of them in need of mending."""
    peer = PeerDatabase("0.27", foreign=["_litestream_seq"])
    peer.user("alice")
    peer.user("bob", provider="oidc", provider_identifier="https://idp/1")
    peer.node(1, 1)
    peer.node(2, 2, expiry=ZERO_TIME, given_name="host1")
    peer.node(3, None)
    peer.add("pre_auth_keys", key=OLD_KEY, user_id=1, reusable=True, created_at=stamp())
    peer.add("policies", data='{"acls": []}', created_at=stamp())
    return peer


async def imported(server: InProcessServer, peer: PeerDatabase, folder: Path) -> None:
    """Stop the server, import the database and start it again."""
    await server.stop()
    database = read_peer(str(peer.write_sqlite(folder / "theirs.sqlite")))
    await import_peer(
        database, config_of(server.settings), datetime.now(UTC), Wish(apply=True), told=lambda _: None
    )
    await server.start()


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file of a folder with the hash of what it holds."""
    files = (path for path in folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


async def test_a_dry_run_tells_all_and_changes_nothing(
    settings: LocalSettings, dirty: PeerDatabase, tmp_path: Path
) -> None:
    """Neither in the Go headscale's file, nor beside it, nor here."""
    source = tmp_path / "peer"
    source.mkdir()
    path = dirty.write_sqlite(source / "db.sqlite")
    before, here = fingerprint(source), fingerprint(settings.data)
    ran = await headscale(settings, "import", str(path))
    assert ran.code == 0, ran.err
    assert fingerprint(source) == before
    assert fingerprint(settings.data) == here
    for words in ("Go headscale 0.27", "nodes 3: nobody owns it", "zero time", "Noise key", "with --apply"):
        assert words in ran.out


async def test_an_import_fills_the_server_once(
    settings: LocalSettings, dirty: PeerDatabase, tmp_path: Path
) -> None:
    """The server starts on it with the same ids; a second import says that all is here."""
    path = str(dirty.write_sqlite(tmp_path / "db.sqlite"))
    ran = await headscale(settings, "import", path, "--apply", "-o", "json")
    assert ran.code == 0, ran.err
    document = ran.document
    assert document["applied"] is True
    assert document["tables"]["nodes"] == {"rows": 3, "imported": 2, "alreadyThere": 0, "leftOut": 1}
    left_out = [note["row"] for note in document["notes"] if note["what"] == "left out"]
    assert left_out == ["3"]
    again = await headscale(settings, "import", path, "--apply")
    assert (again.code, "nothing was changed" in again.out) == (0, True), again.err
    server = InProcessServer(settings)
    await server.start()
    try:
        assert [(n.id, n.given_name, n.user) for n in await server.nodes()] == [
            *(("1", "host1", "alice"), ("2", "host1-1", "bob")),
        ]
        assert [(u.id, u.name) for u in await server.users()] == [("1", "alice"), ("2", "bob")]
        assert (await server.call("GET", "policy"))["policy"] == '{"acls": []}'
    finally:
        await server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_root_imports_for_the_servers_user(
    settings: LocalSettings, dirty: PeerDatabase, tmp_path: Path
) -> None:
    """All files are the data directory's owner's, so that the server can write them."""
    os.chown(settings.data, 12345, 23456)
    database = read_peer(str(dirty.write_sqlite(tmp_path / "theirs.sqlite")))
    await import_peer(database, config_of(settings), datetime.now(UTC), Wish(apply=True), told=lambda _: None)
    found = {path.name: path.stat().st_uid for path in settings.data.iterdir()}
    assert found == {"db.sqlite": 12345, "db.sqlite.lock": 12345}


async def test_a_running_server_is_left_alone(
    server: InProcessServer, dirty: PeerDatabase, tmp_path: Path
) -> None:
    """With and without --apply the command says that it has to stop first; PostgreSQL may be looked at meanwhile."""
    path = str(dirty.write_sqlite(tmp_path / "db.sqlite"))
    for words in ((), ("--apply",)) if not server.settings.elsewhere else (("--apply",),):
        ran = await headscale(server.settings, "import", path, *words)
        assert ran.code == 1
        assert "in use by another headscale process: stop that one first" in ran.err
    assert await server.nodes() == []


async def test_a_clash_is_named_and_nothing_comes_in(
    server: InProcessServer, tailnet: Tailnet, dirty: PeerDatabase, tmp_path: Path
) -> None:
    """A node of ours has the name; the users and keys of the database stay out with it."""
    await tailnet.join("host1")
    await server.stop()
    path = str(dirty.write_sqlite(tmp_path / "db.sqlite"))
    ran = await headscale(server.settings, "import", path, "--apply")
    assert ran.code == 1
    assert "Clashes\n  nodes 1: its name 'host1' is that of node 1 (host1) here" in ran.out
    assert "nothing was imported: 1 rows clash" in ran.err
    await server.start()
    assert [user.name for user in await server.users()] == ["alice", "bob"]
    assert len(await server.nodes()) == 1


async def test_bad_input_is_a_message(settings: LocalSettings, tmp_path: Path) -> None:
    """No database, one that is ours, a configuration without one; each says what to do."""
    (tmp_path / "text").write_text("hello")
    (tmp_path / "config.yaml").write_text("server_url: http://x\n")
    cases = {
        (): "say which database",
        (str(tmp_path / "missing"),): "there is no file",
        (str(tmp_path / "text"),): "is not a SQLite database",
        ("--from-config", str(tmp_path / "config.yaml")): "say which database",
        ("postgres://me:geheim@127.0.0.1:1/x",): "cannot be read",
    }
    for words, message in cases.items():
        ran = await headscale(settings, "import", *words)
        assert ran.code == 1, words
        assert message in ran.err
        assert "Traceback" not in ran.err
        assert "geheim" not in ran.err


async def test_a_server_on_the_peers_own_file_says_what_to_do(
    settings: LocalSettings, dirty: PeerDatabase
) -> None:
    """With the Go headscale's configuration ours finds its database: it leaves it as it is, and so does an import."""
    dirty.write_sqlite(settings.database)
    before = fingerprint(settings.data)["db.sqlite"]
    ran = await headscale(settings, "serve")
    assert (ran.code, "take it over from there with `headscale import`" in ran.err) == (1, True), ran.err
    ran = await headscale(settings, "import", str(settings.database), "--apply")
    assert (ran.code, "move it elsewhere first" in ran.err) == (1, True), ran.err
    assert fingerprint(settings.data)["db.sqlite"] == before


async def test_the_peers_configuration_names_everything(
    settings: LocalSettings, dirty: PeerDatabase, tmp_path: Path
) -> None:
    """Its database is read, its key is compared with ours, and its policy file is pointed out."""
    folder = tmp_path / "etc"
    folder.mkdir()
    dirty.write_sqlite(folder / "db.sqlite")
    (folder / "noise.key").write_text("privkey:" + "42" * 32)
    (folder / "acl.hujson").write_text("{}")
    (folder / "config.yaml").write_text(
        "database: {type: sqlite, sqlite: {path: db.sqlite}}\nnoise: {private_key_path: noise.key}\n"
        "policy: {path: acl.hujson}\n"
    )
    words = ("import", "--from-config", str(folder / "config.yaml"))
    ran = await headscale(settings, *words)
    assert ran.code == 0, ran.err
    ours = settings.data / "noise_private.key"
    assert f"install -m 600 {folder / 'noise.key'} {ours}" in ran.out
    assert "set policy.path to that, or keep it in the database" in ran.out
    ours.write_text("privkey:" + "42" * 32)
    assert "Noise key" not in (await headscale(settings, *words)).out
    ours.write_text("privkey:" + "48" * 32)
    assert "is another one than the Go headscale's" in (await headscale(settings, *words)).out


@pytest.mark.parametrize("release", RELEASES)
async def test_postgresql_says_the_same_as_sqlite(
    postgres: Postgres, settings: LocalSettings, tmp_path: Path, release: str
) -> None:
    """Row for row, from every release; and it is not written to."""
    peer = PeerDatabase(release, foreign=["something"])
    peer.user("alice", deleted_at=None)
    peer.node(1, 1, tags="null", expiry=ZERO_TIME)
    peer.node(2, 7, tags='["tag:a"]', last_seen="0044-03-15 12:00:00+00:00 BC")
    key: dict[str, Any] = {"user_id": 1, "reusable": True, "used": False, "created_at": stamp()}
    peer.add("pre_auth_keys", key=OLD_KEY, **key)
    if release >= "0.28":
        peer.add("pre_auth_keys", prefix="0123456789ab", hash=bcrypt.hashpw(b"x", bcrypt.gensalt(4)), **key)
    if release < "0.26":
        peer.add("routes", node_id=1, prefix="10.0.0.0/8", enabled=True, created_at=stamp())
    peer.add("api_keys", prefix="abcdefg", hash=bcrypt.hashpw(b"x", bcrypt.gensalt(4)), created_at=stamp())
    peer.add("policies", data="{}", created_at=stamp())
    for row in peer.rows["nodes"]:
        row["last_seen"] = row["last_seen"].replace("+00:00 BC", "+00 BC")
    url = peer.write_postgres(postgres.create(f"peer{release.replace('.', '_')}"))
    reports = []
    for where in (url, str(peer.write_sqlite(tmp_path / "db.sqlite"))):
        ran = await headscale(settings, "import", where, "-o", "json")
        assert ran.code == 0, ran.err
        reports.append(ran.document)
        assert postgres.password not in ran.out
    assert {**reports[0], "source": ""} == {**reports[1], "source": ""}
    assert reports[0]["tables"]["nodes"]["imported"] == 2
    assert reports[0]["release"] == release


async def test_ten_thousand_nodes_come_in_soon(settings: LocalSettings, tmp_path: Path) -> None:
    """In well under a minute, written and all."""
    peer = PeerDatabase("0.29")
    for user in range(100):
        peer.user(f"user{user}")
    for number in range(1, 10_001):
        peer.node(
            number, 1 + number % 100, ipv4=f"100.{64 + number // 62500}.{number // 250}.{number % 250 + 1}"
        )
    path = str(peer.write_sqlite(tmp_path / "db.sqlite"))
    async with asyncio.timeout(30):
        ran = await headscale(settings, "import", path, "--apply")
    assert ran.code == 0, ran.err
    assert "Imported 10100 rows" in ran.out


# ---- the imported keys at work


@pytest.fixture
async def with_keys(server: InProcessServer, tmp_path: Path) -> InProcessServer:
    """A server whose pre-auth keys (1: bcrypt, 2: plain) and API keys (1: of now, 2: of old) came from the peer's."""
    peer = PeerDatabase("0.29")
    peer.user("alice")
    hashed = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(COST))
    common: dict[str, Any] = {"user_id": 1, "reusable": True, "created_at": stamp()}
    peer.add("pre_auth_keys", prefix="0123456789ab", hash=hashed, **common)
    peer.add("pre_auth_keys", key=OLD_KEY, **common)
    peer.add("api_keys", prefix="0123456789ab", hash=hashed, created_at=stamp())
    old = bcrypt.hashpw(OLD_SECRET.encode(), bcrypt.gensalt(COST))
    peer.add("api_keys", prefix="aB3_-xy", hash=old, created_at=stamp())
    await imported(server, peer, tmp_path)
    return server


async def test_imported_pre_auth_keys_let_nodes_in(with_keys: InProcessServer) -> None:
    """Of both forms; the first use of a bcrypt hash makes it ours, a wrong secret does not."""
    async with AsyncExitStack() as stack:
        tailnet = Tailnet(with_keys, stack)
        key = f"hskey-auth-0123456789ab-{SECRET}"
        wrong = await (await tailnet.client("wrong")).register(auth_key=key[:-1] + "0")
        assert "invalid pre-auth key" in wrong["Error"]
        keys = with_keys.app.writer.snapshot.pre_auth_keys
        assert keys[1].secret_hash.startswith(b"$2b$")
        await registered(await tailnet.client("first"), key)
        assert with_keys.app.writer.snapshot.pre_auth_keys[1].secret_hash == hash_secret(SECRET)
        await registered(await tailnet.client("second"), key)
        await registered(await tailnet.client("old"), OLD_KEY)
        assert len(await with_keys.nodes()) == 3
    await with_keys.stop()
    await with_keys.start()
    assert with_keys.app.writer.snapshot.pre_auth_keys[1].secret_hash == hash_secret(SECRET)


async def test_imported_api_keys_open_the_door(with_keys: InProcessServer) -> None:
    """Of both forms, the second time without bcrypt; and they are shown and found by their prefixes."""
    async with doors_of(with_keys) as (socket, main):
        for text in (f"hskey-api-0123456789ab-{SECRET}", f"aB3_-xy.{OLD_SECRET}"):
            assert (await main.with_key(text[:-1] + "_")("GET", "user"))[0] == 401
            for _ in range(2):
                assert (await main.with_key(text)("GET", "user"))[0] == 200
        kept = with_keys.app.writer.snapshot.api_keys
        assert {key.secret_hash for key in kept.values()} == {hash_secret(SECRET), hash_secret(OLD_SECRET)}
        _, listed = await socket("GET", "apikey")
        assert [key["prefix"] for key in listed["apiKeys"]] == ["hskey-api-0123456789ab-***", "aB3_-xy***"]
        assert (await socket("POST", "apikey/expire", {"prefix": "aB3_-xy***"}))[0] == 200
        assert (await main.with_key(f"aB3_-xy.{OLD_SECRET}")("GET", "user"))[0] == 401


@pytest.mark.bar("A1")
async def test_guesses_at_an_imported_key_stall_nobody(
    with_keys: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for a thread, so many at the most; the server answers others meanwhile, and then the right one."""
    go_on = threading.Event()
    real = bcrypt.checkpw

    def slow(password: bytes, hashed: bytes) -> bool:
        go_on.wait(10)
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    right = f"hskey-api-0123456789ab-{SECRET}"
    async with doors_of(with_keys) as (socket, main):
        guesses = [
            asyncio.create_task(main.with_key(f"{right[:-4]}{number:04}")("GET", "user"))
            for number in range(WAITING_MAX + 8)
        ]
        done, waiting = await asyncio.wait(guesses, timeout=2.0)
        assert {task.result()[0] for task in done} == {503}
        assert len(waiting) == WAITING_MAX
        async with asyncio.timeout(2.0):
            assert (await main.with_key("hskey-api-ffffffffffff-" + "0" * 64)("GET", "user"))[0] == 401
            assert (await socket("GET", "user"))[0] == 200
        go_on.set()
        assert {status for status, _ in await asyncio.gather(*waiting)} == {401}
        assert (await main.with_key(right)("GET", "user"))[0] == 200


async def test_a_fleet_with_one_imported_key_is_checked_once(
    with_keys: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred requests at the same moment all come in, for the price of one bcrypt."""
    checks = counted(monkeypatch)
    right = f"hskey-api-0123456789ab-{SECRET}"
    async with doors_of(with_keys) as (_, main):
        answers = await asyncio.gather(*(main.with_key(right)("GET", "user") for _ in range(100)))
    assert {status for status, _ in answers} == {200}
    assert checks() == 1


def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often bcrypt ran."""
    calls: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        calls.append(hashed)
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return lambda: len(calls)
