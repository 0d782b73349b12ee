"""What a scenario may ask of a client, whatever program it is."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from harness.artifacts import Item
from harness.backends.machine import Machine
from harness.clients.tunnel import Resolution
from harness.reach import Prober, Target
from harness.status import Address, Status
from harness.versions import Release
from harness.wait import Budget, Condition, Source

By = Literal["ipv4", "ipv6", "name"]
"""How a target is addressed."""


class Ability(StrEnum):
    """What not every program can do. `Client.abilities` has those that this one can; the rest raises Unsupported."""

    ICMP = "icmp"
    """It sends ICMP echo requests through its tunnel and answers those of others."""
    NAMES = "names"
    """It reaches a peer by its MagicDNS name."""
    DNS = "dns"
    """It answers DNS questions as its machine's programs may ask them, and passes on what others must answer."""
    DOWN = "down"
    """It can leave and come back without logging in again."""
    LOGOUT = "logout"
    """It can give its node key up and log in anew, hold several logins, and follow a peer to its new key."""
    PREFS = "prefs"
    """It has preferences that its user sets and reads, and a command line for them."""
    PATHS = "paths"
    """It tells whether a peer is reached directly or through DERP, and can be kept from going directly."""
    OUTAGE = "outage"
    """Its tunnel carries on while the control server is away."""
    NETMAP = "netmap"
    """It shows the netmap that it holds, packet filter included."""
    FILTER = "filter"
    """Its packet filter lets in, whatever the rules say: what answers it by TCP or ICMP, and pings of whoever may
    reach anything of it."""
    UDP_FLOWS = "udp-flows"
    """Its packet filter lets in what answers it by UDP, whatever the rules say."""
    UDP_PORTS = "udp-ports"
    """Each of its UDP probes is a flow of its own, from another port: what knows an old flow lets that go on."""
    OWN_ROOTS = "own-roots"
    """It trusts the certificate authority that it is given (SSL_CERT_FILE)."""


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
    """A node of a tailnet under the harness's control: `read` is its Status, `probe` goes through its tunnel.

    What a program cannot do raises Unsupported; `abilities` says so beforehand.
    """

    env: dict[str, str]
    """Added to the program's environment at its next start."""

    @property
    def machine(self) -> Machine:
        """Where it runs."""

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

    async def restart(self) -> None:
        """Stop and start with the same state, and with `env` as it is now."""

    async def close(self) -> None:
        """End the program and every connection to it."""

    def evidence(self) -> AsyncIterator[Item]:
        """Its logs, and what it still says of itself."""

    # ---- what it knows

    @property
    def status(self) -> Status:
        """The status of the last read."""

    @property
    def last_status(self) -> Status | None:
        """The same; None when it was never read."""

    def address(self, version: Literal[4, 6] = 4) -> Address:
        """Its tailnet address of that IP version, as of the last read."""

    async def netmap(self) -> Mapping[str, Any]:
        """The whole netmap as it holds it, in Go's JSON. Ability.NETMAP; raises NotAnswering while there is none."""

    async def until(self, condition: Condition[Status], budget: Budget) -> Status:
        """Wait for a condition on its status."""

    async def resolve(self, name: str, kind: Literal["A", "AAAA"] = "A") -> Resolution:
        """What it answers to this question. Without Ability.DNS it only looks a peer's name up."""

    # ---- what its user does

    async def up(
        self,
        login_server: str,
        *,
        auth_key: str | None = None,
        hostname: str | None = None,
        extra: Sequence[str] = (),
    ) -> CliResult:
        """Connect to a control server, logging in if need be; returns when Running or refused."""

    async def reconnect(self) -> CliResult:
        """Connect again with the preferences as they are."""

    async def down(self) -> CliResult:
        """Disconnect and stay logged in. Ability.DOWN."""

    async def logout(self) -> CliResult:
        """Disconnect and give the node key up. Ability.LOGOUT."""

    async def set(self, *args: str) -> CliResult:
        """Change preferences, such as `--hostname=new`. Ability.PREFS."""

    async def cli(self, *args: str, budget: Budget = Budget.COMMAND) -> CliResult:
        """A command line of its own. Ability.PREFS."""

    # ---- how it is reached

    async def listen(self, port: int) -> None:
        """Also answer echoes on this port, TCP and UDP. Raises AgentFailed when it is taken."""

    def tcp(self, port: int | None = None, *, by: By = "ipv4") -> Target:
        """This client's echo over TCP."""

    def udp(self, port: int | None = None, *, by: By = "ipv4") -> Target:
        """This client's echo over UDP."""

    def icmp(self, *, by: By = "ipv4") -> Target:
        """This client's answer to ICMP echo requests. Ability.ICMP, of the prober too."""
