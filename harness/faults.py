"""Things that go wrong on purpose. Each is a context that undoes itself on the way out."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from harness.backends.base import Capability
from harness.backends.machine import Machine
from harness.clients.base import Client
from harness.errors import HarnessError
from harness.history import Source

TUNNEL = "tailscale0"

CHAIN = "harness-fault"

ALWAYS_DERP = {"TS_DEBUG_ALWAYS_USE_DERP": "true"}
"""Keeps tailscaled from opening UDP sockets at all (magicsock/debugknobs.go, 1.80.3 to 1.102.4)."""

RULE_TIME = timedelta(seconds=10)

DNS_PORT = "53"

ALL_BUT_DNS = ("-p", "udp", "!", "--dport", DNS_PORT)


@contextlib.asynccontextmanager
async def direct_blocked(*clients: Client) -> AsyncIterator[None]:
    """These clients send and receive no UDP but DNS, so that every path of theirs goes through DERP.

    With a packet filter of their own the packets are dropped and the client must find out. Elsewhere the
    daemon is restarted with UDP switched off, and restarted again at the end.
    """
    async with contextlib.AsyncExitStack() as stack:
        for client in clients:
            stack.enter_context(_recorded(client.machine, "direct paths are blocked"))
            if client.machine.can(Capability.BLOCK_UDP):
                await stack.enter_async_context(_dropping(client.machine, (ALL_BUT_DNS,)))
            else:
                await stack.enter_async_context(_without_udp(client))
        yield


@contextlib.asynccontextmanager
async def cut(client: Client) -> AsyncIterator[None]:
    """The client's cable is pulled: nothing enters or leaves its machine, and nothing is told so."""
    client.machine.require(Capability.BLOCK_UDP)
    with _recorded(client.machine, "cable is pulled"):
        async with _dropping(client.machine, ((),)):
            yield


@contextlib.asynccontextmanager
async def cut_from(client: Client, *ports: int) -> AsyncIterator[None]:
    """The client sends nothing to these TCP ports and hears nothing from them, and is not told so."""
    client.machine.require(Capability.BLOCK_UDP)
    ends = [("-p", "tcp", end, str(port)) for port in ports for end in ("--dport", "--sport")]
    async with _dropping(client.machine, ends):
        yield


@contextlib.asynccontextmanager
async def paused(machine: Machine) -> AsyncIterator[None]:
    """Every program of the machine stands still; its connections stay open."""
    with _recorded(machine, "machine stands still"):
        await machine.pause()
        try:
            yield
        finally:
            await machine.resume()


def _recorded(machine: Machine, fault: str) -> contextlib.AbstractContextManager[None]:
    return machine.history.during(Source.FAULT, machine.name, fault)


@contextlib.asynccontextmanager
async def _without_udp(client: Client) -> AsyncIterator[None]:
    before = dict(client.env)
    client.env |= ALWAYS_DERP
    await client.restart()
    try:
        yield
    finally:
        client.env = before
        await client.restart()


@contextlib.asynccontextmanager
async def _dropping(machine: Machine, matches: Sequence[Sequence[str]]) -> AsyncIterator[None]:
    """Drop what matches, both ways, outside the tunnel and loopback.

    In the raw table, ahead of connection tracking and of the accept rules that tailscaled puts first in its
    own chains whenever it likes.
    """
    chain = (("-N", CHAIN), *(("-A", CHAIN, *match, "-j", "DROP") for match in matches))
    hooks = [
        (hook, way, interface, "-j", CHAIN)
        for hook, way in (("OUTPUT", "-o"), ("PREROUTING", "-i"))
        for interface in await _interfaces(machine)
    ]
    try:
        await _rules(machine, [*chain, *(("-I", *hook) for hook in hooks)])
        yield
    finally:
        await _rules(machine, [*(("-D", *hook) for hook in hooks), ("-F", CHAIN), ("-X", CHAIN)])


async def _interfaces(machine: Machine) -> list[str]:
    """The interfaces that lead outside."""
    listed = await machine.exec(["ip", "-o", "link", "show", "up"], timeout=RULE_TIME)
    names = [line.split(":")[1].strip().partition("@")[0] for line in listed.stdout.splitlines()]
    return [name for name in names if name not in ("lo", TUNNEL)]


async def _rules(machine: Machine, rules: Sequence[Sequence[str]]) -> None:
    for command in ("iptables", "ip6tables"):
        for rule in rules:
            done = await machine.exec([command, "-w", "-t", "raw", *rule], timeout=RULE_TIME)
            if done.code != 0:
                raise HarnessError(
                    f"{machine.name}: {' '.join(done.argv)} ended with {done.code}: {done.output}"
                )
