"""`headscale doctor --from URL` behind the proxies of docs/reverse-proxies.md: as the guide has them, and spoilt."""

import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme

from harness.errors import Missing
from harness.ports import free_port
from harness.servers.fronts import FRONTS, start_front
from harness.servers.inprocess import InProcessServer
from harness.strict import unavailable
from headscale.doctor.findings import Finding
from tests.integration.test_doctor_way import found, verdicts

GUIDE = (Path(__file__).parents[2] / "docs" / "reverse-proxies.md").read_text()
Fronted = Callable[..., Awaitable[dict[str, Finding]]]


@pytest.fixture
async def fronted(server: InProcessServer) -> AsyncIterator[Fronted]:
    """What the doctor finds through a proxy; `spoilt` is done to the guide's words for it."""
    async with AsyncExitStack() as stack:

        async def look(
            name: str, *spoilt: tuple[str, str], upstream: str = "", idle_s: float = 0.0
        ) -> dict[str, Finding]:
            port, authority, guide = free_port("127.0.0.1"), trustme.CA(), GUIDE
            issued = authority.issue_cert("127.0.0.1")
            trust = ssl.create_default_context()
            authority.configure_trust(trust)
            for old, new in spoilt:
                assert old in guide
                guide = guide.replace(old, new)
            try:
                await start_front(
                    stack,
                    name,
                    guide,
                    host="127.0.0.1",
                    port=port,
                    upstream=upstream or server.url.removeprefix("http://"),
                    chain=b"".join(part.bytes() for part in issued.cert_chain_pems),
                    key=issued.private_key_pem.bytes(),
                )
            except Missing as problem:
                unavailable(str(problem))
            return await found(server, f"https://127.0.0.1:{port}", trust=trust, idle_s=idle_s)

        yield look


@pytest.mark.parametrize("name", sorted(FRONTS))
async def test_as_the_guide_has_it_every_hop_is_well(fronted: Fronted, name: str) -> None:
    """Upgrades, WebSockets, the relay and silence; the proxy is noticed all the same."""
    findings = await fronted(name, idle_s=1.0)
    assert {name for name, verdict in verdicts(findings).items() if verdict != "PASS"} == {"trusted_proxies"}
    assert {"POST /ts2021", "WebSocket /ts2021", "/derp", "/generate_204", "idle connection"} <= set(findings)


DROPS = "    default_backend headscale"


@pytest.mark.parametrize(
    ("name", "spoilt", "remedy"),
    [
        ("nginx", ("        proxy_set_header Upgrade $http_upgrade;\n", ""), "proxy_set_header Upgrade"),
        (
            "caddy",
            ("127.0.0.1:8080\n}", "127.0.0.1:8080 {\n\t\theader_up -Upgrade\n\t}\n}"),
            "header_up -Upgrade",
        ),
        ("haproxy", (DROPS, f"    http-request del-header Upgrade\n{DROPS}"), "HAProxy"),
        ("apache", (" upgrade=ANY", ""), "upgrade=any"),
        ("apache", ("upgrade=ANY", "upgrade=websocket"), "upgrade=any"),
    ],
    ids=["nginx", "caddy", "haproxy", "apache", "apache websocket"],
)
async def test_who_takes_the_upgrade_away_is_named_with_the_remedy(
    fronted: Fronted, name: str, spoilt: tuple[str, str], remedy: str
) -> None:
    """Plain requests pass, which is why nobody suspects the proxy."""
    findings = await fronted(name, spoilt)
    broken = findings["POST /ts2021"]
    assert (verdicts(findings)["GET /key"], str(broken.verdict)) == ("PASS", "FAIL")
    called = {"caddy": r"Caddy", "haproxy": "HAProxy", "apache": "Apache", "nginx": "nginx"}[name]
    assert re.search(f"{called}.* took the Upgrade header away", broken.what)
    assert remedy in broken.next
    assert str(findings["/derp"].verdict) == "FAIL"


@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        ("nginx", ("proxy_read_timeout 1h", "proxy_read_timeout 1s")),
        ("haproxy", ("timeout tunnel 1h", "timeout tunnel 1s")),
    ],
    ids=["nginx", "haproxy"],
)
async def test_who_cuts_silent_connections_is_named(
    fronted: Fronted, name: str, spoilt: tuple[str, str]
) -> None:
    """Apache and Caddy set no such limit for what is upgraded."""
    findings = await fronted(name, spoilt, idle_s=3.0)
    assert verdicts(findings)["POST /ts2021"] == "PASS"
    assert str(findings["idle connection"].verdict) == "FAIL"
    assert "cut a connection that was silent" in findings["idle connection"].what


@pytest.mark.parametrize("name", sorted(FRONTS))
async def test_who_cannot_reach_the_server_is_told_apart(fronted: Fronted, name: str) -> None:
    findings = await fronted(name, upstream=f"127.0.0.1:{free_port('127.0.0.1')}")
    assert verdicts(findings) == {"GET /health": "FAIL"}
    assert "cannot reach the server behind it (50" in findings["GET /health"].what
