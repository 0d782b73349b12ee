"""Those who hold a connection and say nothing, or next to nothing: they are cut in time, and cost little meanwhile.

All of them wait at the same time, on one server and beside honest clients; each kind is weighed when it comes.
"""

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import pytest

from harness.clients.session import Session
from tests.bar import Row, side_by_side
from tests.faults.canary import canary
from tests.faults.conftest import Stands
from tests.faults.hostile import (
    SETTINGS,
    WINDOW,
    Raw,
    dialled,
    frame,
    preface,
    shaken,
    silent,
)
from tests.faults.stand import Stand, Vitals

HEAD_S, IDLE_S, STALLED_S, CUT_S = 30.0, 60.0, 60.0, 60.0
# So much waits in the kernel when it takes no more; then what the server itself holds back takes so many changes.
FULL, MORE = 40 * 1024, 100
WARMS = 200
STREAMS = 100
PEERS = 40


@dataclass
class Guest:
    """One connection, and when it was cut."""

    lived: Callable[[], float]
    is_closed: Callable[[], bool]
    tick: Callable[[], None] = lambda: None
    close: Callable[[], None] = lambda: None


def of_raw(raw: Raw, drip: bytes = b"") -> Guest:
    left = bytearray(drip)

    def tick() -> None:
        if left:
            raw.say(bytes(left[:1]))
            del left[:1]

    def close() -> None:
        if raw.transport is not None:
            raw.transport.abort()

    return Guest(lambda: raw.lived, lambda: raw.closed is not None, tick, close)


async def weighed(stand: Stand, before: Vitals) -> float:
    """MiB more than before, after a moment."""
    await asyncio.sleep(0.5)
    return max(0.0, stand.vitals().memory_mib - before.memory_mib)


async def gone(guests: list[Guest], *, within_s: float) -> float:
    """Wait until all are cut; how long the longest lived. They drip each ten seconds."""
    deadline = max((time.monotonic() + within_s - guest.lived() for guest in guests), default=0.0)
    dripped = time.monotonic()
    while not all(guest.is_closed() for guest in guests) and time.monotonic() < deadline:
        if time.monotonic() - dripped >= 10.0:
            dripped = time.monotonic()
            for guest in guests:
                guest.tick()
        await asyncio.sleep(0.1)
    return max(guest.lived() for guest in guests)


async def a_head_that_does_not_arrive_is_not_waited_for(stand: Stand, row: Row, turn: asyncio.Lock) -> None:
    """Slowloris: nothing, half a TLS handshake, half a request line, half the headers, a byte each ten seconds."""
    wanted = row.count(200, 2_000)
    settings = stand.server.settings
    starts = [
        (settings.port, b"", b""),
        (settings.port, b"GET /hea", b"lth HTTP/1.1\r\n"),
        (settings.port, b"POST /ts2021 HTTP/1.1\r\nHost: c\r\nX-Slow: ", b"a" * 100),
        (settings.relay_port, b"", b""),
        (settings.relay_port, b"\x16\x03\x01\x02\x00\x01\x00\x01", b"\xfc\x03\x03" + bytes(50)),
    ]
    async with canary(stand) as bird:
        async with turn:
            before = stand.vitals()
            opened = [
                (await dialled(port, first), drip)
                for port, first, drip in (starts[n % len(starts)] for n in range(wanted))
            ]
            guests = [of_raw(raw, drip) for raw, drip in opened]
            grown = await weighed(stand, before)
        longest = await gone(guests, within_s=HEAD_S + 10)
        closed = sum(guest.is_closed() for guest in guests)
        for guest in guests:
            guest.close()
    row.found(connections=wanted, closed=closed, longest_s=longest, grown_mib=grown, **bird.figures)
    row.reached("open connections", len(guests), at_least=wanted)
    assert closed == wanted
    assert longest <= HEAD_S
    assert grown <= 100
    bird.check()
    await stand.settled(before)


async def a_session_that_asks_nothing_is_not_kept(stand: Stand, row: Row, turn: asyncio.Lock) -> None:
    """Idle upgrades: the handshake and no HTTP/2, or HTTP/2 and no request."""
    wanted = row.count(500, 5_000)
    async with canary(stand) as bird:
        async with turn:
            await warm(stand)
            before = stand.vitals()
            raws = []
            for start in range(0, wanted, 20):
                kinds = [preface() if number % 2 else b"" for number in range(start, min(start + 20, wanted))]
                raws += [raw for raw, _ in await asyncio.gather(*(silent(stand, first) for first in kinds))]
            alive = sum(raw.closed is None for raw in raws)
            grown = await weighed(stand, before)
        longest = await gone([of_raw(raw) for raw in raws], within_s=IDLE_S + 10)
        closed = sum(raw.closed is not None for raw in raws)
    each = grown * 1024 / wanted
    row.found(connections=wanted, closed=closed, longest_s=longest, kib_each=each, **bird.figures)
    row.reached("open sessions", alive, at_least=wanted)
    assert closed == wanted
    assert longest <= IDLE_S
    assert each <= 40
    bird.check()
    await stand.settled(before)


async def warm(stand: Stand) -> None:
    """What only the first connections cost is no part of what each costs."""
    raws = [raw for raw, _ in await asyncio.gather(*(silent(stand, preface()) for _ in range(20)))]
    for raw in raws:
        of_raw(raw).close()
    await asyncio.sleep(0.5)


async def an_answer_that_nobody_takes_is_not_kept(stand: Stand, row: Row, turn: asyncio.Lock) -> None:
    """INITIAL_WINDOW_SIZE 0, a hundred requests on each of fifty connections, a byte of window now and then."""
    connections = row.count(50, 200)
    key = await stand.key()
    for number in range(PEERS):
        await (await stand.join(f"peer{number}", key)).close()
    async with canary(stand) as bird:
        async with turn:
            await warm(stand)
            abuser = await stand.join("abuser", key)
            body = msgspec.json.encode(abuser.map_request(ReadOnly=True, Compress=""))
            before = stand.vitals()
            sessions: list[Session] = []
            began = time.monotonic()
            for _ in range(connections):
                session = await shaken(stand, abuser.machine_private)
                session.frames(frame(SETTINGS, 0, 0, struct.pack(">HL", 4, 0)))
                for _ in range(STREAMS):
                    session.ask("POST", "/machine/map", body=body)
                sessions.append(session)
            peak = await weighed(stand, before)
        streams = [stream for session in sessions for stream in session._streams.values()]
        dripped = 0.0
        while any(session._streams for session in sessions if not session.closed.done()):
            now = time.monotonic() - began
            if now > STALLED_S + 20:
                break
            if now - dripped >= 10:
                dripped = now
                for session in sessions:
                    if not session.closed.done():
                        ids = list(session._streams)
                        session.frames(b"".join(frame(WINDOW, 0, each, struct.pack(">L", 1)) for each in ids))
            peak = max(peak, stand.vitals().memory_mib - before.memory_mib)
            await asyncio.sleep(0.25)
        lasted = time.monotonic() - began
        left = sum(len(session._streams) for session in sessions if not session.closed.done())
        for session in sessions:
            if not session.closed.done():
                session.cut()
    row.found(
        connections=connections,
        streams=len(streams),
        left=left,
        all_cut_after_s=lasted,
        grown_mib_each=peak / connections,
        **bird.figures,
    )
    row.reached("stalled streams", len(streams), at_least=connections * STREAMS * 0.95)
    assert left == 0
    assert lasted <= STALLED_S + 10  # they were opened one after the other
    assert peak / connections <= 1.0
    bird.check()


async def a_reader_that_does_not_keep_up_is_cut(stand: Stand, row: Row, turn: asyncio.Lock) -> None:
    """Map streams of which a byte a second is read, or none, in a tailnet that changes all the time."""
    readers = row.count(10, 100)
    key = await stand.key()
    for number in range(PEERS):
        await (await stand.join(f"peer{number}", key)).close()
    async with canary(stand) as bird:
        mover = await stand.join("mover", key)
        for number in range(WARMS):  # what changes cost without anybody slow
            await mover.lite_update(endpoints=[f"198.51.100.{n}:{9_000 + number}" for n in range(250)])
        slow: list[tuple[socket.socket, Session]] = []
        for number in range(readers):
            client = await stand.join(f"slow{number}", key)
            stream = await client.stream_map(compress="")
            await stream.next_message()
            connection: socket.socket = client.session.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.session.pause_reading()
            slow.append((connection, client.session))
        before = stand.vitals()
        began = time.monotonic()
        open_at_first = open_streams(stand)
        number, peak, queued = 0, 0.0, 0
        filled_at: int | None = None
        cut_after = 0.0
        ports = [session.transport.get_extra_info("sockname")[1] for _, session in slow]
        await turn.acquire()
        while time.monotonic() - began < CUT_S + 20:
            number += 1
            await mover.lite_update(endpoints=[f"198.51.100.{n}:{10_000 + number}" for n in range(250)])
            if number % 10 == 0:
                peak = max(peak, stand.vitals().memory_mib - before.memory_mib)
                waiting = peers_of(stand)
                queued = max(queued, *waiting.values(), 0)
                trickle(slow[::2])
                if filled_at is None and all(waiting.get(port, FULL) >= FULL for port in ports):
                    filled_at = number
                if filled_at is not None and number == filled_at + MORE:
                    began = time.monotonic()  # from here on nothing more of it fits anywhere
                    turn.release()
                if not established(stand, slow):
                    cut_after = time.monotonic() - began
                    break
            await asyncio.sleep(0.02 if filled_at is None or number < filled_at + MORE else 0.2)
        left = established(stand, slow)
    row.found(
        readers=readers,
        left=left,
        all_cut_after_s=cut_after,
        kib_each=max(0.0, peak) * 1024 / readers,
        kib_in_kernel=queued / 1024,
        changes=number,
        **bird.figures,
    )
    row.reached("changes until nothing more fits", filled_at or 0, at_least=1)
    row.reached("open streams", open_at_first, at_least=readers)
    assert left == 0
    assert cut_after <= CUT_S
    assert peak * 1024 / readers + queued / 1024 <= 256
    bird.check()


def open_streams(stand: Stand) -> int:
    """How many connections the server has to us."""
    return len(peers_of(stand))


def peers_of(stand: Stand) -> dict[int, int]:
    """Our ports, of connections that the server has open (state 01 of /proc/net/tcp), and bytes that wait in the kernel
    to be sent on each."""
    local = f"0100007F:{stand.server.settings.port:04X}"
    found = {}
    with open("/proc/net/tcp") as lines:
        for line in lines:
            fields = line.split()
            if fields[1] == local and fields[3] == "01":
                found[int(fields[2].partition(":")[2], 16)] = int(fields[4].partition(":")[0], 16)
    return found


def established(stand: Stand, slow: list[tuple[socket.socket, Session]]) -> int:
    """How many of these the server has not ended: what the client's side knows it does not look at."""
    ours = {
        session.transport.get_extra_info("sockname")[1]
        for _, session in slow
        if session._transport is not None
    }
    return len(ours & set(peers_of(stand)))


def trickle(slow: list[tuple[socket.socket, Session]]) -> None:
    """Take one byte off each."""
    for connection, _ in slow:
        with contextlib.suppress(OSError):
            os.read(connection.fileno(), 1)


WAITING = {
    "H1": a_head_that_does_not_arrive_is_not_waited_for,
    "H2": a_session_that_asks_nothing_is_not_kept,
    "H7": an_answer_that_nobody_takes_is_not_kept,
    "F12": a_reader_that_does_not_keep_up_is_cut,
}


@pytest.mark.bar("H1")
@pytest.mark.both
@pytest.mark.bar("H2")
@pytest.mark.bar("H7")
@pytest.mark.bar("F12")
@pytest.mark.timeout(600)
async def test_who_says_nothing_is_not_waited_for(stands: Stands, rows: dict[str, Row]) -> None:
    """Silent and slow ones, each kind at a server of its own, beside honest clients."""
    turn = asyncio.Lock()  # they come one kind after the other, and wait together

    def at_its_own(name: str) -> Callable[[Row], Awaitable[None]]:
        async def work(row: Row) -> None:
            async with stands() as stand:
                await WAITING[name](stand, row, turn)
                assert not stand.complaints(), stand.server.output[-2000:]

        return work

    for name, row in rows.items():
        row.what = WAITING[name].__doc__ or ""
    await side_by_side(rows, {name: at_its_own(name) for name in WAITING})
