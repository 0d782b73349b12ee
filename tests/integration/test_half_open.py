"""A client that is gone without a word: its connection ends and its peers see it offline, without it saying so.

The packets of one connection over loopback are dropped by a rule of the machine's own firewall, so this needs root and
iptables; the timers are shortened, their real values are in the assertion beside.
"""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from harness.strict import strict
from headscale import takeover
from headscale.mapper import fanout
from tests.integration.fakes import Join, Tailnet, until

pytestmark = pytest.mark.bar("F11")

Cut = Callable[[int, int], None]
CLIENTS = 20
LIMIT_S = 150
"""What shared figures promise: half-open connections are noticed within this time."""


@pytest.fixture
def cut() -> Iterator[Cut]:
    """Drop all that passes between two ports of loopback, until the test ends."""
    program = shutil.which("iptables")
    if program is None or os.geteuid() != 0:
        if strict():
            pytest.fail("needs root and iptables")
        pytest.skip("dropping packets needs root and iptables")
    made: list[list[str]] = []

    def drop(one: int, other: int) -> None:
        for source, target in ((one, other), (other, one)):
            rule = [
                "INPUT",
                "-i",
                "lo",
                "-p",
                "tcp",
                "--sport",
                str(source),
                "--dport",
                str(target),
                "-j",
                "DROP",
            ]
            subprocess.run([program, "-w", "-I", *rule], check=True)
            made.append(rule)

    yield drop
    for rule in made:
        subprocess.run([program, "-w", "-D", *rule], check=False)


def test_the_timers_add_up_to_less_than_is_promised() -> None:
    assert max(fanout.KEEP_ALIVE_S) + takeover.UNACKED_MS / 1000 + 10 < LIMIT_S


async def test_a_client_that_vanished_is_offline_for_its_peers(
    monkeypatch: pytest.MonkeyPatch, tailnet: Tailnet, join: Join, cut: Cut
) -> None:
    """Keep-alives that nobody acknowledges end the connection; those of the others go on."""
    monkeypatch.setattr(takeover, "UNACKED_MS", 1500)
    monkeypatch.setattr(fanout, "KEEP_ALIVE_S", (0.5, 0.5))
    gone, witness = [await join(f"gone{number}") for number in range(CLIENTS)], await join("witness")
    for client in gone:
        await client.stream()
    watching = await witness.stream()
    await until(watching, lambda netmap: all(netmap.peers[client.id]["Online"] is True for client in gone))
    for client in gone:
        connection: socket.socket = client.client.session.transport.get_extra_info("socket")
        cut(connection.getsockname()[1], connection.getpeername()[1])
    assert all(watching.netmap.peers[client.id]["Online"] is True for client in gone)
    await watching.until(
        lambda netmap: all(netmap.peers[client.id]["Online"] is False for client in gone), within=10
    )
    assert tailnet.server.app.fanout.__len__() == 1
    await tailnet.server.rename_node(str(witness.id), "still-here")
    async with asyncio.timeout(5):
        await tailnet.until(lambda: tailnet.node(witness.id).online)
