"""What a server needs around it: a right clock, names that resolve, its own socket, an identity provider."""

import asyncio
import socket
import stat
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import dns.asyncquery
import dns.exception
import dns.message
import dns.rdatatype
import msgspec

from headscale.config.settings import OIDCProvider
from headscale.doctor.findings import Case, Finding, failed, passed, skipped, warned
from headscale.doctor.wire import Line, NoWay, parts_of

CLOCK_WARN: Final = timedelta(seconds=10)
CLOCK_FAIL: Final = timedelta(minutes=5)
ASK_S: Final = 5.0
DISCOVERY: Final = "/.well-known/openid-configuration"


async def check_clock(case: Case) -> list[Finding]:
    """Against the Date that a web server tells: the one of --time-url, else the server's own URL."""
    url = case.time_url or case.url
    try:
        async with Line(url, case.trust) as line:
            answer = await line.ask("GET", "/")
        there = parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
    except (NoWay, KeyError, ValueError) as problem:
        return [skipped("clock", f"{url} tells no time: {problem}", "Compare with another: --time-url URL")]
    off = case.clock.now() - there
    side = "ahead of" if off > timedelta() else "behind"
    text = f"this machine's clock is {abs(off.total_seconds()):.0f} s {side} {url}"
    then = "Let it be set by NTP (systemd-timesyncd, chrony): keys end and certificates begin by the clock"
    if abs(off) >= CLOCK_FAIL:
        return [failed("clock", text, then)]
    if abs(off) >= CLOCK_WARN:
        return [warned("clock", text, then)]
    return [passed("clock", f"as that of {url}")]


async def check_dns(case: Case) -> list[Finding]:
    """The server's name resolves, and the nameservers that clients are told answer."""
    found = []
    settings = case.config.tailnet.dns
    host = parts_of(case.url).hostname or ""
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        found.append(
            passed("DNS of the server", f"{host} is {', '.join(sorted({str(a[4][0]) for a in addresses}))}")
        )
    except OSError as problem:
        then = f"Make a record for {host}, or write another name in server_url"
        found.append(failed("DNS of the server", f"{host} does not resolve: {problem.strerror}", then))
    if not settings.magic_dns:
        found.append(passed("MagicDNS", "it is off: nodes are reached by address"))
    elif settings.base_domain.endswith(".local"):
        found.append(
            warned(
                "MagicDNS",
                f"{settings.base_domain} ends in .local, which is mDNS's",
                "Choose another dns.base_domain",
            )
        )
    else:
        found.append(passed("MagicDNS", f"nodes are named below {settings.base_domain}"))
    servers = {server for group in (settings.nameservers, *settings.split.values()) for server in group}
    checked = await asyncio.gather(*(_nameserver(server) for server in sorted(servers)))
    return [*found, *checked]


async def _nameserver(server: str) -> Finding:
    """A nameserver that only clients can reach is no mistake, so silence is a warning."""
    check = f"nameserver {server}"
    query = dns.message.make_query(".", dns.rdatatype.NS)
    try:
        if server.startswith("https://"):
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as session:
                headers = {"Content-Type": "application/dns-message", "Accept": "application/dns-message"}
                async with session.post(server, data=query.to_wire(), headers=headers) as answer:
                    dns.message.from_wire(await answer.read())
        else:
            host, port = _host_and_port(server)
            await dns.asyncquery.udp(query, host, port=port, timeout=ASK_S / 2)
    except (OSError, TimeoutError, aiohttp.ClientError, dns.exception.DNSException) as problem:
        then = "See that it runs and that clients reach it; one inside the tailnet may answer them alone"
        return warned(check, f"it does not answer here ({type(problem).__name__})", then)
    return passed(check, "it answers")


def _host_and_port(server: str) -> tuple[str, int]:
    if server.startswith("["):
        host, _, port = server[1:].partition("]:")
        return host.rstrip("]"), int(port or 53)
    host, _, port = server.partition(":") if server.count(":") == 1 else (server, "", "")
    return host, int(port or 53)


async def check_socket(case: Case) -> list[Finding]:
    """The administrators' socket: there, closed to others, and answering."""
    path = case.config.unix_socket
    in_use = case.database is not None and case.database.in_use
    try:
        mode = path.stat().st_mode
    except OSError:
        if in_use and case.config.postgres is not None:
            then = (
                "It may run on another machine, which is well: a second one does not start on this database"
            )
            return [warned("socket", f"a server has the database, and there is no {path} here", then)]
        if in_use:
            then = "See unix_socket: the running server may have another configuration"
            return [failed("socket", f"a server runs, and there is no {path}", then)]
        return [skipped("socket", "no server runs here", "Start it: `headscale serve`")]
    if not stat.S_ISSOCK(mode):
        return [failed("socket", f"{path} is no socket", "Name another path in unix_socket")]
    found = [_mode(path, mode)]
    try:
        timeout = aiohttp.ClientTimeout(total=ASK_S)
        async with aiohttp.ClientSession(
            "http://headscale", connector=aiohttp.UnixConnector(str(path)), timeout=timeout
        ) as session:
            async with session.get("/api/v1/health") as answer:
                document = await answer.json(content_type=None)
    except PermissionError:
        return [*found, failed("socket", f"you may not use {path}", "Run this as the server's user or group")]
    except (OSError, ValueError, TimeoutError, aiohttp.ClientError) as problem:
        then = (
            "Start the server; it replaces a socket that was left behind"
            if not in_use
            else "See the server's log"
        )
        text = f"nothing answers at {path} ({type(problem).__name__})"
        return [*found, failed("socket", text, then) if in_use else skipped("socket", text, then)]
    if answer.status != 200 or not isinstance(document, dict):
        return [*found, failed("socket", f"the server is ill ({answer.status})", "See the server's log")]
    if document.get("policyProblem"):
        then = "Set a policy that can be used: `headscale policy set --file FILE`"
        return [*found, warned("socket", str(document["policyProblem"]), then)]
    return [*found, passed("socket", f"the server answers at {path}")]


def _mode(path: Path, mode: int) -> Finding:
    if mode & 0o002:
        return failed(
            "socket mode", f"everybody may administer by {path}", 'Set unix_socket_permission to "0770"'
        )
    return passed("socket mode", f"{path} ({stat.S_IMODE(mode):04o})")


async def check_oidc(case: Case) -> list[Finding]:
    """Each identity provider that is configured: reachable, who it says it is, and with what a login needs."""
    providers = case.config.oidc
    if not providers:
        return [skipped("OIDC", "oidc.issuer is not set")]
    return list(await asyncio.gather(*(_provider(case, provider) for provider in providers)))


async def _provider(case: Case, provider: OIDCProvider) -> Finding:
    is_first = provider is case.config.oidc[0]
    check = "OIDC" if len(case.config.oidc) == 1 else f"OIDC {provider.name}"
    key = "oidc.issuer" if is_first else f"issuer of the entry {provider.name} in oidc.others"
    issuer = provider.issuer
    url = issuer.rstrip("/") + DISCOVERY
    try:
        connector = aiohttp.TCPConnector(ssl=case.trust)
        timeout = aiohttp.ClientTimeout(total=ASK_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            async with session.get(url) as answer:
                status, body = answer.status, await answer.read()
    except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as problem:
        then = "Let this machine reach it; see the name and the certificate"
        return failed(check, f"{url} cannot be read: {problem or type(problem).__name__}", then)
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        document = {}
    if status != 200 or not document:
        then = "Write the issuer as the provider names it, without /.well-known"
        return failed(check, f"{url} answers {status} and is no discovery document", then)
    if document.get("issuer") != issuer:
        then = f"Write exactly {document.get('issuer')!r} as {key}, slash at the end included"
        return failed(check, f"the provider calls itself {document.get('issuer')!r}, not {issuer!r}", then)
    needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    missing = [name for name in needed if not document.get(name)]
    if missing:
        return failed(check, f"the provider names no {', '.join(missing)}", "See the provider's settings")
    return passed(check, f"{issuer} answers, with all that a login needs")
