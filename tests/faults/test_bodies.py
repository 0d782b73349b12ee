"""Bodies, handshakes and documents that no client sends: refused clearly, without growth, and nothing is kept."""

import asyncio
import copy
import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from harness.clients.session import upgrade_request
from harness.servers.base import AdminRefused
from headscale.ts2021.handshake import generate_key, initiate
from tests.bar import Row
from tests.faults.canary import asking, canary
from tests.faults.hostile import dialled, shaken
from tests.faults.stand import HOST, Stand, percentile

LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


def broken_handshakes(initiation: bytes, row: Row, wanted: int) -> Iterator[bytes]:
    """Each byte flipped, each length, wrong types and versions, weak points, and then at random."""
    for at in range(len(initiation)):
        yield initiation[:at] + bytes([initiation[at] ^ 1 << row.chance.randrange(8)]) + initiation[at + 1 :]
    for length in range(200):
        if length != len(initiation):
            yield (initiation + os.urandom(200))[:length]
    for point in LOW_ORDER:
        yield initiation[:5] + point + initiation[37:]
    for kind in range(256):
        if kind != initiation[2]:
            yield initiation[:2] + bytes([kind]) + initiation[3:]
    made = len(initiation) + 199 + len(LOW_ORDER) + 255
    for _ in range(wanted - made):
        noise = bytearray(initiation)
        for _ in range(row.chance.randrange(1, 12)):
            noise[row.chance.randrange(len(noise))] = row.chance.randrange(256)
        if bytes(noise) != initiation:
            yield bytes(noise)


@pytest.mark.bar("H3")
@pytest.mark.timeout(3600)
async def test_no_broken_handshake_opens_a_session(stand: Stand, row: Row) -> None:
    """212 tampered bytes and what else is wrong with a handshake; a replayed one opens nothing that can be used."""
    wanted = row.count(10_000, 1_000_000)
    client = await stand.client()
    assert client.server_key is not None
    initiation, _ = initiate(client.server_key, version=142, static=generate_key(), ephemeral=generate_key())
    statuses: Counter[str] = Counter()
    gate = asyncio.Semaphore(12)
    port = stand.server.settings.port

    async def one(case: bytes) -> None:
        async with gate:
            raw = await dialled(port, upgrade_request(HOST, case))
            async with asyncio.timeout(60):
                while raw.closed is None and b"\r\n\r\n" not in raw.heard:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
            statuses[bytes(raw.heard[9:12]).decode() or "closed"] += 1
            if raw.transport is not None:
                raw.transport.abort()

    async with canary(stand) as bird:
        cases = list(broken_handshakes(initiation, row, wanted))
        await asyncio.gather(*map(one, cases[:200]))
        before, began = stand.vitals(), time.monotonic()
        for start in range(200, len(cases), 2000):
            await asyncio.gather(*map(one, cases[start : start + 2000]))
        took = time.monotonic() - began
        replayed = [await dialled(port, upgrade_request(HOST, initiation)) for _ in range(100)]
        await asyncio.sleep(1)
        for raw in replayed:
            raw.say(os.urandom(200))  # who replays does not know the keys
        await asyncio.sleep(1)
        usable = sum(raw.closed is None for raw in replayed)
        grown = stand.vitals().memory_mib - before.memory_mib
    row.found(
        cases=sum(statuses.values()), answers=dict(statuses), a_second=len(cases) / took, grown_mib=grown
    )
    row.found(replayed=100, usable_after_replay=usable, **bird.figures)
    row.reached("cases", sum(statuses.values()), at_least=wanted * 0.99)
    assert set(statuses) <= {"400", "closed"}
    assert usable == 0
    assert grown <= 20
    assert len(await stand.server.nodes()) == 3  # the canary's
    bird.check()


def bombs() -> dict[str, tuple[dict[str, str], Callable[[], Any]]]:
    """Bodies by kind: headers, and a maker of what is sent."""
    million = b"a" * 1024 * 1024

    async def long() -> Any:
        for _ in range(16):
            yield million

    async def tiny() -> Any:
        for _ in range(50_000):
            yield b"a"

    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    gzipped = b"".join(packed.compress(million) for _ in range(1024)) + packed.flush()
    return {
        "16 MiB in chunks": ({}, long),
        "50,000 chunks of a byte": ({}, tiny),
        "1 GiB in 1 MiB of gzip": ({"Content-Encoding": "gzip"}, lambda: gzipped),
        "said to be deflate": ({"Content-Encoding": "deflate"}, lambda: million),
        "said to be br": ({"Content-Encoding": "br"}, lambda: million),
        "said to be zstd": ({"Content-Encoding": "zstd"}, lambda: million),
        "2 MiB at once": ({}, lambda: million * 2),
    }


TURNS = 4
ROUTES = [
    ("POST", "/verify"),
    ("POST", "/ts2021"),
    ("POST", "/api/v1/user"),
    ("POST", "/api/v1/preauthkey"),
    ("PUT", "/api/v1/policy"),
    ("POST", "/api/v2/oauth/token"),
    ("POST", "/api/v2/tailnet/-/keys"),
    ("POST", "/register/confirm/x"),
    ("POST", "/admin"),
    ("POST", "/nothing"),
]


@pytest.mark.bar("H9")
@pytest.mark.timeout(600)
async def test_no_body_is_read_beyond_its_cap(stand: Stand, row: Row) -> None:
    """Huge, endless, cut and compressed ones on every route, and inside a session: refused at the cap."""
    key = (await stand.server.call("POST", "apikey", {}))["apiKey"]
    statuses: Counter[int | str] = Counter()
    slowest = 0.0
    made, levels = bombs(), list[float]()
    before = stand.vitals()
    async with canary(stand) as bird, aiohttp.ClientSession(stand.server.url) as http:
        client = await stand.join("honest")
        for turn in range(TURNS):  # what the first rounds leave in caches is no growth
            before = stand.vitals() if turn == TURNS - 1 else before
            for method, path in ROUTES:
                for headers, body in made.values():
                    began = time.monotonic()
                    given = {"Authorization": f"Bearer {key}", **headers}
                    limit = aiohttp.ClientTimeout(20)
                    try:
                        async with http.request(
                            method, path, data=body(), headers=given, timeout=limit
                        ) as answer:
                            statuses[answer.status] += 1
                    except (aiohttp.ClientError, ConnectionError):
                        statuses["closed"] += 1
                    slowest = max(slowest, time.monotonic() - began)
            for path in ("/machine/map", "/machine/register", "/machine/set-dns", "/machine/audit-log"):
                session = await shaken(stand, client.machine_private)
                inside = await session.request("POST", path, body=b"a" * (1024 * 1024 + 1))
                statuses[inside.status] += 1
                assert inside.status == 413, path
                session.cut()
            await asyncio.sleep(0.3)
            levels.append(stand.vitals().memory_mib)
        await asyncio.sleep(1)
        grown = stand.vitals().memory_mib - before.memory_mib
    row.found(
        bodies=sum(statuses.values()),
        answers={str(k): v for k, v in statuses.items()},
        slowest_s=slowest,
        grown_mib=grown,
        rounds_mib=[round(each) for each in levels],
        **bird.figures,
    )
    assert not any(isinstance(status, int) and (status < 400 or status >= 500) for status in statuses), (
        statuses
    )
    assert slowest <= 5
    assert grown <= 2
    bird.check()


def odd_values(row: Row) -> list[Any]:
    return [
        None,
        True,
        -1,
        0,
        1.5,
        2**63,
        2**64,
        "",
        "\x00",
        "a" * 10_000,
        "\u202e<b>",
        "é" * 300,
        [],
        {},
        [[]],
        [None],
        {"a": {"b": []}},
        "nodekey:" + "0" * 64,
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        row.chance.randrange(2**70),
    ]


def odd_texts() -> list[bytes]:
    """Documents that JSON parsers stumble over."""
    deep = [
        opening * depth for depth in (1_000, 10_000, 100_000) for opening in (b"[", b'{"a":', b'{"Hostinfo":')
    ]
    return [
        *deep,
        b"[" * 100_000 + b"]" * 100_000,
        b"{" + b",".join(b'"k%d":1' % n for n in range(60_000)) + b"}",
        b'{"Version":' + b"9" * 5_000 + b"}",
        b'{"Version":NaN}',
        b'{"Version":Infinity}',
        b'{"Version":1e999}',
        b'{"NodeKey":"\\ud800"}',
        b'{"Hostinfo":{"Hostname":"\\ud800"}}',
        b'{"Hostinfo":{"Hostname":"\\u0000"}}',
        b'{"Hostinfo":{"Hostname":"a\x00b"}}',
        b'{"Version":1,"Version":142}',
        b'{"Hostinfo":null}',
        b"null",
        b"",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"{} {}",
    ]


def mutated(basis: dict[str, Any], row: Row, odd: list[Any]) -> bytes:
    """The request with something else in one to three of its places."""
    document = json.loads(json.dumps(basis))
    for _ in range(row.chance.randrange(1, 4)):
        place = document
        while True:
            name = row.chance.choice(sorted(place))
            if isinstance(place[name], dict) and place[name] and row.chance.random() < 0.7:
                place = place[name]
                continue
            place[name] = copy.deepcopy(row.chance.choice(odd))
            break
    text = json.dumps(document).encode()
    if row.chance.random() < 0.1:
        at = row.chance.randrange(len(text))
        text = text[:at] + bytes([row.chance.randrange(256)]) + text[at + 1 :]
    return text


@pytest.mark.bar("H10")
@pytest.mark.timeout(3600)
async def test_no_request_breaks_the_server(stand: Stand, row: Row) -> None:
    """Depth, size, numbers, surrogates, and registrations and map requests with anything in any field."""
    wanted = row.count(10_000, 1_000_000)
    odd = odd_values(row)
    statuses: Counter[int] = Counter()
    errors: Counter[bool] = Counter()
    async with canary(stand) as bird:
        client = await stand.join("honest")
        hostinfo = {
            "Hostname": "honest",
            "OS": "linux",
            "OSVersion": "1",
            "RoutableIPs": ["10.0.0.0/8"],
            "RequestTags": [],
            "Services": [{"Proto": "tcp", "Port": 1}],
            "NetInfo": {"PreferredDERP": 999, "WorkingUDP": True, "DERPLatency": {"1-v4": 0.1}},
        }
        bases = {
            "/machine/map": {
                **client.map_request(ReadOnly=True),
                "Hostinfo": hostinfo,
                "Endpoints": ["192.0.2.1:1"],
            },
            "/machine/register": {
                "Version": 142,
                "NodeKey": client.node_key,
                "OldNodeKey": client.node_key,
                "Auth": {"AuthKey": "hskey-auth-none"},
                "Expiry": "0001-01-01T00:00:00Z",
                "Followup": "",
                "Hostinfo": hostinfo,
                "Ephemeral": False,
                "Tailnet": "",
            },
        }
        session = await shaken(stand, client.machine_private)

        async def ask(path: str, body: bytes) -> None:
            nonlocal session
            if session.closed.done():
                session = await shaken(stand, client.machine_private)
            stream = session.ask("POST", path, body=body)
            try:
                async with asyncio.timeout(2):  # one that polls, or is held for a verdict, has been accepted
                    response = await stream.response()
                    statuses[response.status] += 1
                    if path.endswith("register") and response.status == 200:
                        errors[bool(json.loads((await stream.answer()).body).get("Error"))] += 1
                        return
            except TimeoutError:
                statuses[0] += 1
            stream.cancel()

        for text in odd_texts():
            for path in bases:
                await ask(path, text)
        done = 0
        while done < wanted:
            if (
                done % 1_500 == 0
            ):  # a connection may make two thousand requests in ten seconds, and reset two hundred
                session.cut()
                session = await shaken(stand, client.machine_private)
            path = row.chance.choice(sorted(bases))
            await asyncio.gather(*(ask(path, mutated(bases[path], row, odd)) for _ in range(10)))
            done += 10
    row.found(
        requests=sum(statuses.values()), answers={str(k): v for k, v in statuses.items()}, **bird.figures
    )
    row.reached("requests", sum(statuses.values()), at_least=wanted)
    assert set(statuses) <= {0, 200, 400, 404, 413}, statuses
    assert statuses[0] < wanted * 0.02
    assert "Traceback" not in stand.server.output
    assert "RecursionError" not in stand.server.output
    assert (await stand.node(client)) is not None
    bird.check()


def policies() -> dict[str, tuple[str, bool]]:
    """Texts, and whether they are to be set."""
    people = ",".join(f'"user{n}@example.com"' for n in range(10))
    groups = ",".join(f'"group:g{n}": [{people}]' for n in range(10_000))
    everyone = ",".join(f'"group:g{n}"' for n in range(1_000))
    ports = ",".join(f'"10.{n // 250}.{n % 250}.0/24:{n + 1}"' for n in range(1_000))
    return {
        "depth 100,000": ("[" * 100_000, False),
        "a million comments": ("/**/" * 1_000_000 + "{}", True),
        "10 MB and more": ('{"acls": []} //' + "x" * 10_500_000, False),
        "ten thousand groups": (f'{{"groups": {{{groups}}}, "acls": []}}', True),
        "groups in a circle": ('{"groups": {"group:a": ["group:b"], "group:b": ["group:a"]}}', False),
        "a thousand by a thousand": (
            f'{{"groups": {{{groups}}}, "acls": [{{"action": "accept", "src": [{everyone}], "dst": [{ports}]}}]}}',
            True,
        ),
    }


@pytest.mark.bar("H11")
@pytest.mark.timeout(300)
async def test_a_policy_of_any_size_stalls_nobody(stand: Stand, row: Row) -> None:
    """Deep, long and dense policies are set within ten seconds or refused; others are served meanwhile."""
    took: dict[str, float] = {}
    async with asking(stand, pause_s=0.05) as answers:
        for name, (text, is_good) in policies().items():
            began = time.monotonic()
            try:
                await asyncio.wait_for(stand.server.set_policy(text), 30)
                said = "set"
            except AdminRefused as refusal:
                said = str(refusal)[:300]
            assert (said == "set") is is_good, (name, said)
            took[name] = round(time.monotonic() - began, 2)
    health = [seconds for _, seconds in answers]
    assert {status for status, _ in answers} == {200}
    row.found(seconds=took, health_p99_s=percentile(health, 99), health_max_s=max(health), asked=len(health))
    assert max(took.values()) <= 10
    assert percentile(health, 99) <= 0.5
