"""What breaks between machines. Each is a context that undoes itself on the way out.

All of it is done by the packet filter of the one machine that is told, ahead of connection tracking.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence

from harness.backends.machine import Machine
from harness.errors import HarnessError, Unsupported
from harness.history import Source
from harness.lab.lab import Lan, interface_of, run

COMMANDS = {4: "iptables", 6: "ip6tables"}


@contextlib.asynccontextmanager
async def udp_blocked(lan: Lan) -> AsyncIterator[None]:
    """The LAN's router forwards no UDP but DNS, as networks of companies do."""
    rule = "-p udp -m multiport ! --ports 53 -j DROP"
    async with _rules(lan.router, [(4, rule), (6, rule)]):
        yield


@contextlib.asynccontextmanager
async def one_way_cut(sender: Sequence[str], receiver: Machine) -> AsyncIterator[None]:
    """Nothing that comes from one of these addresses arrives at the receiver; the other direction works."""
    async with _rules(receiver, [(_version(address), f"-s {address} -j DROP") for address in sender]):
        yield


@contextlib.asynccontextmanager
async def loss(machine: Machine, percent: float) -> AsyncIterator[None]:
    """So many of a hundred packets that come to the machine, or to a router, are lost, each by itself."""
    if not 0 < percent <= 100:
        raise HarnessError(f"{percent} % of packets cannot be lost: it must be above 0 and at most 100")
    rule = f"! -i lo -m statistic --mode random --probability {percent / 100:.4f} -j DROP"
    async with _rules(machine, [(4, rule), (6, rule)]):
        yield


@contextlib.asynccontextmanager
async def delay(machine: Machine, address: str, *, milliseconds: int) -> AsyncIterator[None]:
    """What the machine sends by the interface with this address leaves so much later.

    Raises Unsupported where the kernel has no sch_netem, or the machine no `tc`: a packet filter cannot hold packets.
    """
    interface = await interface_of(machine, address)
    try:
        await run(machine, f"tc qdisc add dev {interface} root netem delay {milliseconds}ms")
    except HarnessError as error:
        raise Unsupported(
            f"packets cannot be delayed here, which needs tc and the kernel's sch_netem: {error}"
        ) from error
    try:
        with machine.history.during(Source.FAULT, machine.name, "delay", milliseconds=milliseconds):
            yield
    finally:
        await run(machine, f"tc qdisc del dev {interface} root")


@contextlib.asynccontextmanager
async def _rules(machine: Machine, rules: Sequence[tuple[int, str]]) -> AsyncIterator[None]:
    mark = f"-m comment --comment fault-{secrets.token_hex(4)}"
    lines = [(COMMANDS[version], f"PREROUTING {mark} {rule}") for version, rule in rules]
    try:
        await run(machine, "\n".join(f"{command} -w -t raw -I {rule}" for command, rule in lines))
        told = [rule for _, rule in rules]
        with machine.history.during(Source.FAULT, machine.name, "packets are dropped", rules=told):
            yield
    finally:
        await run(machine, "\n".join(f"{command} -w -t raw -D {rule}" for command, rule in lines))


def _version(address: str) -> int:
    return 6 if ":" in address else 4
