"""The tunnel between a wire and handlers, without sockets: coalescing, back-pressure, and what the sweep ends."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from headscale.clock import ManualClock
from headscale.control.exchange import LOW_WATER_BYTES, Exchange
from headscale.control.tunnel import LINGER_SECONDS, PAUSED_SECONDS, ControlTunnel
from headscale.keys import PrivateKey, machine_key
from headscale.ts2021 import client
from headscale.ts2021.client import ClientConnection
from headscale.ts2021.connection import FIRST_REQUEST_SECONDS, ServerConnection
from headscale.ts2021.handshake import load_key

SERVER, MACHINE, OTHER, EPHEMERAL = (load_key(PrivateKey(bytes([n]) * 32)) for n in (1, 2, 3, 4))


@dataclass
class RecordingWire:
    """A wire that keeps what is written, and can be full."""

    writable: bool = True
    writes: list[bytes] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        if data:
            self.writes.append(data)

    def close(self) -> None:
        self.ends.append("close")

    def abort(self) -> None:
        self.ends.append("abort")


@dataclass
class Bench:
    """A tunnel, its wire and clock, and a client core at the far end."""

    clock: ManualClock
    wire: RecordingWire
    far: ClientConnection
    tunnel: ControlTunnel
    exchanges: list[Exchange] = field(default_factory=list)

    async def handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        exchange.start(200)
        await exchange.closed.wait()

    async def ask(self) -> Exchange:
        """A request from the far end, until its handler waits."""
        self.far.request("POST", "/machine/map")
        self.tunnel.on_data(self.far.data_to_send())
        await settle()
        return self.exchanges[-1]

    def heard(self) -> list[client.Event]:
        """What the far end makes of everything written since the last call."""
        events = [event for data in self.wire.writes for event in self.far.receive(data)]
        self.wire.writes.clear()
        return events

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.tunnel.sweep()


async def settle() -> None:
    """Let what is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def bench() -> Bench:
    clock, wire = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), RecordingWire()
    far = ClientConnection(machine_key(SERVER.public), version=113, static=MACHINE, ephemeral=OTHER)
    core = ServerConnection.accept(far.initiation, static=SERVER, ephemeral=EPHEMERAL, now=0.0)
    made = Bench(clock, wire, far, None)  # type: ignore[arg-type]
    made.tunnel = ControlTunnel(core, made.handle, clock=clock, remote="192.0.2.1")
    made.tunnel.attach(wire)
    far.receive(made.tunnel.first_bytes())
    return made


async def test_one_turn_is_one_write(bench: Bench) -> None:
    """All that is sent before the loop turns leaves together."""
    exchange = await bench.ask()
    bench.heard()
    for _ in range(10):
        exchange.send(b"piece")
    assert bench.wire.writes == []
    await settle()
    assert len(bench.wire.writes) == 1
    assert bench.heard() == [client.Data(1, b"piece" * 10)]


async def test_a_full_wire_is_not_written_to(bench: Bench) -> None:
    """What is sent meanwhile waits in the stream, which is not writable; then it goes, and the handler is told."""
    exchange = await bench.ask()
    bench.heard()
    told: list[int] = []
    exchange.on_writable = lambda: told.append(exchange.buffered)
    bench.wire.writable = False
    bench.tunnel.on_pause()
    exchange.send(b"x" * 100)
    await settle()
    assert (bench.wire.writes, exchange.buffered, exchange.writable) == ([], 100, False)
    bench.wire.writable = True
    bench.tunnel.on_resume()
    assert bench.heard() == [client.Data(1, b"x" * 100)]
    assert (told, exchange.writable) == ([0], True)


async def test_a_drained_stream_is_told_once(bench: Bench) -> None:
    """A queue that was above the low-water mark and fell below it calls back."""
    exchange = await bench.ask()
    told: list[int] = []
    exchange.on_writable = lambda: told.append(exchange.buffered)
    exchange.send(bytes(LOW_WATER_BYTES))
    await settle()
    assert told == []
    exchange.send(bytes(LOW_WATER_BYTES + 1))
    assert not exchange.writable
    await settle()
    assert told == [0]


async def test_an_idle_connection_is_closed(bench: Bench) -> None:
    """With a GOAWAY; and cut if that does not leave."""
    bench.pass_time(FIRST_REQUEST_SECONDS - 1)
    assert bench.wire.ends == []
    bench.pass_time(1)
    assert bench.wire.ends == ["close"]
    assert bench.heard()[-1] == client.Closed("the server went away (code 0)")
    bench.pass_time(LINGER_SECONDS - 1)
    assert bench.wire.ends == ["close"]
    bench.pass_time(1)
    assert bench.wire.ends == ["close", "abort"]


async def test_a_client_that_takes_nothing_is_cut(bench: Bench) -> None:
    """A wire that stays full ends; one that moved in between does not."""
    await bench.ask()
    bench.wire.writable = False
    bench.tunnel.on_pause()
    bench.pass_time(PAUSED_SECONDS - 1)
    bench.tunnel.on_resume()
    bench.tunnel.on_pause()
    bench.pass_time(PAUSED_SECONDS - 1)
    assert bench.wire.ends == []
    bench.pass_time(1)
    assert bench.wire.ends == ["abort"]


async def test_a_lost_wire_ends_every_exchange(bench: Bench) -> None:
    """Handlers are cancelled, and sending is then nothing."""
    exchange = await bench.ask()
    bench.tunnel.on_lost()
    await settle()
    assert exchange.closed.is_set()
    exchange.send(b"late")
    exchange.end()
    await settle()
    assert (exchange.writable, exchange.buffered) == (False, 0)


async def test_an_answer_is_given_once(bench: Bench) -> None:
    """A second answer, or sending after the end, is a bug that shows."""
    exchange = await bench.ask()
    with pytest.raises(RuntimeError, match="answered already"):
        await exchange.respond(200)
    exchange.end()
    exchange.end()
    with pytest.raises(RuntimeError, match="not open"):
        exchange.send(b"more")
