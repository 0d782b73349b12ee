"""PostgreSQL under a running server: what is lost with it, and what is there again when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from sqlalchemy import Connection, text

from harness.servers.base import AdminRefused
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.servers.postgres import Postgres
from headscale.db.postgres import LOCK, with_null, without_null
from headscale.errors import InDoubt, Unavailable
from headscale.records import Insert, User
from tests.builders import NOW
from tests.integration.databases import OnServer, Wire, on_server
from tests.integration.fakes import EPHEMERAL_TIMEOUT, GRACE, Tailnet, registered, until

ALICE = User(id=1, name="alice", created_at=NOW)
BOB = User(id=2, name="bob", created_at=NOW)
# What is promised: an answer to whoever wants something meanwhile, and normal life after the return.
ANSWERED_S = 10.0
NORMAL_S = 5.0


@pytest.fixture
async def tailnet(own: Postgres) -> AsyncIterator[Tailnet]:
    """A server with its records there, and users alice and bob."""
    own.create("hs")
    settings = local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT, elsewhere=own.variables("hs"))
    server = InProcessServer(settings, grace=GRACE)
    await server.start()
    async with AsyncExitStack() as stack:
        for name in ("alice", "bob"):
            await server.create_user(name)
        yield Tailnet(server, stack)
    await server.close()


async def timed(work: Awaitable[Any]) -> tuple[float, Any]:
    """How long it took, and its result or exception."""
    began = time.monotonic()
    [result] = await asyncio.gather(work, return_exceptions=True)
    return time.monotonic() - began, result


async def health(tailnet: Tailnet) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{tailnet.server.url}/health") as answer:
        return answer.status


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110  (what is asked is at the other end of a socket)
            await asyncio.sleep(0.1)


async def stopped(own: Postgres) -> None:
    await own.stop()


async def killed(own: Postgres) -> None:
    await own.kill()


async def paused(own: Postgres) -> None:
    own.pause()


async def resumed(own: Postgres) -> None:
    own.resume()


async def started(own: Postgres) -> None:
    await own.start()


Act = Callable[[Postgres], Awaitable[None]]


@pytest.mark.bar("F4")
@pytest.mark.parametrize(
    ("lose", "give_back"),
    [(stopped, started), (killed, started), (paused, resumed)],
    ids=["stop", "kill", "pause"],
)
async def test_a_server_outlives_its_database(
    tailnet: Tailnet, own: Postgres, lose: Act, give_back: Act
) -> None:
    """Streams stay, whoever wants a change is told in time that there is none, and all is well soon after."""
    first, second = await tailnet.join("first"), await tailnet.join("second")
    stream = await first.stream()
    late = await tailnet.client("late")
    key = await tailnet.key()
    await lose(own)

    wanted = [late.register(auth_key=key), *(tailnet.server.create_user(f"user{n}") for n in range(5))]
    for took, answer in await asyncio.gather(*map(timed, wanted), timed(_status_later(tailnet))):
        assert took < ANSWERED_S
        if isinstance(answer, AdminRefused):
            assert "503" in str(answer)
            assert "the database does" in str(answer)
        else:
            assert answer == 500 or isinstance(answer, Exception) or answer["Error"]
    assert set(tailnet.server.app.writer.snapshot.users) == {1, 2}

    await give_back(own)
    back = time.monotonic()
    await eventually(lambda: _is_healthy(tailnet), NORMAL_S)
    await registered(late, key)
    assert time.monotonic() - back < NORMAL_S
    number = tailnet.node_of(late).id
    await until(stream, lambda netmap: {number, second.id} <= set(netmap.peers))
    await tailnet.server.stop()
    await tailnet.server.start()
    assert {node.hostname for node in tailnet.server.app.writer.snapshot.nodes.values()} == {
        "first",
        "second",
        "late",
    }


async def _status_later(tailnet: Tailnet) -> int:
    return await health(tailnet)


async def _is_healthy(tailnet: Tailnet) -> bool:
    return await health(tailnet) == 200


async def test_a_restart_between_two_changes_is_not_noticed(tailnet: Tailnet, own: Postgres) -> None:
    """The next change finds the connection gone and makes another one."""
    await own.stop()
    await own.start()
    took, user = await timed(tailnet.server.create_user("carol"))
    assert (user, took < NORMAL_S) == ("3", True)


async def test_a_session_that_an_administrator_ends_is_made_again(tailnet: Tailnet, own: Postgres) -> None:
    _end_sessions(OnServer(replace(on_server(own).settings, name="hs")))
    assert await tailnet.server.create_user("carol") == "3"


@pytest.mark.bar("F4")
async def test_a_session_that_ends_in_the_middle_of_a_change_is_made_again(own: Postgres) -> None:
    """The change is made from its beginning, once."""
    place = on_server(own)
    database = await place.open()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(connection: Connection) -> None:
        connection.execute(text("INSERT INTO policies (id, data, created_at) VALUES (1, '', now())"))
        loop.call_soon(begun.set)
        connection.execute(text("SELECT pg_sleep(0.5)"))

    work = asyncio.create_task(database.change(slow, rows=1))
    await begun.wait()
    await asyncio.to_thread(_end_sessions, place)
    await work
    assert len(await database.policies()) == 1
    await database.close()


def _end_sessions(place: OnServer) -> None:
    with place.engine().begin() as raw:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headscale'"
        assert raw.execute(text(ended)).scalar() is True


@pytest.mark.bar("F4")
async def test_who_leaves_meanwhile_is_offline_afterwards(tailnet: Tailnet, own: Postgres) -> None:
    """That a node went away is told when it can be written down, and not forgotten."""
    first, second = await tailnet.join("first"), await tailnet.join("second")
    stream = await first.stream()
    await second.stream()
    await until(stream, lambda netmap: netmap.peers[second.id].get("Online") is True)
    failed = tailnet.server.app.writer.counts.failed_commits
    await own.stop()
    await second.client.close()
    await tailnet.until(lambda: tailnet.server.app.writer.counts.failed_commits > failed)
    await own.start()
    await until(stream, lambda netmap: netmap.peers[second.id].get("Online") is False)


@pytest.fixture
async def wire(own: Postgres) -> AsyncIterator[Wire]:
    async with Wire(own) as made:
        yield made


def through(wire: Wire, place: OnServer) -> OnServer:
    return OnServer(replace(place.settings, port=wire.port))


async def names_in(place: OnServer) -> list[str]:
    """What is in the table, whatever the server makes of it."""

    def looked() -> list[str]:
        with place.engine().connect() as connection:
            return [str(name) for name in connection.scalars(text("SELECT name FROM users ORDER BY id"))]

    return await asyncio.to_thread(looked)


@pytest.mark.parametrize("loses", ["question", "answer"])
async def test_a_commit_whose_connection_breaks_is_made_once(own: Postgres, wire: Wire, loses: str) -> None:
    """Whether the database got the commit or not: it is looked up on a new connection, and made if it was not."""
    place = on_server(own)
    database = await through(wire, place).open()
    await database.commit([Insert(ALICE)])
    wire.loses = loses
    await database.commit([Insert(BOB)])
    assert wire.lost.is_set()
    await database.commit([Insert(replace(BOB, id=3, name="carol"))])
    await database.close()
    assert await names_in(place) == ["alice", "bob", "carol"]


@pytest.mark.bar("F4")
@pytest.mark.parametrize(("loses", "was_made"), [("question", False), ("answer", True)])
async def test_a_commit_in_doubt_is_settled_when_the_database_is_back(
    own: Postgres, wire: Wire, loses: str, was_made: bool
) -> None:
    """Nothing else is written before that."""
    place = on_server(own)
    database = await through(wire, place).open()
    await database.commit([Insert(ALICE)])
    wire.loses, wire.is_open = loses, False
    with pytest.raises(InDoubt):
        await database.commit([Insert(BOB)])
    with pytest.raises(InDoubt):
        await database.commit([Insert(replace(BOB, id=3, name="carol"))])
    with pytest.raises(Unavailable):
        await database.settle()
    wire.is_open = True
    assert await database.settle() is was_made
    assert await names_in(place) == (["alice", "bob"] if was_made else ["alice"])
    await database.commit([Insert(replace(BOB, id=3, name="carol"))])
    await database.close()


async def test_a_session_that_the_database_still_believes_in_is_ended(own: Postgres, wire: Wire) -> None:
    """A way that broke without a word: the old session holds the lock, and perhaps half a commit."""
    place = on_server(own)
    database = await through(wire, place).open()
    wire.loses, wire.is_cut_at_both_ends = "question", False
    took, problem = await timed(database.commit([Insert(ALICE)]))
    assert (problem, took < NORMAL_S) == (None, True)
    assert await names_in(place) == ["alice"]
    await database.close()


async def test_a_database_that_was_put_back_is_noticed(own: Postgres) -> None:
    """Somebody restored an older state under a running server: what it remembers is not what is there."""
    place = on_server(own)
    database = await place.open()
    await database.commit([Insert(ALICE)])
    with place.engine().begin() as raw:
        raw.execute(text("UPDATE counters SET value = 5 WHERE name = 'last_commit'"))
    with pytest.raises(Unavailable, match="another headscale process has changed the database"):
        await database.commit([Insert(BOB)])
    await database.close()
    assert await names_in(place) == ["alice"]


@pytest.mark.bar("F4")
async def test_memory_follows_a_commit_in_doubt(own: Postgres, wire: Wire) -> None:
    """Whoever asked is told that it is not known; then the server shows what the database has, unasked."""
    own.create("hs")
    variables = {**own.variables("hs"), "HEADSCALE_DATABASE_POSTGRES_PORT": str(wire.port)}
    server = InProcessServer(
        local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT, elsewhere=variables), grace=GRACE
    )
    await server.start()
    await server.create_user("alice")
    wire.loses, wire.is_open = "answer", False
    with pytest.raises(AdminRefused, match="whether it was made shows when the database is back"):
        await server.create_user("bob")
    assert len(server.app.writer.snapshot.users) == 1
    with pytest.raises(AdminRefused, match="503"):
        await server.create_user("carol")
    wire.is_open = True
    await eventually(lambda: _has(server, "bob"), NORMAL_S)
    with pytest.raises(AdminRefused, match="409"):
        await server.create_user("bob")
    await server.create_user("carol")
    await server.close()


async def _has(server: InProcessServer, name: str) -> bool:
    return any(user.name == name for user in server.app.writer.snapshot.users.values())


async def test_who_lost_the_database_to_another_writes_no_more(own: Postgres, wire: Wire) -> None:
    """What it has in memory is old: it says so until it is restarted, even when the other has gone."""
    place = on_server(own)
    first = await through(wire, place).open()
    wire.is_open, wire.loses = False, "question"
    with pytest.raises(InDoubt):
        await first.commit([Insert(ALICE)])
    second = await place.open()
    await second.commit([Insert(BOB)])
    wire.is_open = True
    with pytest.raises(Unavailable, match="does not answer"):
        await first.ping()
    await second.close()
    with pytest.raises(Unavailable, match="does not answer"):
        await first.ping()
    with pytest.raises(Unavailable, match="another headscale process has changed the database"):
        await first.settle()
    await first.close()
    assert await names_in(place) == ["bob"]


async def test_without_its_lock_nothing_is_written(own: Postgres) -> None:
    """A second server gets in when the first one's session was ended, and the first may not write behind it."""
    place = on_server(own)
    first = await place.open()
    with place.engine().begin() as raw:
        held = f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK % 2**32}"
        assert raw.execute(text(held)).scalar() is True
    second = await place.open()
    with pytest.raises(Unavailable):
        await first.commit([Insert(ALICE)])
    await second.commit([Insert(BOB)])
    await first.close()
    await second.close()
    assert await names_in(place) == ["bob"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "not-this-one"}, "password authentication failed"),
        ({"name": "nowhere"}, 'database "nowhere" does not exist'),
        ({"port": 1}, "Connect"),
        ({"host": "/nowhere"}, "No such file"),
        ({"ssl": "require"}, "SSL"),
    ],
)
async def test_what_keeps_a_server_from_its_database_is_said(
    postgres: Postgres, change: dict[str, Any], said: str
) -> None:
    """With the place, and without the password."""
    settings = replace(on_server(postgres).settings, **change)
    with pytest.raises(Unavailable, match=said) as problem:
        await OnServer(settings).open()
    assert settings.shown in str(problem.value)
    assert settings.password not in str(problem.value)


async def test_a_socket_is_a_host_too(postgres: Postgres) -> None:
    database = await on_server(postgres, over_socket=True).open()
    await database.commit([Insert(ALICE)])
    assert (await database.load(NOW)).users == (ALICE,)
    await database.close()


async def test_the_database_of_a_go_headscale_is_left_alone(postgres: Postgres) -> None:
    place = on_server(postgres)
    with place.engine().begin() as raw:
        raw.execute(text("CREATE TABLE migrations (id text)"))
    with pytest.raises(Unavailable, match="it is the database of a Go headscale"):
        await place.open()


async def test_a_migration_that_fails_leaves_nothing(postgres: Postgres) -> None:
    """All of them are one transaction; here a table of somebody else's is in the way of a late one."""
    place = on_server(postgres)
    with place.engine().begin() as raw:
        raw.execute(text("CREATE TABLE webhooks (id text)"))
    with pytest.raises(Unavailable, match='nothing was changed: relation "webhooks" already exists'):
        await place.open()
    with place.engine().connect() as raw:
        found = raw.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
    assert found == ["webhooks"]


@pytest.mark.parametrize("plain", ["", "a", "a\x00b", "␀", "␀0", "\x00␀\x000␀␀"])
def test_texts_with_null_characters_are_kept(plain: str) -> None:
    """PostgreSQL takes none, SQLite does."""
    assert "\x00" not in without_null(plain)
    assert with_null(without_null(plain)) == plain


@pytest.mark.parametrize(
    ("default", "ours"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")]
)
async def test_a_commit_to_a_server_is_durable_whatever_its_default(
    postgres: Postgres, default: str, ours: str
) -> None:
    """What was acknowledged survives a crash of the database's server; more than that may be wanted."""
    place = on_server(postgres)
    with place.engine().begin() as raw:
        raw.execute(text(f"ALTER DATABASE {place.settings.name} SET synchronous_commit = '{default}'"))
    database = await place.open()
    async with database._link.reading() as connection:
        assert (await connection.execute(text("SHOW synchronous_commit"))).scalar() == ours
    await database.close()
