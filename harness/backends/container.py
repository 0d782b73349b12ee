"""The container backend: a client is a container with its own kernel interface, addresses and packet filter.

The only module that knows Docker. Every network has no way out but to the host, so a client that calls home
is heard by nobody. Everything carries the run's label and is removed by the one who made it; where Ryuk can
be had it is the second net for a crash. Needs NET_ADMIN and /dev/net/tun in containers, never privileges.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import IPAMConfig, IPAMPool
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network as DockerNetwork

from harness.backends.base import Capability
from harness.backends.machine import AGENT_SOCKET, Layout, Machine
from harness.cache import Cache
from harness.errors import HarnessError, Missing
from harness.images import REGISTRY_PATIENCE, ClientImage, ClientImages
from harness.progress import Report
from harness.provision import Provisioner
from harness.versions import Release

R = TypeVar("R")

LABEL = "headscale-harness.run"

INSIDE = "/harness"
"""The data directory in a container."""

AGENT = "/usr/local/bin/harness-agent"

ENGINE_SECONDS = 60
"""One call of the engine: starting a container on a loaded machine takes seconds."""

PING_SECONDS = 5

CALLS_AT_ONCE = 4
"""Engine calls under way; more only queue inside the daemon."""

STOP_SECONDS = 10
"""The agent gives its programs 3 s twice before it ends."""

TUNNEL_CAPABILITIES = frozenset(
    {Capability.TUN, Capability.OWN_PORTS, Capability.SOURCE_ADDRESS, Capability.BLOCK_UDP}
)


class DockerEngine:
    """The engine's client, for images and for what testcontainers leaves out. All of it blocks."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def has_image(self, reference: str) -> bool:
        try:
            self.client.images.get(reference)
        except ImageNotFound:
            return False
        return True

    def offered(self, reference: str, *, patience: timedelta) -> bool:
        brief = docker.from_env(timeout=patience.total_seconds())
        try:
            brief.api.inspect_distribution(reference)
        except (DockerException, OSError):
            return False
        finally:
            brief.close()
        return True

    def pull(self, reference: str) -> None:
        self.client.images.pull(reference)

    def import_rootfs(self, archive: Path, reference: str) -> None:
        repository, _, tag = reference.rpartition(":")
        self.client.api.import_image_from_file(str(archive), repository=repository, tag=tag)


def connect() -> DockerEngine:
    """The engine that the environment names. Raises Missing, with the reason, when none answers."""
    try:
        client = docker.from_env(timeout=PING_SECONDS)
        client.ping()
        client.close()
        return DockerEngine(docker.from_env(timeout=ENGINE_SECONDS))
    except (DockerException, OSError) as error:
        raise Missing(
            f"no Docker engine answers ({error}); start one or choose the process backend"
        ) from error


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

    def address(self) -> str:
        """The container's IPv4 address in its network. Blocks."""
        container = self._container.get_wrapped_container()
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"]
        return next(str(network["IPAddress"]) for network in networks.values())

    async def remove(self) -> None:
        """Remove the container whatever its state."""
        if self._created:
            await self._call(self._container.stop)


class Caller:
    """Runs blocking engine calls on a few threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="docker")

    async def __call__(self, function: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class ContainerNetwork:
    """One bridge without a way out, and the containers on it."""

    def __init__(self, name: str, backend: "ContainerBackend") -> None:
        self.name = name
        self.capabilities = TUNNEL_CAPABILITIES
        self.host_address = ""
        self._backend = backend
        self._call = backend.call
        self._network: DockerNetwork | None = None
        self._folder: Path | None = None
        self._machines: list[tuple[Machine, ContainerLauncher]] = []

    async def __aenter__(self) -> "ContainerNetwork":
        await self._call(self._backend.prepare_ryuk)
        self._folder = Path(tempfile.mkdtemp(prefix=f"hsh-{self.name}-"))
        self._folder.chmod(0o755)
        try:
            self._network = await self._call(self._create_with_ipv6)
            self.capabilities |= {Capability.IPV6}
        except APIError:
            self._network = await self._call(lambda: self._create(None))
        self.host_address = await self._call(self._gateway)
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
        if self._network is not None:
            with contextlib.suppress(NotFound):
                await self._call(self._network.remove)

    async def machine(self, name: str, release: Release) -> Machine:
        return await self._start(name, await self._call(lambda: self._backend.images.find(release)))

    async def machine_of(self, name: str, image: str) -> Machine:
        await self._call(lambda: self._backend.images.fetch(image))
        # The image decides who its user is; what it writes must not depend on that.
        return await self._start(name, ClientImage(image, {}), mode=0o777)

    async def address_of(self, machine: Machine) -> str:
        launcher = next(launcher for known, launcher in self._machines if known is machine)
        return await self._call(launcher.address)

    async def _start(self, name: str, image: ClientImage, *, mode: int = 0o755) -> Machine:
        if self._folder is None or self._network is None:
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
        )
        launcher = ContainerLauncher(
            self._container(name, image, {**image.mounts, agent: AGENT, data: INSIDE}), self._call
        )
        machine = Machine(layout, launcher)
        self._machines.append((machine, launcher))
        await machine.start()
        return machine

    def _container(self, name: str, image: ClientImage, mounts: Mapping[Path, str]) -> DockerContainer:
        assert self._network is not None
        container = DockerContainer(image.reference, docker_client_kw={"timeout": ENGINE_SECONDS})
        container.with_name(f"{self._backend.run}-{self.name}-{name}").with_network(self._network)
        container.with_kwargs(
            entrypoint=[AGENT, "-name", name, "-socket", f"{INSIDE}/{AGENT_SOCKET}"],
            hostname=name,
            labels={LABEL: self._backend.run},
            cap_add=["NET_ADMIN"],
            devices=["/dev/net/tun:/dev/net/tun"],
            sysctls={"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv4.ip_forward": "1"},
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

    def _create_with_ipv6(self) -> DockerNetwork:
        prefix = secrets.token_bytes(7).hex()  # a ULA of our own (RFC 4193), so that networks never overlap
        return self._create(f"fd{prefix[:2]}:{prefix[2:6]}:{prefix[6:10]}:{prefix[10:14]}::/64")

    def _create(self, ipv6_subnet: str | None) -> DockerNetwork:
        options: dict[str, Any] = {"internal": True, "labels": {LABEL: self._backend.run}}
        if ipv6_subnet is not None:
            options["enable_ipv6"] = True
            options["ipam"] = IPAMConfig(pool_configs=[IPAMPool(subnet=ipv6_subnet)])
        network = DockerNetwork(docker_client_kw={"timeout": ENGINE_SECONDS}, docker_network_kw=options)
        network.name = f"{self._backend.run}-{self.name}"
        return network.create()

    def _gateway(self) -> str:
        assert self._network is not None
        pools = self._backend.engine.client.networks.get(self._network.id).attrs["IPAM"]["Config"]
        return next(str(pool["Gateway"]) for pool in pools if "." in pool.get("Gateway", ""))


class ContainerBackend:
    """See Backend."""

    name = "container"
    capabilities = TUNNEL_CAPABILITIES

    def __init__(
        self, engine: DockerEngine, provisioner: Provisioner, cache: Cache, *, report: Report, why: str
    ) -> None:
        self.why = why
        self.run = f"hsh-{os.getpid()}-{secrets.token_hex(3)}"
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
                f"{image} cannot be had; a crash of this run may leave containers labelled {LABEL}={self.run}"
            )
            testcontainers_config.ryuk_disabled = True
