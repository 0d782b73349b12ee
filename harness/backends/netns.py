"""The netns backend: a client is a few processes in namespaces of their own, with a kernel interface, addresses and
packet filter, as in a container but without Docker and without an image.

Each machine has its own network, processes, host name, mounts and `/run`, and writes to `/etc`, `/home` and `/var` for
itself; the rest of the file system is the host's. All cables lead to bridges in one more namespace, which a single one
leads out of, to the host. Needs root, overlayfs, iproute2, iptables and util-linux.
"""

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from harness.backends import namespaces
from harness.backends.base import Capability
from harness.backends.machine import AGENT_SOCKET, Layout, Machine
from harness.backends.process import ProcessLauncher
from harness.backends.segment import (
    INTERNET,
    Segment,
    Version,
    random_private,
    random_ula,
)
from harness.errors import HarnessError, Unsupported
from harness.history import History
from harness.progress import Report
from harness.provision import Provisioner
from harness.runs import new_folder, run_name
from harness.versions import Release

CAPABILITIES = frozenset(Capability)

FIRST_MACHINE = 2
"""The host has the first address of the internet, and in a LAN nobody has it, so that both are counted alike."""

BOOT = """
set -e
mount -t tmpfs -o mode=755 harness /run
mkdir /run/harness
cd /run/harness
for own in etc home var; do
    mkdir "$own" "$own.work"
    mount -t overlay -o "lowerdir=/$own,upperdir=$own,workdir=$own.work" harness "/$own"
done
rm -f /etc/resolv.conf /etc/hosts /etc/hostname
echo "nameserver $2" >/etc/resolv.conf
printf '127.0.0.1 localhost\\n::1 localhost\\n127.0.1.1 %s\\n' "$1" >/etc/hosts
echo "$1" >/etc/hostname
hostname "$1"
shift 2
cd /
exec "$@"
"""
"""Run in a machine's new namespaces. `/run` is empty, so that no daemon of the host is met (D-Bus, resolved). What is
written to `/etc`, `/home` and `/var` stays in this life of the machine: tailscaled's resolver, accounts. The host is
named as the nameserver, where only scenarios that want one have it."""


@dataclass
class _Place:
    """A machine's cables: where it is plugged in, and at which place."""

    namespace: str
    plugs: dict[str, int] = field(default_factory=dict)
    """Interface number by segment name, in the order of plugging in."""


class NetnsLauncher:
    """Wires the machine up and runs its agent. Each life has fresh namespaces, as a computer that was off has."""

    def __init__(self, network: "NetnsNetwork", place: _Place, agent: ProcessLauncher) -> None:
        self._network = network
        self._place = place
        self._agent = agent

    async def start(self) -> None:
        await self._network.wire(self._place)
        await self._agent.start()

    async def stop(self) -> None:
        await self._agent.end_of_input()
        await namespaces.delete(self._place.namespace)

    async def kill(self) -> None:
        await self._agent.kill()
        await namespaces.delete(self._place.namespace)


class NetnsNetwork:
    """See Network."""

    def __init__(self, name: str, provisioner: Provisioner) -> None:
        self.name = name
        self.history = History()
        self.capabilities = CAPABILITIES
        self.internet = Segment(INTERNET, random_private(), random_ula())
        self._provisioner = provisioner
        self._switch = f"{run_name()}.{name}"
        self._host_end = f"hsh{secrets.token_hex(4)}"
        self._folder: Path | None = None
        self._segments: dict[str, Segment] = {}
        self._places: dict[str, _Place] = {}
        self._machines: list[Machine] = []
        self._numbers: dict[str, dict[str, int]] = {}
        """Of each machine, in each segment: it keeps its address when it comes back."""

    @property
    def host_address(self) -> str:
        """The first address of the internet."""
        assert self.internet.ipv4 is not None
        return str(self.internet.ipv4[1])

    async def __aenter__(self) -> "NetnsNetwork":
        await asyncio.to_thread(namespaces.sweep)
        self._folder = new_folder("netns")
        self._folder.chmod(0o755)
        try:
            await namespaces.add(self._switch)
            await self._bridge(self.internet)
            await self._plug_host_in()
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for machine in self._machines:
            with contextlib.suppress(HarnessError, OSError):  # one that cannot end must not keep the others
                await machine.kill()
        self._machines.clear()
        await self._remove()

    async def machine(self, name: str, release: Release, *, on: Sequence[Segment] = ()) -> Machine:
        programs = await asyncio.to_thread(self._provisioner.programs, release)
        return await self._start(name, {program: str(path) for program, path in programs.items()}, on)

    async def host(self, name: str, *, on: Sequence[Segment] = ()) -> Machine:
        return await self._start(name, {}, on)

    async def machine_of(self, name: str, image: str) -> Machine:
        raise Unsupported(f"the netns backend cannot run the image {image}: it needs a Docker engine")

    async def segment(
        self, name: str, *, ipv4: IPv4Network | None = None, ipv6: IPv6Network | None = None
    ) -> Segment:
        made = Segment(name, ipv4, ipv6)
        await self._bridge(made)
        return made

    async def attach(self, machine: Machine, segment: Segment) -> None:
        place = self._place_of(machine)
        if segment.name in place.plugs:
            raise HarnessError(f"{machine.name} is on {segment.name} already")
        place.plugs[segment.name] = max(place.plugs.values(), default=-1) + 1
        await self._plug_in(place, segment)

    async def detach(self, machine: Machine, segment: Segment) -> None:
        place = self._place_of(machine)
        if segment.name not in place.plugs:
            raise HarnessError(f"{machine.name} is not on {segment.name}")
        interface = f"eth{place.plugs.pop(segment.name)}"
        await namespaces.ip(place.namespace, [f"link del {interface}"])

    async def route(self, prefix: IPv4Network | IPv6Network, *, via: str) -> None:
        await namespaces.ip(None, [f"route replace {prefix} via {via} dev {self._host_end}"])

    async def address_of(
        self, machine: Machine, segment: Segment | None = None, *, version: Version = 4
    ) -> str:
        place = self._place_of(machine)
        where = segment or self._segments[next(iter(place.plugs))]
        prefix = where.prefix(version)
        if where.name not in place.plugs or prefix is None:
            raise HarnessError(f"{machine.name} has no IPv{version} address on {where.name}")
        return str(prefix[self._number(place, where)])

    # ---- how it is made

    async def _start(self, name: str, programs: Mapping[str, str], on: Sequence[Segment]) -> Machine:
        if self._folder is None:
            raise HarnessError(f"network {self.name} is not entered")
        agent = await asyncio.to_thread(self._provisioner.agent)
        data = self._folder / name
        data.mkdir()
        place = _Place(f"{self._switch}.{name}")
        place.plugs = {segment.name: number for number, segment in enumerate(on or [self.internet])}
        self._places[name] = place
        enter = ("ip", "netns", "exec", place.namespace)
        layout = Layout(name, data, str(data), programs, self.host_address, self.capabilities, enter)
        argv: list[str | Path] = [*enter]
        argv += ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
        argv += ["sh", "-c", BOOT, "boot", name, self.host_address]
        argv += [agent, "-name", name, "-socket", data / AGENT_SOCKET, "-until-eof", "-capture"]
        process = ProcessLauncher(argv, data / "agent.log")
        machine = Machine(layout, NetnsLauncher(self, place, process), self.history)
        self._machines.append(machine)
        await machine.start()
        return machine

    async def wire(self, place: _Place) -> None:
        """Make the machine's network namespace, and plug it in where it belongs."""
        await namespaces.delete(place.namespace)  # of a life whose end was not seen
        await namespaces.add(place.namespace)
        for name in place.plugs:
            await self._plug_in(place, self._segments[name])

    async def _plug_in(self, place: _Place, segment: Segment) -> None:
        number = place.plugs[segment.name]
        outlet, interface = f"v{secrets.token_hex(4)}", f"eth{number}"
        await namespaces.ip(
            self._switch,
            [
                f"link add {outlet} type veth peer name {interface} netns {place.namespace}",
                f"link set {outlet} master {self._bridge_of(segment)} up",
            ],
        )
        host_part = self._number(place, segment)
        addresses = [
            f"addr add {prefix[host_part]}/{prefix.prefixlen} dev {interface}{_no_detection(prefix)}"
            for prefix in (segment.ipv4, segment.ipv6)
            if prefix is not None
        ]
        await namespaces.ip(place.namespace, [f"link set {interface} up", *addresses])

    async def _bridge(self, segment: Segment) -> None:
        if segment.name in self._segments:
            raise HarnessError(f"{self.name} has a segment {segment.name} already")
        self._segments[segment.name] = segment
        bridge = self._bridge_of(segment)
        # Without snooping nobody has to ask before IPv6's neighbours are found.
        await namespaces.ip(
            self._switch, [f"link add {bridge} type bridge mcast_snooping 0", f"link set {bridge} up"]
        )

    async def _plug_host_in(self) -> None:
        await namespaces.ip(
            None, [f"link add {self._host_end} type veth peer name host netns {self._switch}"]
        )
        bridge = self._bridge_of(self.internet)
        await namespaces.ip(self._switch, [f"link set host master {bridge} up"])
        addresses = [
            f"addr add {prefix[1]}/{prefix.prefixlen} dev {self._host_end}{_no_detection(prefix)}"
            for prefix in (self.internet.ipv4, self.internet.ipv6)
            if prefix is not None
        ]
        await namespaces.ip(None, [f"link set {self._host_end} up", *addresses])

    async def _remove(self) -> None:
        await namespaces.delete(self._switch)  # and with it the host's cable and everything that it led to
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _place_of(self, machine: Machine) -> _Place:
        try:
            return self._places[machine.name]
        except KeyError:
            raise HarnessError(f"{machine.name} is no machine of {self.name}") from None

    def _bridge_of(self, segment: Segment) -> str:
        return f"br{list(self._segments).index(segment.name)}"

    def _number(self, place: _Place, segment: Segment) -> int:
        taken = self._numbers.setdefault(segment.name, {})
        return taken.setdefault(place.namespace, FIRST_MACHINE + len(taken))


class NetnsBackend:
    """See Backend."""

    name = "netns"
    capabilities = CAPABILITIES

    def __init__(self, provisioner: Provisioner, *, report: Report, why: str) -> None:
        self.why = why
        self.provisioner = provisioner
        if swept := namespaces.sweep():
            report(f"removed what runs that have ended left: {', '.join(swept)}")

    async def prepare(self, releases: Sequence[Release]) -> None:
        await asyncio.to_thread(self.provisioner.agent)
        for release in releases:
            await asyncio.to_thread(self.provisioner.programs, release)

    def network(self, name: str) -> NetnsNetwork:
        return NetnsNetwork(name, self.provisioner)

    async def close(self) -> None:
        """Nothing is held between networks."""


def _no_detection(prefix: IPv4Network | IPv6Network) -> str:
    """Duplicate detection would keep an IPv6 address from being used for a second."""
    return " nodad" if prefix.version == 6 else ""
