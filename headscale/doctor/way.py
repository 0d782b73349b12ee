"""The way from a client to the server, hop by hop: every request that a client makes until it is in.

A proxy may answer plain requests well and break the upgrade, or hold back what comes after it. What breaks is named,
with what that proxy needs.
"""

import asyncio
import base64
import os
import ssl
import time
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import msgspec

from headscale.doctor.certificate import trusting_anybody
from headscale.doctor.findings import Case, Finding, failed, passed, skipped, warned
from headscale.doctor.proxies import UNKNOWN, Proxy, provoked, proxy_of
from headscale.doctor.wire import Answer, Line, NoWay, parts_of, port_of
from headscale.errors import HeadscaleError, Malformed
from headscale.keys import MachineKey, generate_private_key, machine_key, parse_machine_key, parse_private_key
from headscale.ts2021 import client
from headscale.ts2021.handshake import generate_key, load_key

VERSION: Final = 142
PROTOCOL: Final = "tailscale-control-protocol"
HANDSHAKE: Final = "X-Tailscale-Handshake"
# A request through an open session; the server answers it at once.
QUESTION: Final = "/machine/doctor"
QUESTIONS: Final = 3
PAUSE_S: Final = 0.2
PROMPT_S: Final = 3.0
_BUFFERS: Final = "Switch buffering of requests and answers off for this name"


async def check_way(case: Case) -> list[Finding]:
    """Reach the server as clients do: plain requests, the upgrade, a session, the browser's way, the relay."""
    try:
        health, key, found = await _plain(case)
    except NoWay as problem:
        if not isinstance(problem.__cause__, ssl.SSLCertVerificationError):
            return [_unreachable(case, problem)]
        # `certificate` says what is wrong with it; here is what comes behind it.
        return await check_way(replace(case, trust=trusting_anybody()))
    if key is None:
        return found
    proxy = proxy_of(health) or await _hidden(case)
    found += _proxied(case, proxy)
    found += await _control(case, key, proxy)
    found += await _browser(case, key, proxy)
    found += await _relay(case, proxy)
    found += await _portal(case, proxy)
    return found


def _unreachable(case: Case, problem: NoWay) -> Finding:
    parts = parts_of(case.url)
    return failed(
        "way: connection",
        f"{problem} (from this machine to {case.url})",
        f"See that the name {parts.hostname} leads here, that the server or the proxy listens at port "
        f"{port_of(parts)}, and that no firewall stands between",
    )


# ---- plain requests


async def _plain(case: Case) -> tuple[Answer, MachineKey | None, list[Finding]]:
    """/health and /key. Raises NoWay when nothing answers."""
    async with Line(case.url, case.trust) as line:
        health = await line.ask("GET", "/health")
    proxy = proxy_of(health)
    if health.status in (301, 302, 303, 307, 308):
        to = health.headers.get("location", "elsewhere")
        then = f"Write where it leads in server_url: clients are sent away from {case.url}"
        return health, None, [failed("way: GET /health", f"{health.status} to {to}", then)]
    is_ours = health.headers.get("content-type", "").startswith("application/health+json")
    if not is_ours:
        return health, None, [_other("way: GET /health", health, proxy)]
    trouble = _trouble(health)
    if health.status != 200:
        what = f"the server is ill ({health.status}{f': {trouble}' if trouble else ''})"
        return health, None, [failed("way: GET /health", what, "See the server's log")]
    found = [
        warned("way: GET /health", f"a headscale answers, and says: {trouble}", "See the server's log")
        if trouble
        else passed("way: GET /health", "a headscale answers")
    ]
    async with Line(case.url, case.trust) as line:
        answer = await line.ask("GET", f"/key?v={VERSION}")
    try:
        key = parse_machine_key(msgspec.json.decode(answer.body, type=dict[str, str])["publicKey"])
    except (msgspec.MsgspecError, KeyError, Malformed):
        return health, None, [*found, _other("way: GET /key", answer, proxy)]
    return health, key, [*found, _is_our_key(case, key)]


def _trouble(health: Answer) -> str:
    """What the server says is wrong with it; empty for nothing."""
    try:
        return str(msgspec.json.decode(health.body, type=dict[str, Any]).get("output", ""))[:200]
    except msgspec.MsgspecError:
        return ""


def _other(check: str, answer: Answer, proxy: Proxy | None) -> Finding:
    """Something answers that is no headscale."""
    who = (proxy or UNKNOWN).name
    said = f"{answer.status} {answer.reason}".strip() + (f": {answer.text}" if answer.text else "")
    if answer.status in (502, 503, 504, 520, 521, 522, 523, 524):
        return failed(
            check,
            f"{who} cannot reach the server behind it ({said})",
            "See that the server runs, and that the proxy's upstream is its listen_addr",
        )
    if answer.status in (401, 403):
        return failed(
            check, f"{who} asks for a login ({said})", "Let this name through without one: clients have none"
        )
    return failed(
        check, f"{who} answers, and not a headscale ({said})", "Point this name's location / to the server"
    )


def _is_our_key(case: Case, key: MachineKey) -> Finding:
    """Whether the server there is the one of this configuration."""
    try:
        own = machine_key(parse_private_key(case.config.noise_key_path.read_text("ascii")).public)
    except (OSError, ValueError, HeadscaleError):
        return passed("way: GET /key", "it has a key (there is none here to compare it with)")
    if own == key:
        return passed("way: GET /key", "it is the key of this configuration")
    return warned(
        "way: GET /key",
        "it is another server's key than the one of this configuration",
        "See that the proxy leads to this server, or ask with the other one's configuration (-c)",
    )


def _proxied(case: Case, proxy: Proxy | None) -> list[Finding]:
    if proxy is None:
        return []
    if not case.config.trusted_proxies:
        return [
            warned(
                "trusted_proxies",
                f"{proxy.name} is in front, and it is not trusted to say who asks: all clients share its address",
                "Set trusted_proxies to its addresses, such as [127.0.0.1/32]",
            )
        ]
    return [passed("trusted_proxies", f"{proxy.name} is in front, and some proxy is trusted")]


async def _hidden(case: Case) -> Proxy | None:
    """A proxy that passes our server's name on shows itself when it is asked nonsense."""
    try:
        async with Line(case.url, case.trust) as line:
            return provoked(await line.provoke())
    except NoWay:
        return None


# ---- the control protocol


async def _control(case: Case, key: MachineKey, proxy: Proxy | None) -> list[Finding]:
    """The upgrade, the handshake, and requests through the session."""
    session = client.ClientConnection(
        key, version=VERSION, static=load_key(generate_private_key()), ephemeral=generate_key()
    )
    headers = {
        "Upgrade": PROTOCOL,
        "Connection": "upgrade",
        HANDSHAKE: base64.b64encode(session.initiation).decode(),
    }
    check = "way: POST /ts2021"
    try:
        async with Line(case.url, case.trust) as line:
            answer = await line.ask("POST", "/ts2021", headers)
            if answer.status != 101:
                return [_not_upgraded(check, answer, proxy)]
            try:
                await _until(line, session, client.Established)
            except (TimeoutError, NoWay) as problem:
                return [
                    _broken(check, "the upgrade was answered, and then the handshake was not", proxy, problem)
                ]
            found = [passed(check, "upgraded, and the server proved its key")]
            return [*found, *await _talk(case, line, session, proxy)]
    except NoWay as problem:
        return [_broken(check, str(problem), proxy, problem)]


def _not_upgraded(check: str, answer: Answer, proxy: Proxy | None) -> Finding:
    """What came instead of a 101, and who is to blame."""
    who = proxy_of(answer) or proxy
    said = f"{answer.status} {answer.reason}".strip() + (f": {answer.text}" if answer.text else "")
    if "missing or unknown upgrade" in answer.text:
        blamed = who or UNKNOWN
        return failed(
            check, f"{blamed.name} took the Upgrade header away before our server saw it", blamed.upgrades
        )
    if f"missing {HANDSHAKE}" in answer.text:
        blamed = who or UNKNOWN
        return failed(check, f"{blamed.name} took the {HANDSHAKE} header away", "Let it pass all headers on")
    if who is None:
        return failed(check, f"the server refused the upgrade: {said}", "See the server's log")
    return failed(check, f"{who.name} answered {said} to the upgrade", who.upgrades)


def _broken(check: str, what: str, proxy: Proxy | None, problem: Exception) -> Finding:
    if proxy is None:
        return failed(
            check,
            what,
            "See what stands between (a firewall that looks into connections?), and the server's log",
        )
    if isinstance(problem, TimeoutError):
        return failed(check, f"{what}: {proxy.name} holds back what follows", f"{_BUFFERS}. {proxy.upgrades}")
    return failed(check, what, proxy.upgrades)


async def _talk(
    case: Case, line: Line, session: client.ClientConnection, proxy: Proxy | None
) -> list[Finding]:
    """Small questions with pauses: whoever holds bytes back until there are many shows now."""
    slowest = 0.0
    try:
        for _ in range(QUESTIONS):
            slowest = max(slowest, await _question(line, session))
            await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        who = (proxy or UNKNOWN).name
        what = (
            f"an answer of a few bytes did not come within {PROMPT_S:g} s: {who} waits for more (it buffers)"
        )
        return [failed("way: long polling", what, f"{_BUFFERS}: a map stream sends little and rarely")]
    except NoWay as problem:
        return [_broken("way: long polling", f"the open session broke: {problem}", proxy, problem)]
    found = [passed("way: long polling", f"small answers come at once ({slowest * 1000:.0f} ms at most)")]
    return [*found, await _idle(case, line, session, proxy)]


async def _idle(case: Case, line: Line, session: client.ClientConnection, proxy: Proxy | None) -> Finding:
    """Whether a silent connection is left alone."""
    check = "way: idle connection"
    if not case.idle_s:
        return skipped(check, "not tried", "Ask with --idle 65: map streams are silent for up to a minute")
    try:
        deadline = time.monotonic() + case.idle_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                data = await line.read(left)
            except TimeoutError:
                break
            if not data:
                raise NoWay("closed")
            session.receive(data)
        await _question(line, session)
    except (NoWay, TimeoutError):
        who = (proxy or UNKNOWN).name
        return failed(
            check,
            f"{who} cut a connection that was silent for less than {case.idle_s:g} s",
            "Raise its time limit for idle or tunnelled connections to an hour (nginx: proxy_read_timeout 1h; "
            "HAProxy: timeout tunnel 1h)",
        )
    return passed(check, f"a connection lives through {case.idle_s:g} s of silence")


async def _question(line: Line, session: client.ClientConnection) -> float:
    """Ask something through the session; how long the answer took. Raises TimeoutError or NoWay."""
    began = time.monotonic()
    stream = session.request("GET", QUESTION)
    await _until(line, session, client.Response, stream)
    return time.monotonic() - began


async def _until(
    line: Line, session: client.ClientConnection, kind: type[client.Event], stream: int | None = None
) -> None:
    """Read until the server says this. Raises TimeoutError or NoWay."""
    line.write(session.data_to_send())
    async with asyncio.timeout(PROMPT_S):
        while True:
            data = await line.read(PROMPT_S)
            if not data:
                raise NoWay("the connection was closed")
            for event in session.receive(data):
                if isinstance(event, client.Closed):
                    raise NoWay(event.reason)
                if isinstance(event, kind) and stream in (None, getattr(event, "stream_id", None)):
                    return
            line.write(session.data_to_send())


# ---- the other upgrades


async def _browser(case: Case, key: MachineKey, proxy: Proxy | None) -> list[Finding]:
    """GET /ts2021 as a WebSocket: only clients in browsers come so."""
    session = client.ClientConnection(
        key, version=VERSION, static=load_key(generate_private_key()), ephemeral=generate_key()
    )
    handshake = quote(base64.b64encode(session.initiation).decode(), safe="")
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": PROTOCOL,
    }
    check = "way: WebSocket /ts2021"
    try:
        async with Line(case.url, case.trust) as line:
            answer = await line.ask("GET", f"/ts2021?{HANDSHAKE}={handshake}", headers)
    except NoWay as problem:
        return [warned(check, str(problem), (proxy or UNKNOWN).upgrades)]
    if answer.status == 101:
        return [passed(check, "clients in browsers get through")]
    said = f"{answer.status} {answer.reason}".strip()
    return [warned(check, f"clients in browsers do not get through ({said})", (proxy or UNKNOWN).upgrades)]


async def _relay(case: Case, proxy: Proxy | None) -> list[Finding]:
    """/derp at the same name: where our relay is told to be when the URL is https."""
    check = "way: /derp"
    if case.config.derp is None:
        return [skipped(check, "the embedded relay is off")]
    if parts_of(case.url).scheme != "https":
        return [skipped(check, "the embedded relay has a listener of its own")]
    try:
        async with Line(case.url, case.trust) as line:
            answer = await line.ask("GET", "/derp", {"Upgrade": "DERP", "Connection": "Upgrade"})
            greeting = await line.read(PROMPT_S) if answer.status == 101 else b""
    except (NoWay, TimeoutError) as problem:
        return [_broken(check, str(problem) or "no greeting came", proxy, problem)]
    if answer.status == 101 and greeting:
        return [passed(check, "the embedded relay answers through it")]
    said = f"{answer.status} {answer.reason}".strip()
    who = proxy_of(answer) or proxy or UNKNOWN
    return [failed(check, f"clients do not reach the embedded relay ({said})", who.upgrades)]


async def _portal(case: Case, proxy: Proxy | None) -> list[Finding]:
    """/generate_204 of the relay, by which clients tell a captive portal from a network."""
    check = "way: /generate_204"
    if case.config.derp is None:
        return [skipped(check, "the embedded relay is off")]
    challenge = f"ts_{os.urandom(4).hex()}"
    try:
        async with Line(case.url, case.trust) as line:
            answer = await line.ask("GET", "/generate_204", {"X-Tailscale-Challenge": challenge})
    except NoWay as problem:
        return [warned(check, str(problem), f"Let {(proxy or UNKNOWN).name} pass every path on")]
    if answer.status == 204 and answer.headers.get("x-tailscale-response") == f"response {challenge}":
        return [passed(check, "no captive portal is suspected")]
    said = f"{answer.status} {answer.reason}".strip()
    if answer.status == 204:
        said = "204, without X-Tailscale-Response"
    return [
        warned(
            check,
            f"clients may take their network for a captive portal ({said})",
            f"Let {(proxy_of(answer) or proxy or UNKNOWN).name} pass every path and every header on",
        )
    ]
