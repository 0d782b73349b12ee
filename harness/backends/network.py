"""What every backend gives to the rest of the harness: networks of machines, each with an agent inside.

A backend only decides how an agent comes to run somewhere; everything that happens on a machine afterwards
(programs, commands, probes) goes through that agent and is the same on all of them.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from harness.backends.base import Capability
from harness.backends.machine import Machine
from harness.provision import Provisioner
from harness.versions import Release


class Network(AbstractAsyncContextManager["Network"], Protocol):
    """Machines that reach each other and the host, and nothing else where the backend can see to it.

    Leaving the context ends and removes all of it.
    """

    @property
    def name(self) -> str:
        """Unique within the run."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this network's machines can do."""

    @property
    def host_address(self) -> str:
        """The host's address in this network, to bind services to that machines must reach."""

    async def machine(self, name: str, release: Release) -> Machine:
        """A started machine with the programs of that release."""

    async def machine_of(self, name: str, image: str) -> Machine:
        """A started machine from a container image. Raises Unsupported where there are no containers."""

    async def address_of(self, machine: Machine) -> str:
        """The machine's IPv4 address in this network, for others on it."""


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
