"""Routers and faults of the lab, seen by packets alone: what each kind of NAT maps, whom it lets in, what is lost."""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import pytest

from harness.backends.machine import Machine
from harness.backends.network import Network
from harness.errors import Unsupported
from harness.lab.faults import delay, loss, one_way_cut, udp_blocked
from harness.lab.lab import Lab, Lan
from harness.lab.nat import BY_ADDRESS, BY_PORT, INDEPENDENT, Nat, in_a_row

pytestmark = pytest.mark.timeout(600)  # the first run makes an image

PORT = 5000
OTHER_PORT = 5001
SOON_MS = 1500
QUIET_MS = 300
PACKETS = 400
UNREAD = 100


@dataclass
class Socket:
    """A UDP socket of a machine, and where others reach it when nothing is between."""

    machine: Machine
    address: str
    port: int

    @property
    def name(self) -> str:
        return f"{self.address}:{self.port}"

    async def send(self, to: str, text: str = "x") -> None:
        await self.machine.agent("send", port=self.port, to=to, text=text)

    async def receive(self, *, within_ms: int = SOON_MS) -> tuple[str, str] | None:
        """Who sent a packet, and its text; None when none came."""
        got = await self.machine.agent("receive", port=self.port, timeout_ms=within_ms)
        return (got["from"], got["text"]) if got["from"] else None

    async def seen_from(self, other: "Socket") -> str:
        """What this socket sees as the other's address and port. A packet may be lost, as anywhere; three are not."""
        for _ in range(3):
            await other.send(self.name)
            if (got := await self.receive()) is not None:
                return got[0]
        raise AssertionError(f"nothing came from {other.name} to {self.name}")


async def bind(lab: Lab, machine: Machine, port: int = PORT) -> Socket:
    bound = await machine.agent("bind", host="", port=port)
    return Socket(machine, await lab.address_of(machine), bound["port"])


async def internet(lab: Lab) -> tuple[Socket, Socket, Socket]:
    """Two ports of one machine, and one of another."""
    x, y = await lab.host("x"), await lab.host("y")
    return await bind(lab, x), await bind(lab, x, OTHER_PORT), await bind(lab, y)


async def heard(socket: Socket, senders: Collection[Socket], at: str) -> set[str]:
    """Which of them get a packet through to the socket by this outer address."""
    for sender in senders:
        await sender.send(at, sender.name)
    texts = set()
    while (got := await socket.receive(within_ms=QUIET_MS)) is not None:
        texts.add(got[1])
    return texts


async def mappings(inner: Socket, outer: Collection[Socket]) -> list[str]:
    """As what each of them sees the inner socket."""
    return [await socket.seen_from(inner) for socket in outer]


@pytest.mark.parametrize("nat", Nat, ids=str)
async def test_a_nat_maps_and_filters_as_its_kind(segmented: Network, nat: Nat) -> None:
    """To whom a flow has the same outside port, and who is let in there once one was sent to."""
    lab = Lab(segmented)
    lan = await lab.lan("lan", nat=nat)
    inner = await bind(lab, await lab.host("a", on=lan))
    outer = x, x2, _ = await internet(lab)
    at = await x.seen_from(inner)
    admitted = {INDEPENDENT: outer, BY_ADDRESS: (x, x2), BY_PORT: (x,)}[nat.behaviour.filtering]
    assert await heard(inner, outer, at) == {socket.name for socket in admitted}
    seen = await mappings(inner, outer)
    own = inner.address if nat is Nat.NONE else await lab.outer_address_of(lan)
    assert {where.rpartition(":")[0] for where in seen} == {own}
    assert seen[0] == at
    if nat.behaviour.mapping == INDEPENDENT:
        assert set(seen) == {f"{own}:{PORT}"}
    else:
        assert len(set(seen)) == len(outer)


@pytest.mark.parametrize(
    ("inner_nat", "outer_nat"),
    [(Nat.FULL_CONE, Nat.RESTRICTED), (Nat.SYMMETRIC, Nat.FULL_CONE), (Nat.RESTRICTED, Nat.SYMMETRIC)],
    ids=str,
)
async def test_two_nats_in_a_row_are_as_strict_as_both(
    segmented: Network, inner_nat: Nat, outer_nat: Nat
) -> None:
    """Who is outside sees the outer router, and is let in by both or not at all."""
    lab = Lab(segmented)
    house = await lab.lan("house", nat=outer_nat)
    flat = await lab.lan("flat", nat=inner_nat, behind=house)
    assert flat.behaviour == in_a_row([inner_nat, outer_nat])
    inner = await bind(lab, await lab.host("a", on=flat))
    outer = x, x2, _ = await internet(lab)
    at = await x.seen_from(inner)
    assert at.rpartition(":")[0] == await lab.outer_address_of(house)
    admitted = {BY_ADDRESS: (x, x2), BY_PORT: (x,)}[flat.behaviour.filtering]
    assert await heard(inner, outer, at) == {socket.name for socket in admitted}
    ports = len(set(await mappings(inner, outer)))
    assert ports == (1 if flat.behaviour.mapping == INDEPENDENT else len(outer))


async def test_machines_behind_one_nat_have_ports_of_their_own(segmented: Network) -> None:
    """Who uses the same inner port gets another outside, and each its own answers."""
    lab = Lab(segmented)
    lan = await lab.lan("lan")
    a, b = [await bind(lab, await lab.host(name, on=lan)) for name in ("a", "b")]
    x, _, _ = await internet(lab)
    at_a, at_b = await x.seen_from(a), await x.seen_from(b)
    assert at_a != at_b
    await x.send(at_b, "for b")
    await x.send(at_a, "for a")
    assert await a.receive() == (x.name, "for a")
    assert await b.receive() == (x.name, "for b")


@pytest.mark.parametrize("hairpin", [True, False], ids=["hairpin", "none"])
async def test_neighbours_meet_at_the_outer_address_where_the_router_turns_packets_round(
    segmented: Network, hairpin: bool
) -> None:
    """Without hairpinning what is sent there is lost; neighbours reach each other inside all the same."""
    lab = Lab(segmented)
    lan = await lab.lan("lan", nat=Nat.FULL_CONE, hairpin=hairpin)
    a, b = [await bind(lab, await lab.host(name, on=lan)) for name in ("a", "b")]
    x, _, _ = await internet(lab)
    at_b = await x.seen_from(b)
    await a.send(at_b, "round")
    got = await b.receive(within_ms=SOON_MS if hairpin else QUIET_MS)
    assert got is None or (got[0].rpartition(":")[0], got[1]) == (await lab.outer_address_of(lan), "round")
    assert (got is not None) == hairpin
    assert await b.seen_from(a) == a.name


async def test_a_nat_forgets_a_silent_flow(segmented: Network) -> None:
    """After its lifetime answers are no longer let in, however many come; the next packet opens the way again."""
    lab = Lab(segmented)
    lan = await lab.lan("lan", lifetime=timedelta(milliseconds=400))
    a = await bind(lab, await lab.host("a", on=lan))
    x, _, _ = await internet(lab)
    at = await x.seen_from(a)
    assert await heard(a, [x], at)
    deadline = time.monotonic() + 5
    while await heard(a, [x], at):
        assert time.monotonic() < deadline
    assert await heard(a, [x], await x.seen_from(a))


async def probe(sender: Machine, transport: str, address: str, *, within_ms: int = 2000) -> dict[str, object]:
    where = {"network": transport, "address": address, "port": 7, "socks": "", "nonce": "n"}
    return dict(await sender.agent("probe", **where, timeout_ms=within_ms))


async def reached(sender: Machine, transport: str, address: str, *, within_ms: int = QUIET_MS) -> bool:
    return bool((await probe(sender, transport, address, within_ms=within_ms))["reached"])


async def answering(lab: Lab, name: str, on: Lan | None = None) -> Machine:
    machine = await lab.host(name, on=on)
    await machine.agent("listen", host="", port=7)
    return machine


async def test_tcp_and_icmp_pass_a_nat_outwards_alone(segmented: Network) -> None:
    """They leave by the router's address; nobody outside reaches a machine inside, not even by its own address."""
    lab = Lab(segmented)
    lan = await lab.lan("lan", nat=Nat.FULL_CONE)
    inside, outside = await answering(lab, "a", lan), await answering(lab, "x")
    there = await lab.address_of(outside)
    seen = await probe(inside, "tcp", there)
    assert seen["reached"], seen
    assert str(seen["answer"]["source"]).rpartition(":")[0] == await lab.outer_address_of(lan)  # type: ignore[index]
    assert await reached(inside, "icmp", there, within_ms=2000)
    outer, own = await lab.outer_address_of(lan), await lab.address_of(inside)
    await outside.exec(["ip", "route", "add", own, "via", outer], timeout=timedelta(seconds=5))
    assert not await reached(outside, "tcp", own)
    assert not await reached(outside, "udp", own)


async def test_a_router_that_was_off_routes_again(segmented: Network) -> None:
    """Its rules and routes come back with it, and those of the machine behind it with that."""
    lab = Lab(segmented)
    lan = await lab.lan("lan", nat=Nat.SYMMETRIC)
    inside, outside = await lab.host("a", on=lan), await answering(lab, "x")
    there = await lab.address_of(outside)
    assert await reached(inside, "udp", there, within_ms=2000)
    for machine in (lan.router, inside):
        await machine.kill()
        await machine.start()
    assert await reached(inside, "udp", there, within_ms=2000)
    assert await reached(inside, "tcp", there, within_ms=2000)


@pytest.mark.parametrize("nat", [Nat.NONE, Nat.PORT_RESTRICTED], ids=str)
async def test_blocked_udp_is_lost_and_tcp_goes_on(segmented: Network, nat: Nat) -> None:
    """As long as it is blocked, and no longer."""
    lab = Lab(segmented)
    lan = await lab.lan("lan", nat=nat)
    inside, outside = await answering(lab, "a", lan), await answering(lab, "x")
    there = await lab.address_of(outside)
    assert await reached(inside, "udp", there, within_ms=2000)
    async with udp_blocked(lan):
        assert not await reached(inside, "udp", there)
        assert await reached(inside, "tcp", there, within_ms=2000)
    assert await reached(inside, "udp", there, within_ms=2000)


async def test_a_one_way_cut_leaves_the_other_way(segmented: Network) -> None:
    """Packets from one are lost, packets to it arrive, until it is undone."""
    lab = Lab(segmented)
    a, b = await bind(lab, await lab.host("a")), await bind(lab, await lab.host("b"))
    async with one_way_cut([a.address], b.machine):
        await a.send(b.name)
        assert await b.receive(within_ms=QUIET_MS) is None
        assert await a.seen_from(b) == b.name
    assert await b.seen_from(a) == a.name


async def count(sender: Socket, receiver: Socket) -> int:
    """How many of PACKETS arrive. No more are under way at once than a socket's buffer holds."""
    got = 0
    for _ in range(PACKETS // UNREAD):
        for _ in range(UNREAD):
            await sender.send(receiver.name)
        while await receiver.receive(within_ms=QUIET_MS) is not None:
            got += 1
    return got


async def test_so_many_packets_are_lost_and_no_more(segmented: Network) -> None:
    """Of 400 packets at 30 % loss 120 are expected to be lost; 55 to either side is six standard deviations."""
    lab = Lab(segmented)
    a, b = await bind(lab, await lab.host("a")), await bind(lab, await lab.host("b"))
    async with loss(b.machine, 30):
        lost = PACKETS - await count(a, b)
    assert 65 <= lost <= 175
    assert await count(a, b) == PACKETS


async def test_packets_are_late_by_the_delay(segmented: Network) -> None:
    """Where the kernel can hold packets; elsewhere the fault says by name what it lacks, and leaves nothing."""
    lab = Lab(segmented)
    a, b = await answering(lab, "a"), await answering(lab, "b")
    there, said = await lab.address_of(b), "sch_netem can hold packets"
    try:
        async with delay(b, there, milliseconds=100):
            seen = await probe(a, "udp", there)
            assert seen["reached"]
            assert float(str(seen["elapsed_ms"])) >= 100
    except Unsupported as error:
        said = str(error)
    assert "sch_netem" in said
    async with asyncio.timeout(5):
        while float(str((await probe(a, "udp", there))["elapsed_ms"])) >= 100:
            pass


async def test_udp_passes_a_distant_router_later(segmented: Network) -> None:
    """By its latency, once each way, whatever the kernel can hold; TCP does not wait."""
    lab = Lab(segmented)
    lan = await lab.lan("far", latency=timedelta(milliseconds=150))
    inside, outside = await lab.host("a", on=lan), await answering(lab, "x")
    there = await lab.address_of(outside)
    seen = await probe(inside, "udp", there)
    assert seen["reached"], seen
    assert 300 <= float(str(seen["elapsed_ms"])) < 600
    assert await reached(inside, "tcp", there, within_ms=2000)
    assert float(str((await probe(inside, "tcp", there))["elapsed_ms"])) < 150
