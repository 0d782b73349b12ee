"""The container backend: a client is a container with its own kernel interface, addresses and packet filter.

With engine.py the only module that knows Docker. Every network has no way out but to the host, so a client that
calls home is heard by nobody. Everything carries the run's label and is removed by the one who made it; where
Ryuk can be had it is the second net for a crash. Needs NET_ADMIN and /dev/net/tun in containers, never privileges.
"""

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from docker.errors import APIError, DockerException, NotFound
from docker.types import IPAMConfig, IPAMPool
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network as DockerNetwork

from harness.backends.base import Capability
from harness.backends.engine import ENGINE_SECONDS, LABEL, Caller, DockerEngine, labels
from harness.backends.machine import AGENT_SOCKET, Layout, Machine
from harness.backends.segment import INTERNET, Segment, Version, random_ula
from harness.cache import Cache
from harness.errors import HarnessError
from harness.history import History
from harness.images import REGISTRY_PATIENCE, ClientImage, ClientImages
from harness.progress import Report
from harness.provision import Provisioner
from harness.runs import new_folder, run_name
from harness.versions import Release

INSIDE = "/harness"
"""The data directory in a container."""

AGENT = "/usr/local/bin/harness-agent"

STOP_SECONDS = 10
"""The agent gives its programs 3 s twice before it ends."""

RULE_MARK = "headscale-harness"

SWEEP = f"""
iptables -w -S DOCKER-USER | grep -F {RULE_MARK} | while read -r _ _ _ bridge rest; do
    ip link show "$bridge" >/dev/null 2>&1 || iptables -w -D DOCKER-USER -i "$bridge" $rest
done
"""
"""Takes out the rules of runs that crashed, whose bridges are gone."""

TUNNEL_CAPABILITIES = frozenset(
    {
        Capability.TUN,
        Capability.OWN_PORTS,
        Capability.SOURCE_ADDRESS,
        Capability.BLOCK_UDP,
        Capability.ACCOUNTS,
        Capability.SEGMENTS,
    }
)


class ContainerLauncher:
    """Starts and ends one container whose process 1 is the agent."""

    def __init__(self, container: DockerContainer, call: "Caller") -> None:
        self._container = container
        self._call = call
        self._created = False

    async def start(self) -> None:
        if self._created:
            await self._call(self._container.get_wrapped_container().start)
        else:
            await self._call(self._container.start)
            self._created = True

    async def stop(self) -> None:
        await self._call(lambda: self._container.get_wrapped_container().stop(timeout=STOP_SECONDS))

    async def kill(self) -> None:
        await self._call(self._container.get_wrapped_container().kill)

    def address(self, network: str, version: Version) -> str:
        """The container's address in that Docker network, empty when it has none. Blocks."""
        container = self._container.get_wrapped_container()
        container.reload()
        there = container.attrs["NetworkSettings"]["Networks"].get(network) or {}
        return str(there.get("IPAddress" if version == 4 else "GlobalIPv6Address") or "")

    @property
    def id(self) -> str:
        """The engine's name for it."""
        return str(self._container.get_wrapped_container().id)

    async def remove(self) -> None:
        """Remove the container whatever its state."""
        if self._created:
            await self._call(self._container.stop)


class ContainerNetwork:
    """Bridges without a way out, and the containers on them. The first is the internet, where the host stands."""

    def __init__(self, name: str, backend: "ContainerBackend") -> None:
        self.name = name
        self.history = History()
        self.capabilities = TUNNEL_CAPABILITIES
        self.host_address = ""
        self.internet = Segment(INTERNET, None, None)
        self._backend = backend
        self._call = backend.call
        self._networks: dict[str, DockerNetwork] = {}
        self._bridged: set[str] = set()
        self._folder: Path | None = None
        self._machines: list[tuple[Machine, ContainerLauncher]] = []
        self._first: dict[str, Segment] = {}

    async def __aenter__(self) -> "ContainerNetwork":
        await self._call(self._backend.prepare_ryuk)
        self._folder = new_folder("container")
        self._folder.chmod(0o755)
        try:
            network = await self._call(lambda: self._create(self.name, [random_ula()]))
            self.capabilities |= {Capability.IPV6}
        except APIError:
            network = await self._call(lambda: self._create(self.name, []))
        self._networks[INTERNET] = network
        pools = await self._call(lambda: self._pools(network))
        self.host_address = next(str(pool["Gateway"]) for pool in pools if "." in pool.get("Gateway", ""))
        self.internet = Segment(INTERNET, *_prefixes(pools))
        return self

    async def __aexit__(self, *_: object) -> None:
        removed = await asyncio.gather(
            *(self._remove(*pair) for pair in self._machines), return_exceptions=True
        )
        self._machines.clear()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        for error in removed:
            if isinstance(error, BaseException):
                raise error  # the network cannot go while a container is on it
        await self._unbridge()
        for network in self._networks.values():
            with contextlib.suppress(NotFound):
                await self._call(network.remove)
        self._networks.clear()

    async def machine(self, name: str, release: Release, *, on: Sequence[Segment] = ()) -> Machine:
        image = await self._call(lambda: self._backend.images.find(release))
        return await self._start(name, image, on=on)

    async def host(self, name: str, *, on: Sequence[Segment] = ()) -> Machine:
        image = await self._call(self._backend.images.tools)
        return await self._start(name, ClientImage(image, {}), on=on)

    async def machine_of(self, name: str, image: str) -> Machine:
        await self._call(lambda: self._backend.images.fetch(image))
        # The image decides who its user is; what it writes must not depend on that.
        return await self._start(name, ClientImage(image, {}), mode=0o777)

    async def segment(
        self, name: str, *, ipv4: IPv4Network | None = None, ipv6: IPv6Network | None = None
    ) -> Segment:
        if name in self._networks:
            raise HarnessError(f"{self.name} has a segment {name} already")
        prefixes = [prefix for prefix in (ipv4, ipv6) if prefix is not None]
        self._networks[name] = await self._call(lambda: self._create(f"{self.name}-{name}", prefixes))
        await self._bridge(INTERNET, name)
        return Segment(name, ipv4, ipv6)

    async def attach(self, machine: Machine, segment: Segment) -> None:
        launcher, network = self._launcher_of(machine), self._engines(segment)
        await self._call(lambda: network.connect(launcher.id))
        await self._only_these(machine, segment)

    async def detach(self, machine: Machine, segment: Segment) -> None:
        launcher, network = self._launcher_of(machine), self._engines(segment)
        await self._call(lambda: network.disconnect(launcher.id))

    async def route(self, prefix: IPv4Network | IPv6Network, *, via: str) -> None:
        await self._on_host(f"ip -{prefix.version} route replace {prefix} via {via}")

    async def address_of(
        self, machine: Machine, segment: Segment | None = None, *, version: Version = 4
    ) -> str:
        where = segment or self._first[machine.name]
        launcher, docker_name = self._launcher_of(machine), str(self._networks[where.name].name)
        address = await self._call(lambda: launcher.address(docker_name, version))
        if not address or where.prefix(version) is None:
            raise HarnessError(f"{machine.name} has no IPv{version} address on {where.name}")
        return address

    async def _start(
        self, name: str, image: ClientImage, *, on: Sequence[Segment] = (), mode: int = 0o755
    ) -> Machine:
        if self._folder is None or not self._networks:
            raise HarnessError(f"network {self.name} is not entered")
        agent = await self._call(self._backend.provisioner.agent)
        data = self._folder / name
        data.mkdir()
        data.chmod(mode)
        layout = Layout(
            name,
            data,
            inside=INSIDE,
            programs=image.programs,
            host_address=self.host_address,
            capabilities=self.capabilities,
            enter=("docker", "exec", self._container_name(name)),
        )
        first, *others = on or [self.internet]
        self._first[name] = first
        launcher = ContainerLauncher(
            self._container(name, image, {**image.mounts, agent: AGENT, data: INSIDE}, on=first), self._call
        )
        machine = Machine(layout, launcher, self.history)
        self._machines.append((machine, launcher))
        await machine.start()
        await self._only_these(machine, first)
        for segment in others:
            await self.attach(machine, segment)
        return machine

    async def _only_these(self, machine: Machine, segment: Segment) -> None:
        """Docker gives IPv4 addresses whether they are wanted or not."""
        if segment.ipv4 is None:
            network = str(self._networks[segment.name].name)
            address = await self._call(lambda: self._launcher_of(machine).address(network, 4))
            script = f'ip -4 addr flush dev "$(ip -4 -o addr show | grep -F " {address}/" | cut -d" " -f2)"'
            await machine.exec(["sh", "-ec", script], timeout=timedelta(seconds=5))

    def _container_name(self, machine: str) -> str:
        return f"{self._backend.run}-{self.name}-{machine}"

    def _container(
        self, name: str, image: ClientImage, mounts: Mapping[Path, str], *, on: Segment
    ) -> DockerContainer:
        container = DockerContainer(image.reference, docker_client_kw={"timeout": ENGINE_SECONDS})
        container.with_name(self._container_name(name)).with_network(self._networks[on.name])
        container.with_kwargs(
            entrypoint=[AGENT, "-name", name, "-socket", f"{INSIDE}/{AGENT_SOCKET}", "-capture"],
            hostname=name,
            labels=labels(self._backend.run),
            cap_add=["NET_ADMIN"],
            devices=["/dev/net/tun:/dev/net/tun"],
            sysctls={
                "net.ipv6.conf.all.disable_ipv6": "0",
                "net.ipv6.conf.all.forwarding": "1",
                "net.ipv6.conf.default.accept_dad": "0",  # no second without IPv6 on an interface that is new
                "net.ipv4.ip_forward": "1",
            },
        )
        for path, inside in mounts.items():
            container.with_volume_mapping(str(path), inside, "rw" if inside == INSIDE else "ro")
        return container

    async def _remove(self, machine: Machine, launcher: ContainerLauncher) -> None:
        with contextlib.suppress(HarnessError, DockerException, OSError):
            # Root inside made files that a user outside could not delete.
            await machine.exec(["chmod", "-R", "a+rwX", INSIDE], timeout=timedelta(seconds=5))
        with contextlib.suppress(HarnessError, DockerException, OSError):
            await machine.kill()
        with contextlib.suppress(NotFound):
            await launcher.remove()

    def _create(self, name: str, prefixes: Sequence[IPv4Network | IPv6Network]) -> DockerNetwork:
        """A Docker network with these addresses; Docker chooses IPv4 ones where none are given."""
        options: dict[str, Any] = {"internal": True, "labels": labels(self._backend.run)}
        if name != self.name:  # a LAN in which the host has no address
            options["options"] = {"com.docker.network.bridge.inhibit_ipv4": "true"}
        if any(prefix.version == 6 for prefix in prefixes):
            options["enable_ipv6"] = True
        if prefixes:
            options["ipam"] = IPAMConfig(pool_configs=[IPAMPool(subnet=str(prefix)) for prefix in prefixes])
        network = DockerNetwork(docker_client_kw={"timeout": ENGINE_SECONDS}, docker_network_kw=options)
        network.name = f"{self._backend.run}-{name}"
        return network.create()

    def _pools(self, network: DockerNetwork) -> list[dict[str, Any]]:
        return list(self._backend.engine.client.networks.get(network.id).attrs["IPAM"]["Config"])

    def _engines(self, segment: Segment) -> Any:
        """The engine's own handle of the segment's network."""
        return self._backend.engine.client.networks.get(self._networks[segment.name].id)

    def _launcher_of(self, machine: Machine) -> ContainerLauncher:
        return next(launcher for known, launcher in self._machines if known is machine)

    # ---- packets that machines forward

    async def _bridge(self, *names: str) -> None:
        """Let these networks carry packets of others.

        Where the kernel has br_netfilter, as Docker wants it, packets from one container to another on the same
        bridge pass the host's FORWARD chain, in which Docker drops what comes from, or goes to, an address outside an
        internal network: just what a router forwards. DOCKER-USER comes before that.
        """
        new = [name for name in names if name not in self._bridged]
        rules = [self._carrying(name) for name in new]
        await self._on_host("\n".join([SWEEP, *(f"iptables -w -I DOCKER-USER {rule}" for rule in rules)]))
        self._bridged.update(new)

    async def _unbridge(self) -> None:
        rules = [self._carrying(name) for name in self._bridged]
        self._bridged.clear()
        if rules:
            await self._on_host("\n".join(f"iptables -w -D DOCKER-USER {rule} || true" for rule in rules))

    def _carrying(self, name: str) -> str:
        bridge = f"br-{str(self._networks[name].id)[:12]}"
        return f"-i {bridge} -o {bridge} -m comment --comment {RULE_MARK} -j ACCEPT"

    async def _on_host(self, script: str) -> None:
        label = labels(self._backend.run)
        image = await self._call(self._backend.images.tools)
        await self._call(lambda: self._backend.engine.on_host(image, script, label=label))


def _prefixes(pools: Sequence[Mapping[str, Any]]) -> tuple[IPv4Network | None, IPv6Network | None]:
    found = [ip_network(pool["Subnet"]) for pool in pools]
    return (
        next((prefix for prefix in found if isinstance(prefix, IPv4Network)), None),
        next((prefix for prefix in found if isinstance(prefix, IPv6Network)), None),
    )


class ContainerBackend:
    """See Backend."""

    name = "container"
    capabilities = TUNNEL_CAPABILITIES

    def __init__(
        self, engine: DockerEngine, provisioner: Provisioner, cache: Cache, *, report: Report, why: str
    ) -> None:
        self.why = why
        self.run = f"{run_name()}-{secrets.token_hex(3)}"
        self.engine = engine
        self.provisioner = provisioner
        self.images = ClientImages(engine, provisioner, cache, report=report)
        self.call = Caller()
        self._report = report

    async def prepare(self, releases: Sequence[Release]) -> None:
        await self.call(self.prepare_ryuk)
        await self.call(self.provisioner.agent)
        for release in releases:
            await self.call(partial(self.images.find, release))

    def network(self, name: str) -> ContainerNetwork:
        return ContainerNetwork(name, self)

    async def close(self) -> None:
        self.call.close()
        await asyncio.to_thread(self.engine.client.close)

    def prepare_ryuk(self) -> None:
        """Go without the reaper where its image cannot be had: it is the second net, not the first."""
        if testcontainers_config.ryuk_disabled:
            return
        image = testcontainers_config.ryuk_image
        if not self.engine.has_image(image) and not self.engine.offered(image, patience=REGISTRY_PATIENCE):
            self._report(
                f"{image} cannot be had; what a crash of this run leaves in the engine, labelled "
                f"{LABEL}={self.run}, `harness clean` removes"
            )
            testcontainers_config.ryuk_disabled = True
