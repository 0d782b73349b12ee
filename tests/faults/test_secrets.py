"""Credentials: guessing finds none, one for one use is for one use, and none of them shows up anywhere."""

import asyncio
import base64
import contextlib
import os
import secrets
import stat
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import aiohttp
import pytest

from harness.ports import free_port
from tests.bar import Row
from tests.faults.canary import canary
from tests.faults.conftest import Stands
from tests.faults.stand import HOST, Stand, percentile

# Of a credential the end is secret; its beginning may be shown.
END = 20


def guesses(text: str, count: int) -> tuple[list[str], list[str]]:
    """Credentials with a prefix that there is not, and with this one's prefix and another secret."""
    kind, secret = text.rpartition("-")[0], 64
    stem = kind.rpartition("-")[0]
    unknown = [f"{stem}-{secrets.token_hex(6)}-{secrets.token_hex(secret // 2)}" for _ in range(count)]
    wrong = [f"{kind}-{secrets.token_hex(secret // 2)}" for _ in range(count)]
    return unknown, wrong


async def timed(
    ask: Callable[[str], Awaitable[bool]], texts: tuple[list[str], list[str]]
) -> tuple[float, float, int]:
    """Median seconds of either kind, taken in turns, and how many were let in."""
    times: tuple[list[float], list[float]] = ([], [])
    hits = 0
    for pair in zip(*texts, strict=True):
        for at, text in enumerate(pair):
            began = time.perf_counter()
            hits += await ask(text)
            times[at].append(time.perf_counter() - began)
    return percentile(times[0], 50), percentile(times[1], 50), hits


@pytest.mark.bar("A1")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["pre-auth keys", "API keys"])
async def test_guesses_hit_nothing_and_learn_nothing(stand: Stand, row: Row, kind: str) -> None:
    """Unknown prefixes and wrong secrets: no hit, and both take as long."""
    count = row.count(1_000, 50_000)
    async with canary(stand) as bird, aiohttp.ClientSession() as http:
        if kind == "API keys":
            text = (await stand.server.call("POST", "apikey", {}))["apiKey"]

            async def ask(guess: str) -> bool:
                headers = {"Authorization": f"Bearer {guess}"}
                async with http.get(f"{stand.server.url}/api/v1/user", headers=headers) as answer:
                    assert answer.status in (200, 401)
                    return answer.status == 200

            assert await ask(text)
        else:
            text = await stand.key()
            client = await stand.client("guesses")

            async def ask(guess: str) -> bool:
                answer = await client.register(auth_key=guess)
                return bool(answer["MachineAuthorized"])

        unknown, wrong, hits = await timed(ask, guesses(text, count))
    row.found(
        kind=kind, guesses=2 * count, hits=hits, medians_differ_ms=abs(unknown - wrong) * 1000, **bird.figures
    )
    assert hits == 0
    assert abs(unknown - wrong) * 1000 < 1
    bird.check(at_least=1)


@pytest.mark.bar("A2")
@pytest.mark.both
@pytest.mark.timeout(1800)
async def test_a_key_for_one_use_is_used_once(stand: Stand, row: Row) -> None:
    """A hundred registrations with one key, released at the same moment."""
    rounds, parallel = row.count(5, 200), 100
    winners = 0
    for turn in range(rounds):
        key = await stand.key(reusable=False)
        clients = [await stand.client(f"racer-{turn}-{number}") for number in range(parallel)]
        await asyncio.gather(*(client.connect() for client in clients))
        answers = await asyncio.gather(*(client.register(auth_key=key) for client in clients))
        let_in = [answer for answer in answers if answer["MachineAuthorized"]]
        assert len(let_in) == 1
        assert len(await stand.server.nodes()) == turn + 1
        winners += len(let_in)
        for client in clients:
            await client.close()
    row.found(rounds=rounds, parallel=parallel, winners=winners)


@pytest.mark.bar("A12")
@pytest.mark.both
async def test_no_secret_is_written_anywhere(stands: Stands, row: Row) -> None:
    """At the most verbose level: log, database, metrics, debug pages and error texts have none in any encoding."""
    port = free_port(HOST)
    keys = {
        "log.level": "trace",
        "metrics_listen_addr": f"{HOST}:{port}",
        "cli.api_key": "hskey-api-plantedplant-" + "p" * 64,
    }
    async with stands(keys) as stand, aiohttp.ClientSession() as http:
        once, again, tagged = await stand.key(reusable=False), await stand.key(), await stand.key()
        api_key = (await stand.server.call("POST", "apikey", {}))["apiKey"]
        wrong = f"{api_key[:-64]}{secrets.token_hex(32)}"
        oauth = await stand.server.create_oauth_client(scopes=["all:read"], tags=[])
        members = [
            await stand.join("one", once),
            await stand.join("two", again),
            await stand.join("three", tagged),
        ]
        stream = await members[0].stream_map()
        await stream.next_message()
        waiting = await stand.client("waits")
        login = (await waiting.register())["AuthURL"].rpartition("/")[2]
        texts: dict[str, bytes] = {}
        for name, text in (("right", api_key), ("wrong", wrong), ("spent", once)):
            headers = {"Authorization": f"Bearer {text}"}
            async with http.get(f"{stand.server.url}/api/v1/user", headers=headers) as answer:
                texts[f"answer to a {name} key"] = await answer.read()
        late = await stand.client("late")
        texts["answer to a spent key"] = (await late.register(auth_key=once))["Error"].encode()
        texts["answer to a wrong key"] = (await late.register(auth_key=again[:-4] + "0000"))["Error"].encode()
        form = {"client_id": oauth.id, "client_secret": oauth.text, "grant_type": "client_credentials"}
        async with http.post(f"{stand.server.url}/api/v2/oauth/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        async with http.get(f"http://{HOST}:{port}/metrics") as answer:
            texts["metrics"] = await answer.read()
        for page in (
            "config",
            "policy",
            "registration-cache",
            "overview",
            "nodestore",
            "derp",
            "mapper",
            "sessions",
        ):
            async with http.get(f"http://{HOST}:{port}/debug/{page}") as answer:
                texts[f"/debug/{page}"] = await answer.read()
        data = stand.server.settings.data
        own = [
            path.read_text().strip().removeprefix("privkey:")
            for path in data.glob("*.key")
            if path.stat().st_size < 100
        ]
        await stand.server.stop()
        for path in data.rglob("*"):
            if path.is_file() and path.suffix not in (".key",) and path.name != "config.yaml":
                texts[path.name] = path.read_bytes()
        planted = [once, again, tagged, api_key, wrong, oauth.text, token, keys["cli.api_key"], *own]
        hits = []
        for secret in planted:
            end = secret[-END:]
            forms = {
                end.encode(),
                end.encode().hex().encode(),
                quote(secret, safe="").encode(),
                base64.b64encode(secret.encode()).rstrip(b"="),
                *(base64.b64encode(end.encode())[cut:-4] for cut in (0,)),
            }
            hits += [
                (where, secret[:14]) for where, text in texts.items() if any(form in text for form in forms)
            ]
        verbose = texts["server.log"].count(b"DEBUG")
        row.found(
            secrets=len(planted),
            places=len(texts),
            hits=len(hits),
            log_lines=len(texts["server.log"].splitlines()),
        )
        row.reached("lines below info in the log", verbose, at_least=1)
        row.reached("secrets of the server's own", len(own), at_least=2)
        assert login.encode() not in texts["server.log"]
        assert not hits, hits


@pytest.mark.bar("A13")
async def test_nothing_is_readable_by_others_under_any_umask(stands: Stands, row: Row) -> None:
    """With umask 000, from the moment that a file is there: looked at all the time while the server starts."""
    seen: dict[str, set[int]] = {}

    async def look(folder: str) -> None:
        while True:
            for name in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):
                    seen.setdefault(name, set()).add(stat.S_IMODE(os.stat(f"{folder}/{name}").st_mode))
            await asyncio.sleep(0)

    async with stands() as stand:
        await stand.server.stop()
        data = stand.server.settings.data
        for path in (
            *data.glob("db.sqlite*"),
            *data.glob("*.key"),
            *data.glob("*.crt"),
            stand.server.settings.socket,
        ):
            path.unlink(missing_ok=True)
        stand.server.umask = 0
        looking = asyncio.create_task(look(str(data)))
        await stand.server.start()
        user = await stand.server.create_user("alice")
        await stand.join("one", await stand.key(user=user))
        await asyncio.sleep(0.2)
        looking.cancel()
        modes = {
            name: sorted(map(oct, found))
            for name, found in seen.items()
            if name not in ("server.log", "config.yaml")
        }
        row.found(files=len(modes), modes=modes, folder=oct(stat.S_IMODE(data.stat().st_mode)))
        row.reached("files", len(modes), at_least=3)
        most = {
            "headscale.sock": 0o770,
            "derp.crt": 0o644,
            "derp.crt.new": 0o644,
        }  # a certificate is for everybody
        for name, found in seen.items():
            if name not in ("server.log", "config.yaml"):
                assert all(mode & ~most.get(name, 0o600) == 0 for mode in found), (
                    name,
                    list(map(oct, found)),
                )
