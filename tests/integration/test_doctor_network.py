"""The doctor looks at certificates, relays, clocks, nameservers and identity providers, each a real one on loopback."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from harness.ports import free_port
from headscale import tls
from headscale.clock import ManualClock, SystemClock
from headscale.config.file import load_config
from headscale.config.settings import Config, DerpSources, OIDCProvider
from headscale.derp.stun import StunProtocol
from headscale.doctor import relays, surroundings
from headscale.doctor.certificate import check_certificate
from headscale.doctor.findings import Case, Finding, Verdict
from headscale.doctor.relays import check_relays
from headscale.doctor.surroundings import check_clock, check_dns, check_oidc, check_socket
from headscale.tailcfg.derpmap import DERPNode, DERPRegion

DAY = timedelta(days=1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Without an embedded relay: relays are what a test adds."""
    (tmp_path / "map.yaml").write_text("regions: {}")
    (tmp_path / "config.yaml").write_text(
        f"data_dir: {tmp_path}\nderp: {{server: {{enabled: false}}, paths: [map.yaml]}}\n"
        "server_url: http://127.0.0.1:1\ndns: {base_domain: tail.example.net}\n"
    )
    return load_config(tmp_path / "config.yaml", {})


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


def case_of(config: Config, url: str = "http://127.0.0.1:1", **more: Any) -> Case:
    return Case(config=config, url=url, **{"clock": SystemClock(), "database": None, **more})


async def tls_server(
    stack: AsyncExitStack, folder: Path, cert: Any, *, chain: bool = True, key: Any = None
) -> int:
    """Shows this certificate of trustme's, its chain with it or not; its port."""
    pems = cert.cert_chain_pems if chain else cert.cert_chain_pems[:1]
    (folder / "shown.crt").write_bytes(b"".join(pem.bytes() for pem in pems))
    (folder / "shown.key").write_bytes(cert.private_key_pem.bytes())
    return await _tls(stack, folder)


async def _tls(stack: AsyncExitStack, folder: Path) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "shown.crt", folder / "shown.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    stack.push_async_callback(_stop, made)
    return int(made.sockets[0].getsockname()[1])


async def _stop(made: asyncio.Server) -> None:
    made.close()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# ---- certificates


async def certified(
    stack: AsyncExitStack, config: Config, cert: Any, trust: ssl.SSLContext, **more: Any
) -> Finding:
    port = await tls_server(stack, config.data_dir, cert, **more)
    [finding] = await check_certificate(case_of(config, f"https://127.0.0.1:{port}", trust=trust))
    return finding


async def test_a_good_certificate_passes(stack: AsyncExitStack, config: Config) -> None:
    authority = trustme.CA()
    finding = await certified(stack, config, authority.issue_cert("127.0.0.1"), trusting(authority))
    assert finding.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("days", "verdict", "words"),
    [(-1, Verdict.FAIL, "ended on"), (13, Verdict.WARN, "in 12 days"), (15, Verdict.PASS, "trusted, until")],
)
async def test_its_end_is_seen_before_and_after(
    stack: AsyncExitStack, config: Config, days: int, verdict: Verdict, words: str
) -> None:
    authority, now = trustme.CA(), datetime.now(UTC)
    cert = authority.issue_cert("127.0.0.1", not_before=now - 30 * DAY, not_after=now + days * DAY)
    finding = await certified(stack, config, cert, trusting(authority))
    assert (finding.verdict, words in finding.what) == (verdict, True), finding


async def test_a_certificate_for_another_name_is_said_with_its_names(
    stack: AsyncExitStack, config: Config
) -> None:
    authority = trustme.CA()
    cert = authority.issue_cert("other.example", "192.0.2.1")
    finding = await certified(stack, config, cert, trusting(authority))
    assert finding.verdict is Verdict.FAIL
    assert finding.what == "the certificate is for other.example, 192.0.2.1 and not for 127.0.0.1"


async def test_a_self_signed_certificate_is_called_so(stack: AsyncExitStack, config: Config) -> None:
    made = tls.create_certificate(["127.0.0.1"], now=datetime.now(UTC))
    folder = config.data_dir
    tls.save_certificate(made, certificate_path=folder / "shown.crt", key_path=folder / "shown.key")
    port = await _tls(stack, folder)
    [finding] = await check_certificate(case_of(config, f"https://127.0.0.1:{port}"))
    assert (finding.verdict, finding.what) == (Verdict.FAIL, "the certificate of 127.0.0.1 is self-signed")


async def test_a_chain_that_lacks_its_middle_is_told_apart_from_an_unknown_authority(
    stack: AsyncExitStack, config: Config
) -> None:
    authority = trustme.CA()
    cert = authority.create_child_ca().issue_cert("127.0.0.1")
    whole = await certified(stack, config, cert, trusting(authority))
    assert whole.verdict is Verdict.PASS
    bare = await certified(stack, config, cert, trusting(authority), chain=False)
    assert (bare.verdict, "sends only its own certificate" in bare.what) == (Verdict.FAIL, True)
    assert "fullchain.pem" in bare.next
    unknown = await certified(stack, config, cert, ssl.create_default_context())
    assert (unknown.verdict, "Install the authority" in unknown.next) == (Verdict.FAIL, True)


async def test_where_nobody_speaks_tls_that_is_said(stack: AsyncExitStack, config: Config) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    made = await asyncio.start_server(plain, "127.0.0.1", 0)
    stack.push_async_callback(_stop, made)
    [finding] = await check_certificate(
        case_of(config, f"https://127.0.0.1:{made.sockets[0].getsockname()[1]}")
    )
    assert (finding.verdict, finding.what.startswith("no TLS with 127.0.0.1")) == (Verdict.FAIL, True)


# ---- relays


def with_relay(config: Config, *nodes: DERPNode) -> Config:
    """A map of one region."""
    region = DERPRegion(region_id=5, region_code="five", region_name="Five", nodes=nodes)
    lines = [
        f"      - {{name: {n.name}, hostname: 127.0.0.1, ipv4: 127.0.0.1, derpport: {n.derp_port}, "
        f"stunport: {n.stun_port}, certname: '{n.cert_name}'}}"
        for n in region.nodes
    ]
    text = "\n".join(
        ["regions:", "  5:", "    regionid: 5", "    regioncode: five", "    regionname: Five", "    nodes:"]
    )
    path = config.data_dir / "map.yaml"
    path.write_text("\n".join([text, *lines, ""]))
    return replace(config, derp_sources=DerpSources(paths=(path,)))


def relay(name: str, *, derp: int, stun: int, pinned: str = "") -> DERPNode:
    return DERPNode(
        name=name, region_id=5, host_name="127.0.0.1", derp_port=derp, stun_port=stun, cert_name=pinned
    )


async def a_relay(stack: AsyncExitStack, folder: Path) -> tuple[int, int, str]:
    """One that works as far as the doctor looks: ports for TLS and STUN, and the pin."""
    made = tls.create_certificate(["127.0.0.1"], now=datetime.now(UTC))
    tls.save_certificate(made, certificate_path=folder / "shown.crt", key_path=folder / "shown.key")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        StunProtocol, local_addr=("127.0.0.1", 0)
    )
    stack.callback(transport.close)
    return await _tls(stack, folder), transport.get_extra_info("sockname")[1], tls.pin(made.certificate)


async def relays_of(config: Config) -> dict[str, Finding]:
    return {each.check: each for each in await check_relays(case_of(config))}


async def test_a_relay_that_works_passes(stack: AsyncExitStack, config: Config) -> None:
    derp, stun, pin = await a_relay(stack, config.data_dir)
    found = await relays_of(with_relay(config, relay("a", derp=derp, stun=stun, pinned=pin)))
    assert {name: str(each.verdict) for name, each in found.items()} == {
        "relay map": "PASS",
        "relay five/a TLS": "PASS",
        "relay five/a STUN": "PASS",
    }


async def test_another_certificate_than_the_pinned_one_fails(stack: AsyncExitStack, config: Config) -> None:
    derp, stun, _ = await a_relay(stack, config.data_dir)
    found = await relays_of(
        with_relay(config, relay("a", derp=derp, stun=stun, pinned="sha256-raw:" + "0" * 64))
    )
    assert found["relay five/a TLS"].verdict is Verdict.FAIL
    assert "another certificate" in found["relay five/a TLS"].what


async def test_closed_and_silent_ports_fail_with_what_to_open(
    stack: AsyncExitStack, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "STUN_S", 0.1)
    derp, _, pin = await a_relay(stack, config.data_dir)
    closed = free_port("127.0.0.1", udp=True)
    found = await relays_of(
        with_relay(config, relay("a", derp=free_port("127.0.0.1"), stun=closed, pinned=pin))
    )
    assert [found[f"relay five/a {kind}"].verdict for kind in ("TLS", "STUN")] == [Verdict.FAIL, Verdict.FAIL]
    assert "Connection refused" in found["relay five/a STUN"].what
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        found = await relays_of(with_relay(config, relay("a", derp=derp, stun=port, pinned=pin)))
    assert found["relay five/a STUN"].verdict is Verdict.FAIL
    assert f"Open UDP port {port} in the firewall" in found["relay five/a STUN"].next


async def test_one_relay_that_works_is_enough_for_a_region(stack: AsyncExitStack, config: Config) -> None:
    derp, stun, pin = await a_relay(stack, config.data_dir)
    dead = relay("b", derp=free_port("127.0.0.1"), stun=stun, pinned=pin)
    found = await relays_of(with_relay(config, relay("a", derp=derp, stun=stun, pinned=pin), dead))
    assert found["relay five/b TLS"].verdict is Verdict.WARN
    assert Verdict.FAIL not in {each.verdict for each in found.values()}


async def test_a_map_without_regions_and_one_that_cannot_be_had_are_said(config: Config) -> None:
    found = await relays_of(config)
    assert (found["relay map"].verdict, "told of no relay" in found["relay map"].what) == (Verdict.FAIL, True)
    url = f"http://user:secret@127.0.0.1:{free_port('127.0.0.1')}/map"
    missing = replace(config, derp_sources=DerpSources(urls=(url,)))
    all_found = await check_relays(case_of(missing))
    assert [each.verdict for each in all_found] == [Verdict.WARN, Verdict.FAIL]
    assert "secret" not in str(all_found)


# ---- around it


async def serving(stack: AsyncExitStack, handler: Any) -> str:
    """A web server that answers everything so; its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.mark.parametrize(
    ("seconds", "verdict", "words"),
    [
        (0, Verdict.PASS, "as that of"),
        (-20, Verdict.WARN, "20 s ahead of"),
        (20, Verdict.WARN, "20 s behind"),
        (400, Verdict.FAIL, "400 s behind"),
    ],
)
async def test_a_clock_that_is_off_is_seen(
    stack: AsyncExitStack, config: Config, seconds: int, verdict: Verdict, words: str
) -> None:
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)

    async def tell(request: web.Request) -> web.Response:
        return web.Response(headers={"Date": format_datetime(now + timedelta(seconds=seconds), usegmt=True)})

    url = await serving(stack, tell)
    [finding] = await check_clock(case_of(config, time_url=url, clock=ManualClock(now)))
    assert (finding.verdict, words in finding.what) == (verdict, True), finding


async def test_without_a_clock_to_compare_with_nothing_is_said(config: Config) -> None:
    [finding] = await check_clock(case_of(config))
    assert finding.verdict is Verdict.SKIP


async def test_a_server_name_and_nameservers_that_do_not_answer_are_found(
    stack: AsyncExitStack, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "ASK_S", 0.4)
    nobody = f"127.0.0.1:{free_port('127.0.0.1', udp=True)}"
    dns = replace(config.tailnet.dns, nameservers=(nobody,))
    config = replace(config, tailnet=replace(config.tailnet, dns=dns))
    found = {each.check: each.verdict for each in await check_dns(case_of(config, "https://no-such.invalid"))}
    assert found == {
        "DNS of the server": Verdict.FAIL,
        "MagicDNS": Verdict.PASS,
        f"nameserver {nobody}": Verdict.WARN,
    }


async def test_a_socket_file_that_was_left_behind_is_no_server(config: Config) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(config.unix_socket))
    config.unix_socket.chmod(0o777)
    found = {each.check: each.verdict for each in await check_socket(case_of(config))}
    assert found == {"socket mode": Verdict.FAIL, "socket": Verdict.SKIP}


def with_providers(config: Config, *providers: tuple[str, str]) -> Case:
    """Of these names and issuers."""
    made = tuple(
        OIDCProvider(name=name, issuer=issuer, client_id="hs", client_secret="x")
        for name, issuer in providers
    )
    return case_of(replace(config, oidc=made))


async def provider(stack: AsyncExitStack, **changes: Any) -> str:
    """One whose discovery document says this; its issuer."""
    base = ""

    async def discover(request: web.Request) -> web.Response:
        endpoints = {
            name: f"{base}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
        }
        document = {"issuer": base, **endpoints, **changes}
        return web.Response(text=json.dumps(document), content_type="application/json")

    base = await serving(stack, discover)
    return base


async def provided(stack: AsyncExitStack, config: Config, **changes: Any) -> Finding:
    """What is found of the only provider, when its discovery document says this."""
    [finding] = await check_oidc(with_providers(config, ("oidc", await provider(stack, **changes))))
    return finding


async def test_an_identity_provider_is_asked_who_it_is(stack: AsyncExitStack, config: Config) -> None:
    assert (await provided(stack, config)).verdict is Verdict.PASS
    other = await provided(stack, config, issuer="https://other.example/")
    assert (other.verdict, "'https://other.example/'" in other.next) == (Verdict.FAIL, True)
    lacking = await provided(stack, config, jwks_uri="")
    assert (lacking.verdict, lacking.what) == (Verdict.FAIL, "the provider names no jwks_uri")


async def test_an_identity_provider_that_is_none_fails_and_none_is_skipped(
    stack: AsyncExitStack, config: Config
) -> None:
    [finding] = await check_oidc(case_of(config))
    assert finding.verdict is Verdict.SKIP

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    [finding] = await check_oidc(with_providers(config, ("oidc", await serving(stack, hello))))
    assert (finding.verdict, "no discovery document" in finding.what) == (Verdict.FAIL, True)


async def test_every_identity_provider_is_looked_at(stack: AsyncExitStack, config: Config) -> None:
    """Those of `oidc.others` as well, each by its name and issuer."""
    good, bad = await provider(stack), await provider(stack, issuer="https://other.example")
    first, second = await check_oidc(with_providers(config, ("oidc", good), ("partners", bad)))
    assert (first.check, first.verdict, good in first.what) == ("OIDC oidc", Verdict.PASS, True)
    assert (second.check, second.verdict, bad in second.what) == ("OIDC partners", Verdict.FAIL, True)
    assert "of the entry partners in oidc.others" in second.next
