"""A server that is told to stop, or to read what is broken."""

import asyncio
import json
import re
import signal
import ssl
import time

import pytest

from harness.clients.derp import DerpClient
from harness.clients.fake import MapStream, PollEnded
from harness.clients.session import SessionClosed
from harness.servers.base import AdminRefused
from tests.bar import Row
from tests.faults.conftest import Stands
from tests.faults.stand import HOST, Stand

STOP_S = 5.0
BACK_S = 30.0


async def how_it_ends(stream: MapStream) -> str:
    """In good order (the answer's end, or GOAWAY), or how else."""
    try:
        while True:
            await stream.next_message()
    except PollEnded as end:
        return "cut inside a message" if "inside" in str(end) else "ended"
    except SessionClosed as end:
        return "goaway" if "away" in str(end) else str(end)
    except Exception as end:
        return f"{type(end).__name__}: {end}"


@pytest.mark.bar("F6")
@pytest.mark.both
@pytest.mark.timeout(1800)
async def test_a_stop_ends_everything_in_order(stands: Stands, row: Row) -> None:
    """SIGTERM with open streams, held follow-ups and relayed clients."""
    wanted, rounds = row.count(50, 300), row.count(1, 100)
    stops: list[float] = []
    backs: list[float] = []
    ends: dict[str, int] = {}
    async with stands() as stand:
        key = await stand.key()
        clients = [await stand.join(f"stream{number}", key) for number in range(wanted)]
        for _ in range(rounds):
            began = time.monotonic()
            streams = await asyncio.gather(*(client.stream_map() for client in clients))
            await asyncio.gather(*(stream.next_message() for stream in streams))
            if stops:
                backs.append(time.monotonic() - began)
            waiting = [await asyncio.create_task(_waits(stand, number)) for number in range(10)]
            relayed = [await _relayed(stand, client.node_private) for client in clients[:10]]
            watching = [asyncio.create_task(how_it_ends(stream)) for stream in streams]
            await asyncio.sleep(0.2)
            row.reached("open streams", sum(not task.done() for task in watching), at_least=wanted)
            row.reached("held follow-ups", sum(not task.done() for task in waiting), at_least=10)
            began = time.monotonic()
            await stand.server.stop()
            stops.append(time.monotonic() - began)
            assert stand.server.exit_code == 0
            for how in await asyncio.wait_for(asyncio.gather(*watching), 5):
                ends[how] = ends.get(how, 0) + 1
            await asyncio.gather(*waiting, *(one.close() for one in relayed), return_exceptions=True)
            await stand.server.start()
        began = time.monotonic()
        streams = await asyncio.gather(*(client.stream_map() for client in clients))
        await asyncio.gather(*(stream.next_message() for stream in streams))
        backs.append(time.monotonic() - began)
        row.found(
            streams=wanted,
            follow_ups=10,
            relayed=10,
            exit_code=0,
            slowest_stop_s=max(stops),
            ends=ends,
            all_back_s=max(backs),
        )
        assert set(ends) <= {"ended", "goaway"}
        assert max(stops) <= STOP_S
        assert max(backs) <= BACK_S
        assert not stand.complaints()


async def _waits(stand: Stand, number: int) -> asyncio.Task[object]:
    """A client that was given a URL, and holds the request for its verdict."""
    client = await stand.client(f"waits{number}")
    url = (await client.register())["AuthURL"]
    return asyncio.create_task(client.register(followup=url, within=60))


async def _relayed(stand: Stand, private: object) -> DerpClient:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    return await DerpClient.login(private, HOST, stand.server.settings.relay_port, tls=trust)  # type: ignore[arg-type]


ALLOWS = '{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}'
BROKEN = [
    "",
    '{\n"grants": [\n{"src": ["*"], "dst": ["*"], "ip": ["*"]}',
    '{\n"grants": [{"src": ["group:none"], "dst": ["*"], "ip": ["*"]}]}',
    '{\n"acls": [{"action": "drop", "src": ["*"], "dst": ["*:*"]}]}',
    '{\n\n"grants": [{"src": ["*"], "dst": ["10.0.0.0/99"], "ip": ["*"]}]}',
    '{\n"tests": [{"src": "alice@", "deny": ["100.64.0.1:80"]}],\n"grants": 5}',
    '{\n"tagOwners": {"server": []}}',
    '{\n"grants": [{"src": ["*"], "dst": ["*"], "ip": ["tcp:99999"]}]}',
    '{\n"groups": {"group:a": ["group:a"]}}',
    "[1, 2\n, 3]",
]


@pytest.mark.bar("F7")
async def test_a_broken_policy_is_not_set(stand: Stand, row: Row) -> None:
    """By the API: the old one stays, and the complaint names the line."""
    one, two = await stand.join("one"), await stand.join("two")
    await stand.server.set_policy(ALLOWS)
    stream = await one.stream_map()
    await stream.until(lambda netmap: netmap.peer_named("two") is not None, within=10)
    for text in BROKEN[1:] * row.count(1, 10):
        with pytest.raises(AdminRefused) as refusal:
            await stand.server.set_policy(text)
        assert re.search(r"line \d+", str(refusal.value)), str(refusal.value)
        assert (await stand.server.call("GET", "policy"))["policy"] == ALLOWS
    await stand.server.rename_node((await stand.node(two)).id, "still-seen")
    await stream.until(lambda netmap: netmap.peer_named("still-seen") is not None, within=5)
    row.found(refused=len(BROKEN[1:] * row.count(1, 10)))


@pytest.mark.bar("F7")
async def test_a_broken_policy_file_is_not_taken(stands: Stands, row: Row) -> None:
    """By SIGHUP: the old one stays, and the log names the line."""
    keys = {"policy.mode": "file", "policy.path": "policy.hujson"}
    async with stands(keys, files={"policy.hujson": ALLOWS}) as stand:
        one, two = await stand.join("one"), await stand.join("two")
        stream = await one.stream_map()
        await stream.until(lambda netmap: netmap.peer_named("two") is not None, within=10)
        path = stand.server.settings.data / "policy.hujson"
        texts = BROKEN[1:] * row.count(1, 10)
        for number, text in enumerate(texts):
            path.write_text(text)
            before = len(stand.server.output)
            stand.server.signal(signal.SIGHUP)
            async with asyncio.timeout(10):
                while not re.search(r"line \d+|:\d+:\d+", stand.server.output[before:]):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await stand.server.rename_node((await stand.node(two)).id, f"seen-{number}")
            await stream.until(
                lambda netmap, name=f"seen-{number}": netmap.peer_named(name) is not None, within=5
            )
        path.write_text(json.dumps({"grants": []}))
        stand.server.signal(signal.SIGHUP)
        await stream.until(lambda netmap: not netmap.peers, within=10)
        row.found(refused=len(texts))
        assert not stand.complaints()
