"""The Rust client's side in the harness, against a program that answers what the test sets."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.agent.connection import connect
from harness.backends.machine import Layout, Machine
from harness.clients.base import Ability, Client
from harness.clients.rust.client import PROGRAM, SOCKET, RustClient
from harness.clients.tailscaled import TailscaledClient
from harness.errors import NotAnswering, Unsupported
from harness.reach import Target
from harness.versions import RUST

STATUS = {
    "Version": "0.6.1",
    "TUN": False,
    "BackendState": "Running",
    "HaveNodeKey": True,
    "AuthURL": "",
    "MagicDNSSuffix": "tailnet.internal",
    "Health": [],
    "Self": {
        "ID": "1",
        "DNSName": "rust.tailnet.internal.",
        "PublicKey": "nodekey:01",
        "TailscaleIPs": ["100.64.0.1", "fd7a:115c:a1e0::1"],
        "AllowedIPs": ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"],
        "Tags": [],
        "Online": True,
        "Expired": False,
        "KeyExpiry": "",
        "Relay": "999",
    },
    "Peer": {
        "nodekey:02": {
            "ID": "2",
            "DNSName": "go.tailnet.internal.",
            "PublicKey": "nodekey:02",
            "TailscaleIPs": ["100.64.0.2", "fd7a:115c:a1e0::2"],
            "Online": True,
        }
    },
}
"""As the program of 0.6.1 wrote it."""


class Program:
    """Answers each op with what `answers` has for it, and remembers the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"status": STATUS}
        self.requests: list[dict[str, Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = json.loads(line)
            self.requests.append(request)
            answer = {"id": request["id"], "result": self.answers[request["op"]]}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()


class Nowhere:
    """A launcher of a machine that needs none."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def kill(self) -> None: ...


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
async def client(tmp_path: Path, program: Program) -> AsyncIterator[RustClient]:
    """A client that is connected to the program."""
    server = await asyncio.start_unix_server(program.serve, str(tmp_path / SOCKET))
    layout = Layout("rust", tmp_path, str(tmp_path), {PROGRAM: PROGRAM}, "127.0.0.1", frozenset())
    machine = Machine(layout, Nowhere())
    machine._running[PROGRAM] = asyncio.get_running_loop().create_future()
    made = RustClient(machine, RUST)
    made._connection = await connect(tmp_path / SOCKET, made._on_event, within=1.0)
    yield made
    await made._disconnect()
    server.close()


def seen(**fields: Any) -> dict[str, Any]:
    answer = {"name": "go", "instance": "1", "nonce": "n", "source": "127.0.0.1:4", "peer": ["100.64.0.1"]}
    return {"reached": True, "answer": answer, "elapsed_ms": 3.0} | fields


def as_client(client: RustClient | TailscaledClient) -> Client:
    """Type-checked: both are clients."""
    return client


async def test_its_status_reads_like_tailscaled_s(client: RustClient) -> None:
    """Addresses, names and peers are where the conditions look for them."""
    status = await as_client(client).read()
    assert (status.state, status.version, status.magic_dns_suffix) == ("Running", "0.6.1", "tailnet.internal")
    assert [str(address) for address in status.addresses] == ["100.64.0.1", "fd7a:115c:a1e0::1"]
    peer = status.peer("go")
    assert peer is not None
    assert peer.online


async def test_its_targets_are_its_tailnet_addresses(client: RustClient) -> None:
    """By either family and by name, at the echo port unless another is wanted."""
    await client.read()
    assert client.tcp() == Target("rust", "tcp", "100.64.0.1", client.echo_port)
    assert client.udp(53, by="ipv6") == Target("rust", "udp", "fd7a:115c:a1e0::1", 53)
    assert client.tcp(by="name").address == "rust.tailnet.internal"


async def test_a_probe_counts_when_the_target_saw_one_of_our_addresses(
    client: RustClient, program: Program
) -> None:
    """What tailscaled says of the sender is believed, loopback alone is not."""
    target = Target("go", "tcp", "100.64.0.2", 80)
    program.answers["probe"] = seen()
    assert (await client.probe(target, within=1.0)).reached
    program.answers["probe"]["answer"]["peer"] = []
    assert not (await client.probe(target, within=1.0)).reached


async def test_what_no_peer_has_is_not_probed(client: RustClient, program: Program) -> None:
    """The reason says so, and the program is not asked."""
    probe = await client.probe(Target("x", "tcp", "100.64.0.9", 80), within=1.0)
    assert probe.reason == "no peer has 100.64.0.9; state is Running"
    assert [request["op"] for request in program.requests] == ["status"]


async def test_a_refused_up_has_the_reason_as_its_message(client: RustClient, program: Program) -> None:
    """And the key goes to the program, not into the command that reports show."""
    program.answers["up"] = {"ok": False, "message": "machine was not authorized: used already"}
    result = await client.up("http://127.0.0.1:1", auth_key="hskey-secret")
    assert (result.ok, result.message) == (False, "machine was not authorized: used already")
    assert "secret" not in result.command
    [asked] = [request for request in program.requests if request["op"] == "up"]
    assert (asked["auth_key"], asked["hostname"]) == ("hskey-secret", "rust")


async def test_coming_back_needs_no_key(client: RustClient, program: Program) -> None:
    """The same server and host name as before."""
    program.answers["up"] = {"ok": True, "message": ""}
    await client.up("http://127.0.0.1:1", auth_key="hskey-secret", hostname="twin")
    await client.reconnect()
    again = [request for request in program.requests if request["op"] == "up"][-1]
    assert (again["login_server"], again["hostname"], again["auth_key"]) == (
        "http://127.0.0.1:1",
        "twin",
        None,
    )


async def test_a_program_that_ended_does_not_answer(client: RustClient) -> None:
    """Reading waits, as for a daemon that restarts."""
    client.machine._running[PROGRAM].set_result(0)
    with pytest.raises(NotAnswering, match="is not running on rust"):
        await client.read()


async def test_what_it_lacks_is_unsupported_with_a_reason(client: RustClient) -> None:
    """Every ability that it does not have, it refuses in words."""
    assert client.abilities == {Ability.ICMP, Ability.NAMES, Ability.DOWN}
    with pytest.raises(Unsupported, match=r"tailscale-rs 0\.6\.1 cannot give its node key up"):
        await client.logout()
    with pytest.raises(Unsupported, match="no command line for --hostname=x"):
        await client.set("--hostname=x")
    with pytest.raises(Unsupported, match="no profiles"):
        await client.login("http://127.0.0.1", auth_key="x")
