"""Machines with a running client, lent to one tailnet after another: booted once, as good as new each time.

What comes back is stopped in good order, its state is wiped, and it is started again, while others work: a second, most
of it waiting. `tailscale logout` would be a little faster and leaves the machine key, and peers that then begin with
each other lose handshakes for five seconds. That nothing of the last tailnet is left is looked at each time.
"""

import asyncio
import itertools
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from harness.backends.network import Network
from harness.backends.segment import Segment
from harness.clients.tailscaled import DAEMON, TailscaledClient, start_client
from harness.conditions import needs_login
from harness.errors import HarnessError
from harness.versions import Release
from harness.wait import Budget

KERNEL = "ip -o addr show; ip route show table 52; ip -6 route show table 52; ip -o link show"
"""What tailscaled leaves in the kernel, and what was plugged in. 52 is its table of routes (wgengine/router)."""

LOOK = timedelta(seconds=10)

OWN_LINKS = ("lo", "eth0", "tailscale0")


class NotClean(HarnessError):
    """A machine that came back still has something of the tailnet that it was in."""


class Pool:
    """See the module. Leaving the context ends all clients; the network ends the machines.

    Every machine answers echoes at `ports`.
    """

    def __init__(self, network: Network, *, ports: Sequence[int] = ()) -> None:
        self.network = network
        self._ports = ports
        self._clean: dict[Release, list[TailscaledClient]] = defaultdict(list)
        self._washing: dict[Release, list[asyncio.Task[TailscaledClient]]] = defaultdict(list)
        self._all: list[TailscaledClient] = []
        self._plugged: dict[str, Segment] = {}
        self._keys: dict[str, str] = {}
        self._untouched: dict[str, Mapping[str, Any]] = {}
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for tasks in self._washing.values() for task in tasks]
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(client.close() for client in self._all), return_exceptions=True)

    @property
    def size(self) -> int:
        """How many machines were booted so far."""
        return len(self._all)

    async def lend(self, release: Release, *, on: Segment | None = None) -> TailscaledClient:
        """A client that is not logged in, on a machine without a past; also plugged in there, from its start on."""
        client = await self._one(release)
        if on is not None:
            await (
                client.stop()
            )  # one that is plugged in while it runs gives its connections up, some time later
            await self.network.attach(client.machine, on)
            self._plugged[client.name] = on
            await client.start()
            await client.until(needs_login(), Budget.DAEMON)
        return client

    async def _one(self, release: Release) -> TailscaledClient:
        if self._clean[release]:
            return self._clean[release].pop()
        if self._washing[release]:
            return await self._washing[release].pop(0)
        name = f"p{next(self._numbers)}-{str(release).replace('.', '-')}"
        client = await start_client(await self.network.machine(name, release), release)
        self._all.append(client)
        for port in self._ports:
            await client.listen(port)
        self._untouched[client.name] = await client.prefs()
        return client

    def joined(self, client: TailscaledClient) -> None:
        """The client is in a tailnet: its node key must be one that no machine of the pool ever had."""
        key = client.status.self_node.public_key if client.status.self_node else ""
        holder = self._keys.setdefault(key, client.name)
        if holder != client.name or not key:
            raise NotClean(f"{client.name} has the node key {key!r}, which {holder} had before")

    async def give_back(self, client: TailscaledClient) -> None:
        """Returns when it is gone from its tailnet. The rest is done meanwhile: whoever lends it next waits for that,
        and reads what went wrong."""
        await client.stop()
        self._washing[client.release].append(asyncio.create_task(self._wash(client)))

    async def _wash(self, client: TailscaledClient) -> TailscaledClient:
        segment = self._plugged.pop(client.name, None)
        if segment is not None:
            await self.network.detach(client.machine, segment)
        await asyncio.to_thread(shutil.rmtree, client.machine.data / "state")
        (client.machine.data / f"{DAEMON}.log").unlink(missing_ok=True)
        await client.start()
        await client.until(needs_login(), Budget.DAEMON)
        if complaints := await leftovers(client, untouched=self._untouched[client.name]):
            raise NotClean(f"{client.name} came back with {'; '.join(complaints)}")
        return client


async def leftovers(client: TailscaledClient, *, untouched: Mapping[str, Any]) -> list[str]:
    """What a client that is out of every tailnet should not have: of its own, and in its machine's kernel.

    `untouched` are the preferences of one that was never in any.
    """
    status, prefs = await client.read(), await client.prefs()
    complaints = [f"the address {address}" for address in status.addresses]
    complaints += [f"the peer {peer.name}" for peer in status.peers]
    if status.have_node_key:
        complaints.append("a node key")
    changed = [name for name in {**untouched, **prefs} if prefs.get(name) != untouched.get(name)]
    complaints += [f"the preference {name} {prefs.get(name)}" for name in sorted(changed)]
    kernel = await client.machine.exec(["sh", "-c", KERNEL], timeout=LOOK)
    return complaints + [f"in its kernel: {line}" for line in kernel.stdout.splitlines() if _is_left(line)]


def _is_left(line: str) -> bool:
    """Lines are of addresses (`2: eth0 inet …`), links (`2: eth0@if3: <…`), and routes in table 52."""
    words = line.split()
    number, _, _ = line.partition(":")
    if not number.isdigit():
        return "throw" not in words  # tailscaled's own exceptions from its routes
    link = words[1].partition("@")[0].rstrip(":")
    if words[2] in ("inet", "inet6"):
        return link == "tailscale0" and not words[3].startswith("fe80:")
    return link not in OWN_LINKS
