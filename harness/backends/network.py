"""What every backend gives to the rest of the harness: networks of machines, each with an agent inside.

A backend only decides how an agent comes to run somewhere; everything that happens on a machine afterwards
(programs, commands, probes) goes through that agent and is the same on all of them.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from harness.backends.base import Capability
from harness.backends.machine import Machine
from harness.backends.segment import Segment, Version
from harness.history import History
from harness.provision import Provisioner
from harness.versions import Release


class Network(AbstractAsyncContextManager["Network"], Protocol):
    """Machines that reach each other and the host, and nothing else where the backend can see to it.

    Leaving the context ends and removes all of it.
    """

    history: History
    """Where its machines record what happens to them, from their making on."""

    @property
    def name(self) -> str:
        """Unique within the run."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this network's machines can do."""

    @property
    def host_address(self) -> str:
        """The host's address in this network, to bind services to that machines must reach."""

    @property
    def internet(self) -> Segment:
        """Where the host stands, at the first address, and every machine that is put nowhere else."""

    async def segment(
        self, name: str, *, ipv4: IPv4Network | None = None, ipv6: IPv6Network | None = None
    ) -> Segment:
        """A new LAN with these addresses, to which no way leads. Capability.SEGMENTS, as what follows."""

    async def machine(self, name: str, release: Release, *, on: Sequence[Segment] = ()) -> Machine:
        """A started machine with the programs of that release, on these segments; none stands for the internet."""

    async def host(self, name: str, *, on: Sequence[Segment] = ()) -> Machine:
        """A started machine without a client: it has nothing but the agent."""

    async def attach(self, machine: Machine, segment: Segment) -> None:
        """Plug the machine in there too."""

    async def detach(self, machine: Machine, segment: Segment) -> None:
        """Pull the machine's plug there."""

    async def route(self, prefix: IPv4Network | IPv6Network, *, via: str) -> None:
        """The host's way to a LAN whose addresses the internet sees: by the router at this address in the internet."""

    async def machine_of(self, name: str, image: str) -> Machine:
        """A started machine from a container image. Raises Unsupported where there are no containers."""

    async def address_of(
        self, machine: Machine, segment: Segment | None = None, *, version: Version = 4
    ) -> str:
        """The machine's address on the segment, for others on it; on the first that it is on when none is named."""


class Backend(Protocol):
    """A way to run machines. Holds no machine itself; `close` gives back what `network` needed."""

    @property
    def name(self) -> str:
        """As `--backend` spells it."""

    @property
    def why(self) -> str:
        """Why this one was chosen, for the head of a report."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What its machines can do."""

    @property
    def provisioner(self) -> Provisioner:
        """What builds programs, also those that run on the host."""

    async def prepare(self, releases: Sequence[Release]) -> None:
        """Make or fetch everything those releases need, so that no test's time pays for it."""

    def network(self, name: str) -> Network:
        """A network to enter with `async with`."""

    async def close(self) -> None:
        """Let go of connections and folders."""
