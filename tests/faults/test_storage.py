"""A server whose database goes away, or whose disk is full: streams stay, nobody is lied to, and it recovers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

from harness.clients.fake import MapStream
from harness.errors import HarnessError, Missing
from harness.servers.base import AdminRefused
from harness.servers.faults import small_disk
from harness.servers.postgres import Postgres
from harness.strict import unavailable
from tests.bar import Row
from tests.faults.conftest import Stands
from tests.faults.stand import Stand

STREAMS = 10
ANSWERED_S = 10.0
NORMAL_S = 5.0
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headscale'"

Happens = Callable[[Postgres, float], Awaitable[None]]


async def fed(stand: Stand, streams: list[MapStream], name: str) -> int:
    """How many of the streams hear of a newcomer of this name."""

    async def hears(stream: MapStream) -> None:
        await stream.until(lambda netmap: netmap.peer_named(name) is not None, within=NORMAL_S)

    heard = await asyncio.gather(*map(hears, streams), return_exceptions=True)
    return sum(each is None for each in heard)


async def attempts(stand: Stand, key: str, until: asyncio.Event) -> list[tuple[float, bool, str]]:
    """Registrations, three a second, until the event: how long each took, whether it was let in, and its node key."""
    made: list[asyncio.Task[tuple[float, bool, str]]] = []

    async def one(number: int) -> tuple[float, bool, str]:
        client = await stand.client(f"meanwhile{number}")
        began = time.monotonic()
        try:
            answer = await client.register(auth_key=key, within=25)
        except Exception:
            return time.monotonic() - began, False, client.node_key
        return time.monotonic() - began, bool(answer["MachineAuthorized"]), client.node_key

    while not until.is_set():
        made.append(asyncio.create_task(one(len(made))))
        await asyncio.sleep(0.33)
    return list(await asyncio.gather(*made))


async def restarted(own: Postgres, _: float) -> None:
    await own.stop()
    await own.start()


async def killed(own: Postgres, _: float) -> None:
    await own.kill()
    await asyncio.sleep(1)
    await own.start()


async def terminated(own: Postgres, _: float) -> None:
    """Its sessions are ended by an administrator, again and again."""
    async with await psycopg.AsyncConnection.connect(own.url(), autocommit=True) as connection:
        for _ in range(10):
            await connection.execute(END)
            await asyncio.sleep(0.2)


async def paused(own: Postgres, away_s: float) -> None:
    own.pause()
    await asyncio.sleep(away_s)
    own.resume()


async def away(own: Postgres, away_s: float) -> None:
    await own.stop()
    await asyncio.sleep(away_s * 20)
    await own.start()


ALWAYS: list[Happens] = [restarted, killed, terminated, paused]


@pytest.mark.bar("F4")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("happens", [*ALWAYS, away], ids=lambda happens: happens.__name__)
async def test_a_server_outlives_its_database(
    stands: Stands, own: Postgres, row: Row, happens: Happens
) -> None:
    """PostgreSQL is restarted, killed, hangs, or its sessions are ended."""
    if happens is away and row.level == "commit":
        pytest.skip("ten minutes without a database: at the nightly level")
    rounds = row.count(1, 20) if happens is not away else 1
    slowest = back_slowest = 0.0
    let_in = refused = 0
    async with stands(postgres=own) as stand:
        key = await stand.key()
        clients = [await stand.join(f"stream{number}", key) for number in range(STREAMS)]
        streams = [await client.stream_map() for client in clients]
        for turn in range(rounds):
            over = asyncio.Event()
            trying = asyncio.create_task(attempts(stand, key, over))
            await asyncio.sleep(0.4)
            await happens(own, 30.0)
            returned = time.monotonic()
            over.set()
            await stand.join(f"back{turn}", key)
            assert await stand.health() == 200
            back_slowest = max(back_slowest, time.monotonic() - returned)
            tried = await trying
            held = {node.node_key for node in await stand.server.nodes()}
            for took, yes, node_key in tried:
                slowest = max(slowest, took)
                let_in += yes
                refused += not yes
                assert not yes or node_key in held, "a success that was none"
            assert await fed(stand, streams, f"back{turn}") == STREAMS
        row.found(
            what=happens.__name__,
            streams_kept=f"{STREAMS} of {STREAMS}",
            tried=len(tried),
            let_in=let_in,
            refused=refused,
            slowest_answer_s=slowest,
            normal_after_s=back_slowest,
        )
        row.reached("registrations tried", let_in + refused, at_least=2)
        assert slowest <= ANSWERED_S
        assert back_slowest <= NORMAL_S
        assert not stand.complaints()


@pytest.mark.bar("F5")
async def test_a_full_disk_is_survived(stands: Stands, row: Row) -> None:
    """Not a byte is left beside the database: streams stay, changes are refused and say why, and then all goes on."""
    rounds = row.count(1, 10)
    try:
        disks = AsyncExitStack()
        disk = disks.enter_context(small_disk(megabytes=64))
    except Missing as problem:
        unavailable(str(problem))
    async with disks, stands({"database.sqlite.path": str(disk.folder / "db.sqlite")}) as stand:
        key = await stand.key()
        clients = [await stand.join(f"stream{number}", key) for number in range(STREAMS)]
        streams = [await client.stream_map() for client in clients]
        slowest, told = 0.0, set()
        for turn in range(rounds):
            with disk.full():
                for number in range(5):
                    late = await stand.client(f"late{turn}-{number}")
                    began = time.monotonic()
                    answer = await late.register(auth_key=key)
                    slowest = max(slowest, time.monotonic() - began)
                    assert not answer["MachineAuthorized"]
                    told.add(answer["Error"])
                with pytest.raises(AdminRefused) as refusal:
                    await stand.server.create_user("late")
                told.add(str(refusal.value))
            began = time.monotonic()
            await stand.join(f"back{turn}", key)
            row.found(back_after_s=time.monotonic() - began)
            assert await fed(stand, streams, f"back{turn}") == STREAMS
        row.found(rounds=rounds, streams_kept=STREAMS, slowest_answer_s=slowest)
        assert all("full" in text for text in told), told
        assert len(await stand.server.nodes()) == STREAMS + rounds
        assert slowest <= ANSWERED_S


@pytest.mark.bar("F5")
async def test_a_start_on_a_full_disk_ends_soon(stands: Stands, row: Row) -> None:
    """It starts all the same, or says why not within five seconds; with room it starts with all that it had."""
    try:
        disks = AsyncExitStack()
        disk = disks.enter_context(small_disk(megabytes=64))
    except Missing as problem:
        unavailable(str(problem))
    async with disks, stands({"database.sqlite.path": str(disk.folder / "db.sqlite")}) as stand:
        before = await stand.server.create_user("kept")
        await stand.server.stop()
        with disk.full():
            began = time.monotonic()
            outcome: Any = "started"
            try:
                await stand.server.start()
                await stand.server.stop()
            except HarnessError:
                outcome = await stand.server.died()
                assert "full" in stand.server.output.splitlines()[-1]
            row.found(took_s=time.monotonic() - began, ended_with=outcome)
            assert outcome != 0
            assert time.monotonic() - began <= 5.0
        await stand.server.start()
        assert before in {user.id for user in await stand.server.users()}
