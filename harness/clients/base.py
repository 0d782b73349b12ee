"""What a scenario may ask of a client, whatever program it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from harness.reach import Prober
from harness.status import Status
from harness.versions import Release
from harness.wait import Source


class Ability(StrEnum):
    """What not every program can do. `Client.abilities` has those that this one can; the rest raises Unsupported."""

    ICMP = "icmp"
    """It sends ICMP echo requests through its tunnel and answers those of others."""
    NAMES = "names"
    """It reaches a peer by its MagicDNS name."""
    DOWN = "down"
    """It can leave and come back without logging in again."""
    LOGOUT = "logout"
    """It can give its node key up, and log in anew, as another user too."""
    PROFILES = "profiles"
    """It holds several logins and switches between them."""
    PREFS = "prefs"
    """It has preferences that its user sets and reads, and a command line for them."""
    PATHS = "paths"
    """It tells whether a peer is reached directly or through DERP, and can be kept from going directly."""
    CONTROL_FREE = "control-free"
    """It goes on without its control server, and finds it again, without ever interrupting its tunnel."""


@dataclass(frozen=True, slots=True)
class CliResult:
    """A command of the client as its user met it."""

    command: str
    code: int
    message: str
    """What the terminal showed, standard output first."""

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0


class Client(Source[Status], Prober, Protocol):
    """A node of a tailnet under the harness's control: `read` is its Status, `probe` goes through its tunnel."""

    @property
    def release(self) -> Release:
        """Which program and version it is."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can do beyond joining and being reached over TCP and UDP."""

    async def start(self) -> None:
        """Start the program with the state it has, if any."""

    async def stop(self) -> None:
        """End the program in good order; the state stays."""

    async def kill(self) -> None:
        """End the program at once (SIGKILL); the state stays as it happens to be."""

    async def up(
        self, login_server: str, *, auth_key: str | None, hostname: str | None, extra: Sequence[str]
    ) -> CliResult:
        """Connect to a control server, logging in if need be."""

    async def down(self) -> CliResult:
        """Disconnect and stay logged in."""

    async def logout(self) -> CliResult:
        """Disconnect and give the node key up."""

    async def close(self) -> None:
        """End the program and every connection to it."""
