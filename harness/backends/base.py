"""What machines are made of, whatever backend made them: capabilities, ended commands, and the launcher."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


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
    ACCOUNTS = "accounts"
    """A machine has users and home folders of its own, for people who log in there."""
    SEGMENTS = "segments"
    """There may be LANs beside the internet, and machines that stand in several of them."""
    HOST_PROGRAMS = "host-programs"
    """What is installed on the host can be run on a machine."""


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
