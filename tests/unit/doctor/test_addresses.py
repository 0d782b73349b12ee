"""The doctor on the tailnet's addresses."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from headscale.clock import ManualClock
from headscale.config.settings import Config, Listen
from headscale.db.inspection import Inspection
from headscale.doctor import addresses as module
from headscale.doctor.addresses import check_addresses, local_routes
from headscale.doctor.findings import Case, Verdict
from headscale.policy.subjects import Network
from headscale.records import Node
from tests.builders import NOW, SETTINGS, node

# As Linux writes them: eth0 has the default and 100.64.8.0/21, a client of ours 100.64.0.0/10, and eth1 is down.
V4 = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t00084064\t00000000\t0001\t0\t0\t0\t00F8FFFF\t0\t0\t0
tailscale0\t00004064\t00000000\t0001\t0\t0\t0\t0000C0FF\t0\t0\t0
eth1\t0000000A\t00000000\t0000\t0\t0\t0\t000000FF\t0\t0\t0
"""
V6 = """fd7a115ca1e000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001     eth0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo
"""  # noqa: E501


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Network]]:
    """What this machine is taken to have; a test may add some."""
    made: list[tuple[str, Network]] = []
    monkeypatch.setattr(module, "local_routes", lambda: iter(made))
    return made


async def verdicts(v4: str, *nodes: Node) -> dict[str, Verdict]:
    """Of a tailnet with only this prefix."""
    settings = replace(SETTINGS, prefix_v4=IPv4Network(v4), prefix_v6=None)
    config = Config(
        source=None,
        data_dir=Path("/d"),
        listen=Listen(host="", port=1),
        noise_key_path=Path("/n"),
        sqlite_path=Path("/s"),
        unix_socket=Path("/u"),
        tailnet=settings,
    )
    seen = Inspection(where="/s", in_use=False, nodes=nodes)
    case = Case(config=config, url="http://a", clock=ManualClock(NOW), database=seen)
    return {each.check: each.verdict for each in await check_addresses(case)}


def test_routes_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    """Those of the default, of our own client, of an interface that is down and of one link do not count."""
    (tmp_path / "4").write_text(V4)
    (tmp_path / "6").write_text(V6)
    assert [*local_routes(tmp_path / "4", tmp_path / "6")] == [
        ("eth0", IPv4Network("100.64.8.0/21")),
        ("eth0", IPv6Network("fd7a:115c:a1e0::/64")),
    ]
    assert [*local_routes(tmp_path / "no", tmp_path / "no")] == []


async def test_a_prefix_elsewhere_than_clients_expect_is_warned_of(routes: list[tuple[str, Network]]) -> None:
    assert (await verdicts("100.64.0.0/24"))["prefix range"] is Verdict.PASS
    assert (await verdicts("10.0.0.0/24"))["prefix range"] is Verdict.WARN


async def test_a_route_of_this_machine_inside_the_prefix_is_warned_of(
    routes: list[tuple[str, Network]],
) -> None:
    routes.append(("wwan0", IPv4Network("100.64.8.0/21")))
    assert (await verdicts("100.64.0.0/10"))["prefix overlap"] is Verdict.WARN
    assert (await verdicts("100.100.0.0/16"))["prefix overlap"] is Verdict.PASS


@pytest.mark.parametrize(("used", "verdict"), [(12, Verdict.PASS), (13, Verdict.WARN), (14, Verdict.FAIL)])
async def test_a_prefix_fills_up(routes: list[tuple[str, Network]], used: int, verdict: Verdict) -> None:
    """A /28 has 14 addresses for nodes."""
    nodes = [node(number, ipv6=None, ipv4=IPv4Address(f"100.64.0.{number}")) for number in range(1, used + 1)]
    found = await verdicts("100.64.0.0/28", *nodes)
    assert found["prefix room"] is verdict
    assert "addresses of nodes" not in found


async def test_nodes_outside_of_every_prefix_are_named(routes: list[tuple[str, Network]]) -> None:
    assert (await verdicts("100.64.0.0/28", node(99)))["addresses of nodes"] is Verdict.WARN
