"""Real clients under the rules of a live tailnet: how each thing is done, and what must hold when all is quiet."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

from harness import invariants
from harness.clientfaults import Mender
from harness.clients.tailscaled import TailscaledClient
from harness.errors import NotAnswering
from harness.expected import look
from harness.faults import cut_from
from harness.generated.rules import MACHINES, USERS
from harness.history import History
from harness.oracle import TCP, Packet, admits
from harness.policies import ALLOW_ALL, read
from harness.pool import Pool
from harness.reach import Target
from harness.servers.base import ServerNode
from harness.servers.inprocess import InProcessServer
from harness.status import Status
from harness.tailnet import Tailnet, gather
from harness.versions import Release
from harness.wait import RECHECK_SECONDS, Budget

PORT = 22
"""At which machines answer, and which one of the policies names."""

PROBE_SECONDS = 1.0

CUT_SECONDS = {False: 0.5, True: 12.0}
"""How long a machine is cut off, for long or not. Its connection survives both: TCP sends again."""


class LiveClients:
    """A server and four clients of the pool. `act` by act, then `settled`."""

    def __init__(self, server: InProcessServer, pool: Pool, releases: Sequence[Release]) -> None:
        self.tailnet = Tailnet(server, pool.network, releases, History())
        self.clients: list[TailscaledClient] = []
        self.mender = Mender()
        self._server = server
        self._pool = pool
        self._numbers: set[str] = set()
        self._highest = 0

    async def open(self) -> None:
        """Start the server, create the users, and let the first machines in."""
        await self._server.start()
        for name in USERS:
            await self.tailnet.user(name)
        releases = itertools.islice(itertools.cycle(self.tailnet.releases), MACHINES)
        self.clients = await gather(*map(self._pool.lend, releases))
        self.tailnet.clients += self.clients
        for number, user in enumerate("112"):
            await self.joins(number, user)

    async def close(self) -> None:
        """Give the clients back, and end the server."""
        await gather(*map(self._pool.give_back, self.clients))
        await self._server.close()

    # ---- what may happen

    async def joins(
        self, machine: int, user: str, *, tags: tuple[str, ...] = (), ephemeral: bool = False
    ) -> None:
        """`tailscale up` with a key of this user, and a new node key."""
        key = await self.tailnet.auth_key(USERS[int(user) - 1], tags=tags, ephemeral=ephemeral)
        await self.tailnet.up(self.clients[machine], key, extra=["--force-reauth", "--timeout=20s"])

    async def comes_back(self, machine: int) -> None:
        """Another life of the program, and connected."""
        client = self.clients[machine]
        await client.restart()
        if (await client.read()).state == "Stopped":
            await client.reconnect()
        self._done("came back", client)

    async def goes_away(self, machine: int) -> None:
        """`tailscale down`."""
        await self.clients[machine].down()
        self._done("went away", self.clients[machine])

    async def logs_out(self, machine: int) -> None:
        """`tailscale logout`."""
        await self.clients[machine].logout()
        self._done("logged out", self.clients[machine])

    async def restarts(self) -> None:
        """The server ends and starts."""
        await self._server.stop()
        await self._server.start()
        self.tailnet.history.record("server restarted")

    @contextlib.asynccontextmanager
    async def cut_off(self, machine: int, *, for_long: bool) -> AsyncIterator[None]:
        """All packets between the machine and the server are lost, for a while after what happens meanwhile."""
        client = self.clients[machine]
        async with cut_from(client, self._server.settings.port):
            self._done("is cut off", client)
            yield
            await asyncio.sleep(CUT_SECONDS[for_long])
        self._done("is reached again", client)

    def _done(self, what: str, client: TailscaledClient) -> None:
        self.tailnet.history.record(what, name=client.name)

    # ---- what must hold

    async def settled(self, policy: str) -> list[str]:
        """What is still wrong when the time to reconnect is over; nothing, as a rule within a second."""
        end = asyncio.get_running_loop().time() + Budget.RECONNECT.seconds
        while complaints := await self._complaints(policy):
            if asyncio.get_running_loop().time() > end:
                return complaints
            for client in self.clients:
                await self.mender.mend(client)
            await asyncio.sleep(RECHECK_SECONDS)
        self._numbers = {node.id for node in await self._server.nodes()}
        self._highest = max([self._highest, *map(int, self._numbers)])
        return []

    async def _complaints(self, policy: str) -> list[str]:
        nodes = await self._server.nodes()
        complaints = invariants.nothing_is_shared(nodes)
        complaints += invariants.numbers_only_grow(self._numbers, [node.id for node in nodes], self._highest)
        members = await self._members(nodes)
        complaints += invariants.presence_is_true(nodes, [int(node.id) for node, _, _ in members])
        return complaints or await self._as_the_oracle_says(policy, members)

    async def _members(
        self, nodes: Sequence[ServerNode]
    ) -> list[tuple[ServerNode, TailscaledClient, Status]]:
        """The clients that are connected, as far as they know, with their nodes."""
        by_address = {address: node for node in nodes for address in node.addresses}
        found = []
        for client in self.clients:
            with contextlib.suppress(NotAnswering):
                status = await client.read()
                key = status.self_node.public_key if status.self_node else ""
                node = next((by_address[a] for a in map(str, status.addresses) if a in by_address), None)
                if status.state == "Running" and node is not None and node.node_key == key:
                    found.append((node, client, status))
        return found

    async def _as_the_oracle_says(
        self, policy: str, members: Sequence[tuple[ServerNode, TailscaledClient, Status]]
    ) -> list[str]:
        world, rules = await look(self._server), read(policy or ALLOW_ALL)
        nodes = {node.name: node for node in world.nodes}
        complaints = []
        for node, client, status in members:
            wanted = sorted(world.peers_of(rules, nodes[node.given_name]))
            seen = sorted(peer.name for peer in status.peers)
            if seen != wanted:
                complaints.append(f"{node.given_name} on {client.name} sees {seen}, and is to see {wanted}")
        if complaints:
            return complaints
        for node, client, _ in members:
            others = [(other, there) for other, there, _ in members if other is not node]
            targets = [Target(there.name, "tcp", other.addresses[0], PORT) for other, there in others]
            own = set(node.addresses)
            probes = await client.row(targets, senders=[own] * len(targets), within=PROBE_SECONDS)
            for (other, _), probe in zip(others, probes, strict=True):
                source, receiver = nodes[node.given_name], nodes[other.given_name]
                assert source.ipv4 is not None
                assert receiver.ipv4 is not None
                packet = Packet(source.ipv4, receiver.ipv4, TCP, PORT)
                want = admits(rules, world.users, world.nodes, receiver, packet)
                if (probe.reached if want else not probe.answered) is False:
                    said = probe.reason or f"answered with source {probe.source}"
                    complaints.append(
                        f"{node.given_name} → {other.given_name} tcp {PORT}: "
                        f"expected {'yes' if want else 'no'}, {said}"
                    )
        return complaints
