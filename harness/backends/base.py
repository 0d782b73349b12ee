"""What every backend gives to the rest of the harness: networks of machines, each with an agent inside.

A backend only decides how an agent comes to run somewhere; everything that happens on a machine afterwards
(programs, commands, probes) goes through that agent and is the same on all of them.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from harness.versions import Release

if TYPE_CHECKING:
    from harness.backends.machine import Machine


class Capability(StrEnum):
    """What a backend's machines can do beyond running a client. Scenarios name what they need."""

    TUN = "tun"
    """The tailnet is a kernel interface, so that any program on the machine uses it."""
    OWN_PORTS = "own-ports"
    """A machine may listen on any port; without it all machines share one set."""
    SOURCE_ADDRESS = "source-address"
    """A listener sees the sender's tailnet address; without it only tailscaled knows (whois)."""
    BLOCK_UDP = "block-udp"
    """The machine's own packet filter can be changed."""
    IPV6 = "ipv6"
    """Machines also have IPv6 addresses outside the tailnet."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended by itself. `code` is minus the signal's number when a signal ended it."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self) -> str:
        """What a person at the terminal would have seen, standard output first."""
        return "\n".join(part.strip() for part in (self.stdout, self.stderr) if part.strip())


class Launcher(Protocol):
    """The one thing that differs between backends once a machine is laid out: how its agent comes and goes."""

    async def start(self) -> None:
        """Start the agent, which makes its socket in the data directory."""

    async def stop(self) -> None:
        """Ask the agent to end its programs and itself; returns when they have ended."""

    async def kill(self) -> None:
        """End the agent and all its programs at once, as a power cut would; returns when they have ended."""


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

    async def machine(self, name: str, release: Release) -> "Machine":
        """A started machine with the programs of that release."""

    async def machine_of(self, name: str, image: str) -> "Machine":
        """A started machine from a container image. Raises Unsupported where there are no containers."""

    async def address_of(self, machine: "Machine") -> str:
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

    async def prepare(self, releases: Sequence[Release]) -> None:
        """Make or fetch everything those releases need, so that no test's time pays for it."""

    def network(self, name: str) -> Network:
        """A network to enter with `async with`."""

    async def close(self) -> None:
        """Let go of connections and folders."""
