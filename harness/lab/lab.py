"""Builds networks out of a backend's segments: LANs, the routers that lead out of them, and machines on them.

    lab = Lab(tailnet.network)
    home = await lab.lan("home", nat=Nat.SYMMETRIC)
    flat = await lab.lan("flat", behind=home)                       # two NATs in a row
    client = await tailnet.join("alice", machine=await lab.machine("a", release, on=home))

A LAN's machines have their default route by its router, through which they reach the control server; nothing else
leads out. Each machine gets its routes again whenever it starts.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_address

from harness.backends.base import Capability
from harness.backends.machine import Machine, Setting
from harness.backends.network import Network
from harness.backends.segment import Segment, Version, random_private, random_public, random_ula
from harness.errors import HarnessError, Unsupported
from harness.lab.nat import Behaviour, Nat, in_a_row
from harness.versions import Release

COMMAND_TIME = timedelta(seconds=10)

LIFETIME = timedelta(minutes=2)
"""How long a NAT remembers a flow without packets: the least that RFC 4787 (REQ-5) allows."""

TPROXY_PORT = 4787

ROUTER = """
iptables -w -P FORWARD DROP
iptables -w -A FORWARD -i {inside} -o {outside} -j ACCEPT
iptables -w -A FORWARD -i {outside} -o {inside} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -w -t nat -A POSTROUTING -o {outside} ! -p udp -j MASQUERADE
iptables -w -A OUTPUT -o {outside} -p icmp --icmp-type port-unreachable -j DROP
iptables -w -t mangle -A PREROUTING -i {inside} -p udp -j TPROXY --on-port {port} --tproxy-mark 1
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100
"""
"""TCP and ICMP are masqueraded. UDP goes to the agent, whose NAT is exactly of the kind that it is told
(natsockets.go): the kernel's is of one kind, and gives a flow another port when its own is taken."""


@dataclass(frozen=True, slots=True)
class Lan:
    """A segment and its router, which stands on it and on what is outside of it."""

    segment: Segment
    router: Machine
    outside: Segment
    nat: Nat
    behind: "Lan | None"

    @property
    def name(self) -> str:
        """The segment's."""
        return self.segment.name

    @property
    def behaviour(self) -> Behaviour:
        """What the whole way to the internet does with UDP."""
        routers = [self.nat]
        outer = self.behind
        while outer is not None:
            routers.append(outer.nat)
            outer = outer.behind
        return in_a_row(routers)


class Lab:
    """See the module. Raises Unsupported on a network without segments."""

    def __init__(self, network: Network) -> None:
        if Capability.SEGMENTS not in network.capabilities:
            raise Unsupported(f"the network {network.name} lacks {Capability.SEGMENTS}")
        self.network = network
        self._lans: list[Lan] = []
        self._machines: dict[str, Machine] = {}
        self._where: dict[str, Lan | None] = {}

    async def lan(
        self,
        name: str,
        *,
        nat: Nat = Nat.PORT_RESTRICTED,
        behind: Lan | None = None,
        ipv4: bool = True,
        ipv6: bool = False,
        public: bool = False,
        hairpin: bool = False,
        lifetime: timedelta = LIFETIME,
        latency: timedelta = timedelta(0),
    ) -> Lan:
        """A LAN with a router, on the internet or in another LAN.

        IPv6 is forwarded as it is. With `public` its addresses are ones that exit nodes lead to. `hairpin`: its
        machines reach each other by the router's outer address. `lifetime`: how long a NAT remembers a silent flow.
        `latency`: how much later UDP leaves a NAT than it came, either way; for all packets there is `faults.delay`.
        """
        prefix = (random_public if public else random_private)() if ipv4 else None
        segment = await self.network.segment(name, ipv4=prefix, ipv6=random_ula() if ipv6 else None)
        outside = behind.segment if behind else self.network.internet
        router = await self.network.host(f"{name}-router", on=[segment, outside])
        lan = Lan(segment, router, outside, nat, behind)
        await _now_and_at_each_start(
            router,
            partial(self._set_router_up, lan, hairpin=hairpin, lifetime=lifetime, latency=latency),
        )
        self._lans.append(lan)
        await self._tell_outside(lan)
        return lan

    async def machine(self, name: str, release: Release, *, on: Lan | None = None) -> Machine:
        """A machine for a client of that release, on this LAN or on the internet."""
        made = await self.network.machine(name, release, on=[self._segment(on)])
        return await self._settle(made, on)

    async def host(self, name: str, *, on: Lan | None = None) -> Machine:
        """A machine without a client."""
        made = await self.network.host(name, on=[self._segment(on)])
        return await self._settle(made, on)

    async def move(self, machine: Machine, *, to: Lan | None) -> None:
        """Unplug the machine and plug it in elsewhere, as somebody does who goes from home to a café."""
        await self.network.detach(machine, self._segment(self._where[machine.name]))
        await self.network.attach(machine, self._segment(to))
        self._where[machine.name] = to
        await self._route(machine)

    async def address_of(self, machine: Machine, *, version: Version = 4) -> str:
        """The machine's address where it is now."""
        where = self._segment(self._where[machine.name])
        return await self.network.address_of(machine, where, version=version)

    async def outer_address_of(self, lan: Lan) -> str:
        """The router's IPv4 address towards the internet, which others see where there is NAT."""
        return await self.network.address_of(lan.router, lan.outside)

    # ---- how it is made

    def _segment(self, lan: Lan | None) -> Segment:
        return lan.segment if lan is not None else self.network.internet

    async def _settle(self, machine: Machine, where: Lan | None) -> Machine:
        self._machines[machine.name] = machine
        self._where[machine.name] = where
        await _now_and_at_each_start(machine, partial(self._route, machine))
        return machine

    async def _route(self, machine: Machine) -> None:
        """A default route by the router; on the internet, the ways into LANs whose addresses are seen there."""
        where = self._where[machine.name]
        if where is None:
            await self._add_all_ways(machine)
            return
        await self._default_route(machine, where)

    async def _default_route(self, machine: Machine, lan: Lan) -> None:
        for version in _versions(lan.segment):
            gateway = await self.network.address_of(lan.router, lan.segment, version=version)
            await run(machine, f"ip -{version} route replace default via {gateway}")

    async def _add_all_ways(self, machine: Machine) -> None:
        """What stands on the internet knows the ways into all LANs whose addresses are seen there."""
        for lan in self._lans:
            if lan.behind is None and lan.router is not machine:
                await self._add_ways(machine, lan)

    async def _add_ways(self, machine: Machine, lan: Lan) -> None:
        for version in _seen_outside(lan):
            gateway = await self.network.address_of(lan.router, lan.outside, version=version)
            await run(machine, f"ip -{version} route replace {lan.segment.prefix(version)} via {gateway}")

    async def _tell_outside(self, lan: Lan) -> None:
        """Whoever is outside already learns of a LAN whose addresses are seen there."""
        if lan.behind is not None:
            await _now_and_at_each_start(lan.behind.router, partial(self._add_ways, lan.behind.router, lan))
            return
        for version in _seen_outside(lan):
            prefix = lan.segment.prefix(version)
            assert prefix is not None
            gateway = await self.network.address_of(lan.router, lan.outside, version=version)
            await self.network.route(prefix, via=gateway)
        on_the_internet = [m for name, m in self._machines.items() if self._where[name] is None]
        routers = [other.router for other in self._lans if other.behind is None and other is not lan]
        for machine in (*on_the_internet, *routers):
            await self._add_ways(machine, lan)

    async def _set_router_up(
        self, lan: Lan, *, hairpin: bool, lifetime: timedelta, latency: timedelta
    ) -> None:
        if lan.behind is not None:
            await self._default_route(lan.router, lan.behind)
        else:
            await self._add_all_ways(lan.router)
        if lan.nat is Nat.NONE or lan.segment.ipv4 is None:
            return
        outer = await self.network.address_of(lan.router, lan.outside)
        inner = await self.network.address_of(lan.router, lan.segment)
        await lan.router.agent(
            "nat",
            outside=outer,
            inside=TPROXY_PORT,
            mapping=lan.nat.behaviour.mapping,
            filtering=lan.nat.behaviour.filtering,
            keep_port=lan.nat is not Nat.SYMMETRIC,
            hairpin=hairpin,
            lifetime_ms=_milliseconds(lifetime),
            latency_ms=_milliseconds(latency),
        )
        inside, outside = await interface_of(lan.router, inner), await interface_of(lan.router, outer)
        await run(lan.router, ROUTER.format(inside=inside, outside=outside, port=TPROXY_PORT))


async def run(machine: Machine, script: str) -> str:
    """Run a shell script on the machine, to its end, and return what it printed. Raises HarnessError when it fails."""
    done = await machine.exec(["sh", "-ec", script], timeout=COMMAND_TIME)
    if done.code != 0:
        raise HarnessError(f"{machine.name}: {script.strip()!r} ended with {done.code}: {done.output}")
    return done.stdout


async def interface_of(machine: Machine, address: str) -> str:
    """The name of the machine's interface with this address."""
    listed = await run(machine, "ip -o addr show")
    for line in listed.splitlines():
        _, name, _, found, *_ = line.split()
        if ip_address(found.partition("/")[0]) == ip_address(address):
            return name
    raise HarnessError(f"{machine.name} has no interface with {address}; it has\n{listed}")


async def _now_and_at_each_start(machine: Machine, setting: Setting) -> None:
    await setting()
    machine.at_each_start(setting)


def _milliseconds(time: timedelta) -> int:
    return round(time / timedelta(milliseconds=1))


def _versions(segment: Segment) -> list[Version]:
    versions: tuple[Version, ...] = (4, 6)
    return [version for version in versions if segment.prefix(version) is not None]


def _seen_outside(lan: Lan) -> list[Version]:
    """The IP versions in which packets leave the LAN with its machines' own addresses."""
    return [
        version
        for version in _versions(lan.segment)
        if lan.outside.prefix(version) is not None and (version == 6 or lan.nat is Nat.NONE)
    ]
