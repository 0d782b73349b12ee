"""The doctor looks at the way to a server: directly, through a real nginx, and through proxies that spoil it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import trustme

from harness.errors import Missing
from harness.ports import free_port
from harness.servers.inprocess import InProcessServer
from harness.servers.nginx import start_nginx
from harness.strict import unavailable
from headscale.clock import SystemClock
from headscale.doctor import way as module
from headscale.doctor.findings import Case, Finding, Verdict
from headscale.doctor.way import check_way
from headscale.proxies import parse_proxy

UPGRADES = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
Behind = Callable[..., Awaitable[str]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


@pytest.fixture
def nginx(server: InProcessServer, stack: AsyncExitStack) -> Behind:
    """An nginx in front of the server with this in its location; its URL. `authority` signs its certificate."""

    async def started(location: str = "", *, authority: trustme.CA | None = None, upstream: str = "") -> str:
        port = free_port("127.0.0.1")
        tls = ""
        if authority is not None:
            folder = server.folder
            issued = authority.issue_cert("127.0.0.1")
            issued.cert_chain_pems[0].write_to_path(folder / "front.crt")
            issued.private_key_pem.write_to_path(folder / "front.key")
            tls = f"ssl_certificate {folder}/front.crt; ssl_certificate_key {folder}/front.key;"
        text = (
            f"server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''}; {tls} location / {{ "
            f"proxy_pass {upstream or server.url}; proxy_http_version 1.1; {location} }} }}"
        )
        try:
            await start_nginx(stack, port, text)
        except Missing as problem:
            unavailable(str(problem))
        return f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    return started


def case_of(server: InProcessServer, url: str = "", **more: Any) -> Case:
    return Case(config=server.app.config, url=url or server.url, clock=SystemClock(), database=None, **more)


async def found(server: InProcessServer, url: str = "", **more: Any) -> dict[str, Finding]:
    """What is found, by check."""
    return {each.check.removeprefix("way: "): each for each in await check_way(case_of(server, url, **more))}


def verdicts(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: str(each.verdict) for name, each in findings.items()}


GOOD = {
    "GET /health": "PASS",
    "GET /key": "PASS",
    "POST /ts2021": "PASS",
    "long polling": "PASS",
    "idle connection": "SKIP",
    "WebSocket /ts2021": "PASS",
    "/derp": "SKIP",
    "/generate_204": "PASS",
}


async def test_straight_to_the_server_everything_passes(server: InProcessServer) -> None:
    assert verdicts(await found(server)) == GOOD


async def test_a_proxy_that_is_set_up_well_passes(server: InProcessServer, nginx: Behind) -> None:
    findings = await found(server, await nginx(UPGRADES))
    assert verdicts(findings) == {**GOOD, "trusted_proxies": "WARN"}
    assert "nginx is in front" in findings["trusted_proxies"].what


async def test_a_proxy_that_is_trusted_is_told_so(server: InProcessServer, nginx: Behind) -> None:
    case = case_of(server, await nginx(UPGRADES))
    trusting = replace(case, config=replace(case.config, trusted_proxies=(parse_proxy("127.0.0.1"),)))
    findings = {each.check: each for each in await check_way(trusting)}
    assert str(findings["trusted_proxies"].verdict) == "PASS"


async def test_a_proxy_without_the_upgrade_headers_is_named_with_its_remedy(
    server: InProcessServer, nginx: Behind
) -> None:
    findings = await found(server, await nginx())
    assert verdicts(findings)["GET /key"] == "PASS"
    broken = findings["POST /ts2021"]
    assert broken.verdict is Verdict.FAIL
    assert broken.what == "nginx took the Upgrade header away before our server saw it"
    assert "proxy_http_version 1.1" in broken.next
    assert "Upgrade $http_upgrade" in broken.next
    assert findings["WebSocket /ts2021"].verdict is Verdict.WARN
    assert "long polling" not in findings


async def test_nginx_may_buffer_because_upgraded_connections_are_left_alone(
    server: InProcessServer, nginx: Behind
) -> None:
    """`proxy_buffering` is about answers, and an upgraded connection has none: the doctor must not cry wolf."""
    url = await nginx(f"{UPGRADES} proxy_buffering on; proxy_request_buffering on;")
    assert verdicts(await found(server, url)) == {**GOOD, "trusted_proxies": "WARN"}


async def test_a_short_time_limit_shows_when_a_connection_is_held(
    server: InProcessServer, nginx: Behind
) -> None:
    url = await nginx(f"{UPGRADES} proxy_read_timeout 1s;")
    findings = await found(server, url, idle_s=2.5)
    assert findings["idle connection"].verdict is Verdict.FAIL
    assert "nginx cut a connection that was silent" in findings["idle connection"].what
    assert "proxy_read_timeout" in findings["idle connection"].next
    assert (await found(server, idle_s=2.5))["idle connection"].verdict is Verdict.PASS


async def test_the_embedded_relay_is_tried_behind_https(server: InProcessServer, nginx: Behind) -> None:
    """With the headers it greets; without them it is the proxy's fault."""
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    assert (await found(server, await nginx(UPGRADES, authority=authority), trust=trust))[
        "/derp"
    ].verdict == "PASS"
    broken = (await found(server, await nginx(authority=authority), trust=trust))["/derp"]
    assert (broken.verdict, "426" in broken.what) == (Verdict.FAIL, True)


async def test_behind_a_bad_certificate_the_rest_is_looked_at_all_the_same(
    server: InProcessServer, nginx: Behind
) -> None:
    findings = await found(server, await nginx(authority=trustme.CA()))
    assert "took the Upgrade header away" in findings["POST /ts2021"].what


async def test_a_proxy_whose_server_is_down_is_told_apart_from_a_dead_proxy(
    server: InProcessServer, nginx: Behind
) -> None:
    nobody = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    behind = (await found(server, await nginx(UPGRADES, upstream=nobody)))["GET /health"]
    assert (behind.verdict, behind.what.partition(" (")[0]) == (
        Verdict.FAIL,
        "nginx cannot reach the server behind it",
    )
    dead = (await found(server, nobody))["connection"]
    assert (dead.verdict, "Connection refused" in dead.what) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    ("location", "what"),
    [
        ("return 301 https://elsewhere.example/;", "301 to https://elsewhere.example/"),
        ("return 401;", "nginx asks for a login (401"),
        ("return 200 hello;", "nginx answers, and not a headscale (200 OK: hello)"),
    ],
)
async def test_what_is_no_headscale_is_said(
    server: InProcessServer, nginx: Behind, location: str, what: str
) -> None:
    findings = await found(server, await nginx(location))
    assert findings["GET /health"].what.startswith(what)
    assert verdicts(findings) == {"GET /health": "FAIL"}


async def test_what_the_server_says_is_wrong_with_it_is_told(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning, after which all else is looked at; and what keeps it from working, after which nothing is."""
    server.app.vitals.lag.note(2.0)
    findings = await found(server)
    assert findings["GET /health"].verdict is Verdict.WARN
    assert "too busy to answer" in findings["GET /health"].what
    assert findings["POST /ts2021"].verdict is Verdict.PASS

    async def away() -> bool:
        return False

    monkeypatch.setattr(server.app.vitals.health, "_answers", away)
    findings = await found(server)
    assert verdicts(findings) == {"GET /health": "FAIL"}
    assert "ill (500: the database does not answer" in findings["GET /health"].what


@pytest.mark.parametrize(
    ("location", "said"),
    [("return 404;", "404"), ("return 204;", "without X-Tailscale-Response")],
)
async def test_who_answers_the_captive_portal_check_for_us_is_warned_of(
    server: InProcessServer, nginx: Behind, location: str, said: str
) -> None:
    findings = await found(server, await nginx(f"{UPGRADES} }} location = /generate_204 {{ {location}"))
    assert verdicts(findings) == {**GOOD, "trusted_proxies": "WARN", "/generate_204": "WARN"}
    assert said in findings["/generate_204"].what
    assert "nginx" in findings["/generate_204"].next


async def test_another_headscale_behind_the_name_is_noticed(server: InProcessServer) -> None:
    case = case_of(server)
    other = server.folder / "other.key"
    other.write_text("privkey:" + "11" * 32)
    [finding] = [
        each
        for each in await check_way(replace(case, config=replace(case.config, noise_key_path=other)))
        if each.check == "way: GET /key"
    ]
    assert (finding.verdict, "another server's key" in finding.what) == (Verdict.WARN, True)


async def test_who_holds_bytes_back_is_found(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A middle box that lets the upgrade and the handshake through, and then waits until it has a lot."""
    monkeypatch.setattr(module, "PROMPT_S", 0.5)
    async with AsyncExitStack() as stack:
        url = await _middle_box(stack, server, lets=3)
        findings = await found(server, url)
    assert verdicts(findings)["POST /ts2021"] == "PASS"
    assert findings["long polling"].verdict is Verdict.FAIL
    assert "it buffers" in findings["long polling"].what


async def test_who_swallows_all_that_follows_the_upgrade_is_found(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROMPT_S", 0.5)
    async with AsyncExitStack() as stack:
        url = await _middle_box(stack, server, lets=0)
        broken = (await found(server, url))["POST /ts2021"]
    assert (broken.verdict, "then the handshake was not" in broken.what) == (Verdict.FAIL, True)


async def _middle_box(stack: AsyncExitStack, server: InProcessServer, *, lets: int) -> str:
    """Passes all to the server; of what comes back behind a 101, so many pieces, and then nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(server.settings.host, server.settings.port)

        async def there() -> None:
            while data := await reader.read(65536):
                up_writer.write(data)

        forward = asyncio.create_task(there())
        passed = -1
        try:
            while data := await up_reader.read(65536):
                if passed < 0 and data.startswith(b"HTTP/1.1 101"):
                    head, end, data = data.partition(b"\r\n\r\n")
                    writer.write(head + end)
                    passed = 0
                if passed < lets and data:
                    writer.write(data)
                    passed += passed >= 0
        finally:
            forward.cancel()
            up_writer.close()
            writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    await stack.enter_async_context(made)
    return f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}"
