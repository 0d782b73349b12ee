"""One client's end of the tailnet: its echo service, its probes and its questions to MagicDNS.

With a kernel interface the agent simply uses the machine's routes. In userspace mode it goes through
tailscaled's SOCKS5 server (which takes TCP, UDP and names in every release from 1.80 on), asks tailscaled who
is behind a source address, and leaves ICMP and DNS to LocalAPI.
"""

import asyncio
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal

from harness.backends.base import Capability
from harness.backends.machine import TAILSCALED_SOCKET, Machine
from harness.clients.localapi import LocalAPI
from harness.errors import AgentFailed, NotAnswering, Unsupported
from harness.ports import free_port
from harness.reach import Probe, Target
from harness.status import Status

ECHO_PORT = 80
"""Where a machine with ports of its own answers echoes."""

LOOPBACK = "127.0.0.1"

MAGIC_DNS = {4: "100.100.100.100:53", 6: "[fd7a:115c:a1e0::53]:53"}
"""The same resolver; a machine without an IPv4 address in the tailnet has no way to the first."""

ROW_AT_ONCE = 256
"""Probes of a row under way at the same time: most of a large row should not be answered, and only wait."""

RESOLVE_MS = 3000
"""One question to a resolver on the same machine, with a few resends."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """A DNS answer. Codes of RFC 1035: 0 fine, 2 server failure, 3 no such name, 5 refused."""

    code: int
    addresses: tuple[str, ...]


class Tunnel:
    """See the module. `open` must run after each start of the machine, `flags` go to each start of tailscaled."""

    def __init__(self, machine: Machine, api: LocalAPI) -> None:
        self.echo_port = 0
        self._ports: set[int] = set()
        self._machine = machine
        self._api = api
        self._kernel = machine.can(Capability.TUN)
        self._socks = ""
        self._listening_in = ""

    def flags(self) -> list[str]:
        """What tailscaled must be started with."""
        if self._kernel:
            return []
        self._socks = f"{LOOPBACK}:{free_port(LOOPBACK)}"
        return ["--tun", "userspace-networking", "--socks5-server", self._socks]

    async def open(self) -> None:
        """Answer echoes, once for each life of the agent, always at the same port."""
        instance = (await self._machine.agent("hello"))["instance"]
        if instance == self._listening_in:
            return
        own = ECHO_PORT if self._machine.can(Capability.OWN_PORTS) else self.echo_port
        self.echo_port = await self._answer_at(own)
        for port in self._ports - {self.echo_port}:
            await self._answer_at(port)
        self._listening_in = instance

    async def listen(self, port: int) -> None:
        """Also answer echoes on this port, TCP and UDP. Raises AgentFailed when it is taken."""
        self._ports.add(await self._answer_at(port))

    async def _answer_at(self, port: int) -> int:
        # Without ports of its own tailscaled delivers to loopback at the port that was dialled.
        host = "" if self._machine.can(Capability.OWN_PORTS) else LOOPBACK
        return int((await self._machine.agent("listen", host=host, port=port))["port"])

    def port(self, wanted: int | None) -> int:
        """The wanted port, or the one for echoes. Raises Unsupported for one that another machine may have."""
        if wanted is None:
            return self.echo_port
        if wanted not in (self.echo_port, *self._ports):
            self._machine.require(Capability.OWN_PORTS)
        return wanted

    async def resolve(self, name: str, kind: Literal["A", "AAAA"], *, by: Literal[4, 6] = 4) -> Resolution:
        """Ask MagicDNS: by a packet of IP version `by` to it, in userspace mode by tailscaled's own resolver.

        The latter fails every name (code 2) before 1.96 while the netmap has no nameservers: those releases
        give their whole DNS set-up back when they cannot read the system's (seen with 1.80.3 to 1.92.5,
        net/dns compileConfig). Probes by name work all the same, through SOCKS5.
        """
        where = (
            {"server": MAGIC_DNS[by]} if self._kernel else {"daemon": self._machine.path(TAILSCALED_SOCKET)}
        )
        answer = await self._machine.agent("resolve", name=name, type=kind, timeout_ms=RESOLVE_MS, **where)
        return Resolution(answer["rcode"], tuple(answer["addresses"]))

    async def probe(self, target: Target, status: Status, *, within: float) -> Probe:
        """Try once to reach a target; `status` is the client's own, of this moment."""
        address = target.address
        if not self._kernel:
            if (refusal := outside_netmap(status, address)) is not None:
                return refusal
            if target.transport == "icmp":
                return await self._ping(address, within)
        elif not is_address(address):
            try:
                answer = await self._look_up(address, status)
            except AgentFailed as error:
                return Probe(answered=False, reason=str(error))
            if not answer.addresses:
                return Probe(answered=False, reason=f"MagicDNS has no address for it (code {answer.code})")
            address = answer.addresses[0]
        seen = await self._machine.agent(
            "probe",
            network=target.transport,
            address=address,
            port=target.port,
            timeout_ms=round(within * 1000),
            socks=self._socks,
            nonce=secrets.token_hex(8),
        )
        return judge(seen, target, own={str(a) for a in status.addresses})

    async def row(
        self, targets: Sequence[Target], *, senders: Sequence[Collection[str]], within: float
    ) -> list[Probe]:
        """Try many targets once, all in one question to the agent; needs a kernel interface, and addresses.

        `senders` are, for each target, the addresses that it may see as the source.
        """
        self._machine.require(Capability.TUN)
        probes = [
            {
                "network": target.transport,
                "address": target.address,
                "port": target.port,
                "timeout_ms": round(within * 1000),
                "nonce": secrets.token_hex(8),
            }
            for target in targets
        ]
        answer = await self._machine.agent("row", probes=probes, at_once=ROW_AT_ONCE)
        return [
            judge(seen, target, own=set(own))
            for seen, target, own in zip(answer["probes"], targets, senders, strict=True)
        ]

    async def _look_up(self, name: str, status: Status) -> Resolution:
        """The name's addresses of the IP version that this client has, IPv4 first."""
        if version_of(status) == 4:
            return await self.resolve(name, "A")
        return await self.resolve(name, "AAAA", by=6)

    async def _ping(self, address: str, within: float) -> Probe:
        """ICMP by tailscaled's own ping of type ICMP, which the peer's packet filter judges (no disco ping)."""
        if not is_address(address):
            raise Unsupported("ICMP goes to an address in userspace mode; prove a name by TCP")
        try:
            answer = await asyncio.wait_for(self._api.post("ping", {"ip": address, "type": "ICMP"}), within)
        except (TimeoutError, NotAnswering) as error:
            return Probe(answered=False, reason=str(error) or "timeout")
        if answer.get("Err"):
            return Probe(answered=False, reason=str(answer["Err"]))
        return Probe(answered=True, reason=None, seconds=float(answer.get("LatencySeconds") or 0))


def version_of(status: Status) -> Literal[4, 6]:
    """The IP version in which the client talks to its own resolver."""
    return 4 if any(address.version == 4 for address in status.addresses) else 6


def outside_netmap(status: Status, where: str) -> Probe | None:
    """The refusal to probe what no peer has, None when one has it.

    In userspace mode tailscaled dials such an address through the host, past the tunnel.
    """
    holder = status.holder(ip_address(where)) if is_address(where) else status.named(where)
    if holder is None:
        return Probe(answered=False, reason=f"no peer has {where}; state is {status.state}")
    if holder == status.self_node:
        raise Unsupported("a client cannot probe itself without a kernel interface")
    return None


def judge(seen: Mapping[str, Any], target: Target, *, own: set[str]) -> Probe:
    """Whether what the agent saw proves the tunnel: the right one answered, and saw one of our addresses."""
    seconds = seen["elapsed_ms"] / 1000
    if not seen["reached"]:
        said = f"{seen['kind']}: {seen['error']}"
        return Probe(answered=seen["kind"] == "wrong", reason=said, seconds=seconds)
    if target.transport == "icmp":
        return Probe(answered=True, reason=None, seconds=seconds)
    answer = seen["answer"]
    source = answer["source"].rpartition(":")[0].strip("[]")
    senders = set(answer.get("peer") or ()) or {source}
    reason = None
    if answer["name"] != target.name:
        reason = f"{answer['name']} answered instead of {target.name}"
    elif own.isdisjoint(senders):
        reason = f"the target saw {sorted(senders)} as the sender, not one of {sorted(own)}"
    return Probe(answered=True, reason=reason, seconds=seconds, source=source)


def is_address(text: str) -> bool:
    """Whether it is an IP address rather than a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
