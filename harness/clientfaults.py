"""Faults of released clients that no control server can help, told by the client's own log.

A harness that met them as failures would blame the server; one that only tried longer would hide others behind them.
"""

from dataclasses import dataclass
from typing import Final

from harness.clients.tailscaled import DAEMON, TailscaledClient
from harness.conditions import running
from harness.wait import Budget


@dataclass(frozen=True, slots=True)
class Fault:
    """What a client logs when it happens, and where it is known."""

    logged: str
    issue: str


LOST_PEER: Final = Fault(
    "magicsock: ParseEndpoint: unknown peer", "https://github.com/tailscale/tailscale/issues/18918"
)
"""A peer that comes with a route is told to WireGuard before magicsock knows it; all of WireGuard's configuration is
given up until the next change: peers are out of reach. Seen with 1.92.5; while magicsock hears of nodes over the event
bus (NodeViewsUpdate: in the sources of 1.86.5 and 1.92.5, not of 1.80.3, 1.98.9 and 1.102.4)."""


class Mender:
    """Starts clients anew that met the fault, each time that they do. `mended` has a sentence for each."""

    def __init__(self, fault: Fault = LOST_PEER) -> None:
        self.mended: list[str] = []
        self._fault = fault
        self._met: dict[str, int] = {}

    async def mend(self, client: TailscaledClient) -> bool:
        """Whether the client met the fault since it was last looked at; then it runs anew, with the state it has."""
        log = client.machine.data / f"{DAEMON}.log"
        times = log.read_text(errors="replace").count(self._fault.logged) if log.exists() else 0
        if times <= self._met.get(client.name, 0):
            return False
        self._met[client.name] = times
        self.mended.append(f"{client.release} on {client.name} was started anew: {self._fault.issue}")
        await client.restart()
        await client.until(running(), Budget.RECONNECT)
        return True
