"""What a scenario may ask of a client, whatever program it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.reach import Prober
from harness.status import Status
from harness.versions import Release
from harness.wait import Source


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
