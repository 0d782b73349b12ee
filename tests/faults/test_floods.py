"""Abuse inside the control channel: more frames, larger headers, more streams than any client has."""

import asyncio
import struct
import time
from collections.abc import Callable

import pytest

from harness.clients.fake import PollEnded
from harness.clients.session import Session, SessionClosed, StreamCut, UpgradeRefused
from headscale.keys import generate_private_key
from headscale.ts2021.floods import MAX_CONTROL_FRAMES, MAX_RESETS
from tests.bar import Row
from tests.faults.canary import canary
from tests.faults.hostile import (
    CALM,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    RESET,
    SETTINGS,
    UNKNOWN,
    frame,
    get,
    indexed,
    literal,
    shaken,
)
from tests.faults.stand import Stand

CUT_S = 10.0


async def cut(session: Session) -> str:
    """Why the server ended the session; raises TimeoutError when it does not."""
    return await asyncio.wait_for(asyncio.shield(session.closed), CUT_S)


def grown(stand: Stand, before: float) -> float:
    return max(0.0, stand.vitals().memory_mib - before)


@pytest.mark.bar("H4")
@pytest.mark.both
async def test_rapid_reset_is_cut(stand: Stand, row: Row) -> None:
    """Streams opened and reset by the thousand: each connection is told to calm down and ended."""
    wanted = row.count(10_000, 100_000)
    each = MAX_RESETS * 2
    block, sent, told, answered = get(), 0, 0, 0
    reasons: set[str] = set()
    async with canary(stand) as bird:
        await (await shaken(stand)).close()
        await asyncio.sleep(2)
        base, cpu = stand.vitals().memory_mib, stand.vitals().cpu_s
        while sent < wanted:
            session = await shaken(stand)
            pairs = (
                frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, block)
                + frame(RESET, 0, 2 * number + 1, struct.pack(">L", 8))
                for number in range(each)
            )
            session.frames(b"".join(pairs))
            reason = await cut(session)
            told += f"code {CALM}" in reason
            reasons.add(reason)
            answered += 1
            sent += each
        spent = stand.vitals().cpu_s - cpu
        await asyncio.sleep(2)
        more = grown(stand, base)
    row.found(
        resets=sent,
        connections=answered,
        told_calm=told,
        limit_in_10_s=MAX_RESETS,
        grown_mib=more,
        cpu_ms_a_connection=spent * 1000 / answered,
        **bird.figures,
    )
    row.reached("resets", sent, at_least=wanted)
    assert told == answered, reasons
    assert more <= 10
    bird.check()


def bad_headers() -> dict[str, Callable[[], bytes]]:
    """Each is what a client sends on one connection."""
    request = get()

    def whole(block: bytes) -> bytes:
        return frame(HEADERS, END_HEADERS | END_STREAM, 1, block)

    def continued(block: bytes, size: int, *, end: bool) -> bytes:
        pieces = [block[at : at + size] for at in range(0, len(block), size)] or [b""]
        first, rest = pieces[0], pieces[1:]
        frames = [frame(HEADERS, END_STREAM, 1, first)]
        frames += [frame(CONTINUATION, 0, 1, piece) for piece in rest]
        return b"".join([*frames, frame(CONTINUATION, END_HEADERS if end else 0, 1)])

    big = b"".join(literal(b"x-%d" % n, b"v" * 4000) for n in range(260))
    many = b"".join(literal(b"x", b"") for _ in range(10_000))
    bomb = request + indexed(b"x-bomb", b"b" * 3900) + b"\xbe" * 16_000
    return {
        "a thousand continuations": lambda: (
            continued(request, 1, end=False) + b"".join(frame(CONTINUATION, 0, 1) for _ in range(1000))
        ),
        "a list of 1 MiB": lambda: continued(request + big, 16_000, end=True),
        "ten thousand headers": lambda: continued(request + many, 16_000, end=True),
        "a bomb of references": lambda: continued(bomb, 16_000, end=True),
        "CR and LF": lambda: whole(request + literal(b"x", b"a\r\nb: c")),
        "NUL": lambda: whole(request + literal(b"x", b"a\x00b")),
        "upper case": lambda: whole(request + literal(b"X-Up", b"a")),
        "two authorities": lambda: whole(request + literal(b":authority", b"d")),
        "no path": lambda: whole(literal(b":method", b"GET") + literal(b":scheme", b"https")),
        "an unknown pseudo-header": lambda: whole(request + literal(b":x", b"d")),
        "a pseudo-header after others": lambda: whole(literal(b"x", b"y") + request),
        "an index that there is not": lambda: whole(request + b"\xff\xff\x7f"),
        "a table larger than allowed": lambda: whole(b"\x3f\xff\xff\x7f" + request),
        "connection": lambda: whole(request + literal(b"connection", b"close")),
        "a stream of ours": lambda: frame(HEADERS, END_HEADERS | END_STREAM, 2, request),
        "stream 0": lambda: frame(HEADERS, END_HEADERS | END_STREAM, 0, request),
    }


@pytest.mark.bar("H5")
@pytest.mark.both
async def test_headers_that_no_client_sends_are_an_error(stand: Stand, row: Row) -> None:
    """Endless, huge and malformed header blocks: an error of the stream or the connection, at little cost."""
    tries, dearest, where = row.count(5, 50), 0.0, ""
    async with canary(stand) as bird:
        client = await stand.join("honest")
        for name, frames in bad_headers().items():
            sessions = [await shaken(stand, client.machine_private) for _ in range(tries)]
            await asyncio.sleep(0.05)
            cpu = stand.vitals().cpu_s
            for session in sessions:
                session.frames(frames())
            await asyncio.gather(*map(cut, sessions))
            spent = (stand.vitals().cpu_s - cpu) * 1000 / tries
            if spent > dearest:
                dearest, where = spent, name
    row.found(
        cases=len(bad_headers()),
        tries=tries * len(bad_headers()),
        dearest_ms=dearest,
        which=where,
        **bird.figures,
    )
    assert dearest <= 20, where
    bird.check(at_least=1)


def floods() -> dict[str, Callable[[int], bytes]]:
    """A frame of each kind, the n-th."""
    return {
        "SETTINGS": lambda _: frame(SETTINGS, 0, 0),
        "PING": lambda n: frame(PING, 0, 0, n.to_bytes(8, "big")),
        "PRIORITY": lambda _: frame(PRIORITY, 0, 1, struct.pack(">LB", 0, 15)),
        "empty DATA": lambda _: frame(DATA, 0, 1),
        "unknown": lambda n: frame(UNKNOWN, 0, 0, n.to_bytes(8, "big")),
    }


@pytest.mark.bar("H6")
@pytest.mark.both
@pytest.mark.parametrize("kind", floods())
async def test_a_flood_of_control_frames_is_cut(stand: Stand, row: Row, kind: str) -> None:
    """Ten thousand of a kind, and none of the replies read."""
    wanted = row.count(10_000, 100_000)
    make = floods()[kind]
    async with canary(stand) as bird:
        await (await shaken(stand)).close()
        await asyncio.sleep(1)
        base, cpu = stand.vitals().memory_mib, stand.vitals().cpu_s
        session = await shaken(stand)
        if kind == "empty DATA":
            session.frames(frame(HEADERS, END_HEADERS, 1, get()))
        session.pause_reading()
        began, sent = time.monotonic(), 0
        while sent < wanted:
            try:
                session.frames(b"".join(make(sent + n) for n in range(500)))
            except SessionClosed:  # it was cut before all of them were sent
                break
            sent += 500
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        if not session.closed.done():
            session.resume_reading()
        reason = await cut(session)
        took, spent, more = time.monotonic() - began, stand.vitals().cpu_s - cpu, grown(stand, base)
        await asyncio.sleep(1.0)
    row.found(
        kind=kind,
        frames=sent,
        cut_after_s=took,
        cpu_ms=spent * 1000,
        grown_mib=more,
        limit_in_10_s=MAX_CONTROL_FRAMES,
    )
    row.found(**bird.figures)
    row.reached("frames", sent, at_least=2 * MAX_CONTROL_FRAMES)
    assert reason
    assert more <= 2
    bird.check(at_least=1)


@pytest.mark.bar("H8")
@pytest.mark.both
async def test_there_is_a_most_of_everything(stand: Stand, row: Row) -> None:
    """A hundred streams a connection, one live poll a node, eight connections of a machine that has not registered."""
    wanted = row.count(200, 1_000)
    stranger = generate_private_key()
    sessions: list[Session] = []
    refused = 0
    told: set[tuple[int, str]] = set()
    for _ in range(wanted):
        try:
            sessions.append(await shaken(stand, stranger))
        except UpgradeRefused as refusal:
            told.add((refusal.status, refusal.text.strip()))
            refused += 1
    assert told == {(429, "a machine that has not registered has at most 8 connections")}
    assert (len(sessions), refused) == (8, wanted - 8)
    sessions[0].cut()
    async with asyncio.timeout(5):
        while True:  # a place is free again when one has gone
            try:
                sessions.append(await shaken(stand, stranger))
                break
            except UpgradeRefused:
                await asyncio.sleep(0.01)

    node = await stand.join("node")
    polls = []
    for _ in range(wanted // 4):
        poll = await node.stream_map()
        await poll.next_message()
        polls.append(poll)
    ended = 0
    for poll in polls[:-1]:
        try:
            async with asyncio.timeout(5):
                while True:
                    await poll.next_message()
        except (PollEnded, StreamCut):
            ended += 1
    with pytest.raises(TimeoutError):
        await polls[-1].next_message(within=0.3)

    busy = await shaken(stand, node.machine_private)
    busy.frames(b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, get()) for n in range(101)))
    reason = await cut(busy)
    row.found(
        tried=wanted,
        of_a_stranger=8,
        polls=len(polls),
        live_polls=len(polls) - ended,
        streams_then_cut=100,
    )
    assert ended == len(polls) - 1
    assert reason
    for session in sessions:
        if not session.closed.done():
            session.cut()


@pytest.mark.bar("H8")
@pytest.mark.both
async def test_who_has_registered_may_have_more_connections(stand: Stand) -> None:
    """The limit is for those of whom nothing is known."""
    node = await stand.join("node")
    sessions = [await shaken(stand, node.machine_private) for _ in range(20)]
    for session in sessions:
        assert (await session.request("GET", "/machine/whoami")).status in (200, 404)
        session.cut()
