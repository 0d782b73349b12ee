"""Services: ports at which every client of a tailnet answers, TCP and UDP, so that policies can tell them apart.

Where machines have ports of their own, a service is one port, the same everywhere. On the process backend all
machines share loopback's: a service is then a range, in which each client has a port of its own, and a rule for
the service names the range. `str(service)` is right in a policy either way.
"""

from collections.abc import Sequence

from harness.clients.base import Client
from harness.errors import AgentFailed, HarnessError
from harness.ports import LOWEST, free_port

OWN_PORTS_FROM = 8000

WIDTH = 24
"""Clients in one tailnet, and a few ports that something else may have."""


class Service:
    """One service and the clients that offer it. `ports` is what a rule for it covers."""

    def __init__(self, name: str, ports: range) -> None:
        self.name = name
        self.ports = ports
        self._of: dict[str, int] = {}

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    @property
    def first(self) -> int:
        """The lowest port of it."""
        return self.ports[0]

    @property
    def last(self) -> int:
        """The highest port of it."""
        return self.ports[-1]

    def of(self, client: Client) -> int:
        """The port at which this client offers it."""
        if client.name not in self._of:
            raise HarnessError(f"{client.name} does not offer {self.name}")
        return self._of[client.name]

    async def offer(self, client: Client) -> None:
        """Let the client answer, at the first port of the range that it gets."""
        taken = set(self._of.values()) if len(self.ports) > 1 else set()
        for port in (port for port in self.ports if port not in taken):
            self._of[client.name] = (
                port  # before anything else may run: another client asks for one meanwhile
            )
            try:
                await client.listen(port)
            except AgentFailed:
                continue
            return
        del self._of[client.name]
        raise HarnessError(f"{client.name} gets none of the ports {self} for {self.name}")


def services(names: Sequence[str], *, host: str | None) -> list[Service]:
    """Services with these names, on ports that follow each other in their order.

    `host` is the address whose ports all machines share, None where each has its own.
    """
    width = 1 if host is None else WIDTH
    first = OWN_PORTS_FROM
    if host is not None:  # a whole block that the kernel gives to nobody
        first = max(LOWEST, free_port(host) - width * len(names))
    starts = range(first, first + width * len(names), width)
    return [Service(name, range(start, start + width)) for name, start in zip(names, starts, strict=True)]
