"""A tailnet for one scenario: a control server, clients of the selected releases, and the verbs for both.

Verbs do one thing, record it in the history and return when it is so. Each client gets a machine of its own
named after its release, so that a failed matrix reads by version.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from harness.backends.base import Capability
from harness.backends.machine import Machine
from harness.backends.network import Network
from harness.clientfaults import Mender
from harness.clients.base import Ability, Client, CliResult
from harness.clients.start import abilities, start
from harness.clients.tailscaled import TailscaledClient
from harness.conditions import has_addresses, running, sees, sees_exactly
from harness.errors import HarnessError, NotOffered, Unsupported
from harness.expected import FAMILIES, look, matrix
from harness.history import History
from harness.inforce import until_in_force
from harness.policies import ALLOW_ALL, read
from harness.reach import Pair, Unreached, assert_exactly, assert_reach
from harness.servers.base import AuthKey, ControlServer, ServerAbility, ServerNode
from harness.servers.hosted.server import HostedServer
from harness.servers.observed import observe
from harness.services import Service, services
from harness.status import Status
from harness.versions import Release
from harness.wait import Budget, Condition, until

if TYPE_CHECKING:
    from harness.proxy.proxy import ControlProxy

T = TypeVar("T")

HOUR = timedelta(hours=1)
AUTHORITY = "authority.pem"


class JoinFailed(HarnessError):
    """A client that was to join did not; the text is what its user saw."""


class Tailnet:
    """See the module. Made by `open_tailnet`; `releases` are those that this run selected."""

    def __init__(
        self, server: ControlServer, network: Network, releases: Sequence[Release], history: History
    ) -> None:
        self.server = server
        self.network = network
        network.history = history
        self.releases = tuple(releases)
        self.history = history
        self.clients: list[Client] = []
        self.services: list[Service] = []
        self.ip_versions: Sequence[int] = (4, 6)
        """Of which every client has an address; a scenario that configures others says so here."""
        self._mender = Mender()
        self._users: dict[str, str] = {}
        self._one_at_a_time = asyncio.Lock()
        self._numbers = itertools.count(1)

    @property
    def proxy(self) -> "ControlProxy":
        """What stands between clients and server, in a tailnet that was made with `proxied=True`."""
        proxy = getattr(self.server, "proxy", None)
        if proxy is None:
            raise HarnessError("this tailnet has no control proxy: make_tailnet(proxied=True)")
        return cast("ControlProxy", proxy)

    # ---- the server's side

    async def user(self, name: str) -> str:
        """The id of the user of this name, who is created at first mention."""
        async with self._one_at_a_time:
            if name not in self._users:
                self._users[name] = await self.server.create_user(name)
                self.history.record("user created", name=name)
            return self._users[name]

    async def auth_key(
        self,
        user: str,
        *,
        reusable: bool = False,
        ephemeral: bool = False,
        lifetime: timedelta = HOUR,
        tags: Sequence[str] = (),
    ) -> AuthKey:
        """A new pre-auth key of this user."""
        key = await self.server.create_key(
            await self.user(user), reusable=reusable, ephemeral=ephemeral, lifetime=lifetime, tags=tags
        )
        self.history.record("key created", id=key.id, user=user, reusable=reusable, ephemeral=ephemeral)
        return key

    async def node_of(self, client: Client) -> ServerNode:
        """The client's node as the server lists it; raises HarnessError when it does not."""
        node = await self.find_node(client)
        if node is None:
            raise HarnessError(f"the server lists no node with an address of {client.name}")
        return node

    async def find_node(self, client: Client) -> ServerNode | None:
        """As `node_of`, None when it is not there."""
        mine = {str(address) for address in client.status.addresses}
        return next((n for n in await self.server.nodes() if mine & set(n.addresses)), None)

    async def until_nodes(
        self, condition: Condition[list[ServerNode]], budget: Budget = Budget.SYNC
    ) -> list[ServerNode]:
        """Wait for a condition on the server's list of nodes."""
        return await until(_NodeList(self.server), condition, budget)

    # ---- the policy

    async def set_policy(self, text: str) -> None:
        """Put the policy in force; returns when every online client goes by it. See `until_in_force`.

        Raises AdminRefused with the server's complaints.
        """
        if ServerAbility.POLICY not in self.server.abilities:
            raise NotOffered(f"the server ({self.server.name}) takes no policy while it runs")
        await self.server.set_policy(text)
        self.history.record("policy set", policy=text)
        await self.until_in_force(text)

    async def until_in_force(self, text: str) -> None:
        """Wait until every online client goes by the policy, whoever set it."""
        await until_in_force(read(text), self.server, self.clients, self.history)

    async def serve(self, *names: str) -> list[Service]:
        """Services that every client offers from now on, later ones too."""
        shared = None if Capability.OWN_PORTS in self.network.capabilities else self.network.host_address
        made = services(names, host=shared)
        self.services += made
        for service in made:
            await self.each(self.clients, service.offer)
        return made

    async def expected(
        self, text: str, *, clients: Sequence[Client] | None = None, ports: Sequence[Service] | None = None
    ) -> Mapping[Pair, bool]:
        """The whole matrix under the policy, as the oracle has it; of all clients and services unless told."""
        chosen = self.clients if clients is None else clients
        served = self.services if ports is None else ports
        await self.each(chosen, lambda client: client.read())
        return matrix(read(text), await look(self.server), chosen, services=served)

    async def assert_policy(self, text: str) -> None:
        """Set the policy, and show that it is what holds: the whole matrix by packets, and who sees whom.

        What is denied is shown alive by letting everybody reach everything, which is in force afterwards.
        """
        await self.set_policy(text)
        await self.assert_in_force(text)

    async def assert_in_force(self, text: str) -> None:
        """As `assert_policy`, of the policy that was set."""
        await self.assert_peers(text)
        expected = await self.expected(text)
        await assert_exactly(expected, open_everything=lambda: self.set_policy(ALLOW_ALL))
        self.history.record("matrix as expected", pairs=len(expected), yes=sum(expected.values()))

    async def assert_peers(self, text: str) -> None:
        """Every client sees exactly those that the policy lets it see, or that it lets see it."""
        world, policy = await look(self.server), read(text)

        async def sees_them(client: Client) -> None:
            peers = world.peers_of(policy, world.node_of(client))
            await client.until(sees_exactly(peers), Budget.POLICY)

        await self.each(self.clients, sees_them)

    # ---- the clients' side

    async def client(
        self, release: Release, *, name: str | None = None, machine: Machine | None = None
    ) -> Client:
        """A started client that is not logged in, on a machine of its own or on this one."""
        if machine is None:
            unique = name or f"c{next(self._numbers)}-{str(release).replace('.', '-')}"
            machine = await self.network.machine(unique, release)
        machine.history = self.history  # of a machine that was made before
        client = await start(machine, release, env=self._trust(machine))
        for service in self.services:
            await service.offer(client)
        self.clients.append(client)
        self.history.record("client started", name=machine.name, release=str(release))
        return client

    def _trust(self, machine: Machine) -> dict[str, str]:
        """What makes a client trust the server's certificate authority."""
        if self.server.authority is None:
            return {}
        (machine.data / AUTHORITY).write_bytes(self.server.authority)
        return {"SSL_CERT_FILE": machine.path(AUTHORITY)}

    async def up(
        self,
        client: Client,
        key: AuthKey | None = None,
        *,
        hostname: str | None = None,
        extra: Sequence[str] = (),
    ) -> CliResult:
        """`tailscale up`, whatever comes of it."""
        text = key.text if key else None
        result = await client.up(self.server.url, auth_key=text, hostname=hostname, extra=extra)
        self.history.record("up", name=client.name, code=result.code)
        return result

    async def log_in(
        self,
        client: Client,
        key: AuthKey | None = None,
        *,
        hostname: str | None = None,
        extra: Sequence[str] = (),
    ) -> Client:
        """`tailscale up`, and Running with its addresses. Raises JoinFailed with what the user saw."""
        result = await self.up(client, key, hostname=hostname, extra=extra)
        if not result.ok:
            raise JoinFailed(f"{client.name}: {result.command!r} ended with {result.code}: {result.message}")
        await client.until(running(), Budget.JOIN)
        await client.until(has_addresses(self.ip_versions), Budget.SYNC)
        return client

    async def join(
        self,
        user: str,
        release: Release | None = None,
        *,
        name: str | None = None,
        machine: Machine | None = None,
        extra: Sequence[str] = (),
        **key: Any,
    ) -> Client:
        """A new client of this user, with a key of its own (the arguments are `auth_key`'s). `extra`: flags of `up`.

        A machine that is given must have the release's programs.
        """
        made, drawn = await gather(
            self.client(release or self._usual(), name=name, machine=machine), self.auth_key(user, **key)
        )
        return await self.log_in(made, drawn, extra=extra)

    async def leave(self, client: Client) -> None:
        """End the client, and delete its node."""
        node = await self.node_of(client)
        self.clients.remove(client)
        await client.close()
        await self.server.delete_node(node.id)
        self.history.record("left", name=client.name)

    async def join_each(
        self, user: str = "alice", *, able: Ability | None = None, **key: Any
    ) -> list[Client]:
        """A client of each selected release, in their order, all seeing each other.

        With `able`, releases without that ability are left out, which the history tells. Raises Unsupported when
        none is left.
        """
        releases = self.able(able)
        await self.user(user)
        clients = await self.each(releases, lambda release: self.join(user, release, **key))
        await self.meshed(clients)
        return clients

    def _usual(self) -> Release:
        """For clients beside those of each release: the last Go one.

        Two Rust clients that begin to talk at the same moment never get through: tailscale-rs 0.6.1 loses both
        handshakes (ts_tunnel, "session not found"), so a tailnet has one of them where that is possible.
        """
        return next((r for r in reversed(self.releases) if r.kind == "go"), self.releases[-1])

    def able(self, able: Ability | None) -> list[Release]:
        """The selected releases that have the ability, in their order. Raises Unsupported when none has."""
        chosen = [r for r in self.releases if able is None or able in abilities(r)]
        if left_out := [str(r) for r in self.releases if r not in chosen]:
            self.history.record("left out", releases=", ".join(left_out), lacking=str(able))
        if not chosen:
            raise Unsupported(f"none of the selected releases ({', '.join(left_out)}) has the ability {able}")
        return chosen

    async def meshed(self, clients: Iterable[Client]) -> None:
        """Wait until each of them sees all the others by the names that the server gave."""
        members = list(clients)
        names = {client.name: await self.given_name(client) for client in members}

        async def sees_others(client: Client) -> None:
            await client.until(sees(names[c.name] for c in members if c is not client), Budget.SYNC)

        await self.each(members, sees_others)

    async def all_hear(self, clients: Sequence[Client]) -> None:
        """Wait until a change of now is known to every one of them: they are connected, not only counted as online.

        A server waits a while before it takes a node for gone, after a start as well. What a client has missed so long
        may be another's new key: it answers the old one until it hears of it, and drops that session then, which the
        Rust client does not notice for two minutes.
        """
        await self.changes(clients, running() & has_addresses(self.ip_versions), Budget.RECONNECT)
        node = await self.node_of(clients[0])
        for name in (f"{node.given_name}-heard", node.given_name):
            await self.server.rename_node(node.id, name)
            await self.changes(clients[1:], sees([name]), Budget.RECONNECT)

    async def given_name(self, client: Client) -> str:
        """The name under which others see it."""
        return (await self.node_of(client)).given_name

    async def each(self, things: Iterable[Any], verb: Callable[[Any], Coroutine[Any, Any, T]]) -> list[T]:
        """The verb for all of them at once; the first failure ends the others."""
        return await gather(*(verb(thing) for thing in things))

    async def reach(self, clients: Sequence[Client], *, budget: Budget = Budget.REACH) -> None:
        """Every client reaches every other one: TCP, UDP and ICMP over IPv4 and IPv6.

        A client that met a known fault of its own release (harness.clientfaults) is started anew, and the history says
        so; then all is asked once more.
        """
        await self.changes(clients, running() & has_addresses(self.ip_versions), Budget.RECONNECT)
        pairs = dict.fromkeys(all_pairs(clients, self.ip_versions), True)
        try:
            await assert_reach(pairs, budget=budget)
        except Unreached:
            if not await self._mended(clients):
                raise
            await assert_reach(pairs, budget=budget)
        self.history.record("all pairs reached", clients=len(clients))

    async def _mended(self, clients: Iterable[Client]) -> bool:
        """Whether any of them was started anew for a fault of its own."""
        ours = [client for client in clients if isinstance(client, TailscaledClient)]
        mended = [await self._mender.mend(client) for client in ours]
        for sentence in self._mender.mended[len(self._mender.mended) - sum(mended) :]:
            self.history.record("client mended", what=sentence)
        return any(mended)

    async def changes(self, clients: Iterable[Client], condition: Condition[Status], budget: Budget) -> None:
        """Wait until the condition holds at each of them."""
        await self.each(list(clients), lambda client: client.until(condition, budget))


def all_pairs(clients: Sequence[Client], ip_versions: Collection[int] = (4, 6)) -> list[Pair]:
    """Each client with each way to each other one over these IP versions: ICMP where both can."""
    return [
        (prober, target)
        for prober, peer in itertools.permutations(clients, 2)
        for family in FAMILIES
        if int(family[-1]) in ip_versions
        for target in (peer.tcp(by=family), peer.udp(by=family), peer.icmp(by=family))
        if target.transport != "icmp" or Ability.ICMP in prober.abilities & peer.abilities
    ]


async def gather(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """All results in order; the first failure cancels the rest and is raised as it is."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class _NodeList:
    """The server's list of nodes as a source of facts."""

    name = "the server's node list"

    def __init__(self, server: ControlServer) -> None:
        self._server = server

    async def read(self) -> list[ServerNode]:
        return await self._server.nodes()

    async def changed(self, within: float) -> None:
        await asyncio.sleep(within)


@contextlib.asynccontextmanager
async def open_tailnet(
    server: ControlServer, network: Network, releases: Sequence[Release], history: History
) -> AsyncIterator[Tailnet]:
    """A tailnet on a network that is entered; its clients and its server end with the context."""
    tailnet = Tailnet(server, network, releases, history)
    if isinstance(server, HostedServer):
        server.clients = tailnet.clients
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        observe(server, history)
        await server.start()
        history.record("server started", kind=server.name)
        try:
            yield tailnet
        finally:
            await asyncio.gather(*(client.close() for client in tailnet.clients), return_exceptions=True)
