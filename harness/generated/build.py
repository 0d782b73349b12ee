"""A plan built on real clients, and measured: every pair by packets, in a few questions to the machines' agents.

Nodes register in their order, so that they get the addresses that fakes would get. A *no* holds when nothing of it was
answered for a second, while everything that is to be answered is, before and after; and what is denied is shown alive
while everything is open.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from harness.backends.machine import Machine
from harness.backends.segment import Segment
from harness.clientfaults import Mender
from harness.clients.tailscaled import TailscaledClient
from harness.conditions import knows_relays, sees_exactly
from harness.errors import HarnessError, NotReached
from harness.expected import World, look
from harness.filters import Filter, Netmap, lets_in, told
from harness.generated.plans import EXIT_ROUTES, LANS, PORTS, NodePlan, Plan, host_name, lan_named, way_to
from harness.generated.verdicts import Expected, Outcome, Question, packet_of, predict
from harness.history import History
from harness.oracle import Packet
from harness.policies import ALLOW_ALL, read
from harness.pool import Pool
from harness.reach import NO_SECONDS, YES_SECONDS, Probe
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.tailnet import Tailnet, gather
from harness.versions import Release
from harness.wait import RECHECK_SECONDS, Budget, Condition, until

EPHEMERAL = timedelta(minutes=5)
GRACE = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Place:
    """A LAN as it is here: its cables, and its machine."""

    segment: Segment
    host: Machine


async def open_lans(pool: Pool) -> Mapping[str, Place]:
    """The LANs of all plans, each with a machine at the addresses that policies name."""
    places = {}
    for lan in LANS:
        segment = await pool.network.segment(lan.name, ipv4=lan.ipv4, ipv6=lan.ipv6)
        host = await pool.network.host(host_name(lan), on=[segment])
        # Instead of the address that it has: a datagram's answer comes from a machine's first one.
        # And without a way out: a Docker host leads IPv6 from one of its networks to another.
        commands = ["ip addr flush dev eth0 scope global"]
        commands += [f"ip {family} route del default 2>/dev/null || true" for family in ("-4", "-6")]
        commands += [f"ip addr add {each}/{64 if ':' in each else 24} dev eth0 nodad" for each in lan.hosts]
        done = await host.exec(["sh", "-ec", "\n".join(commands)], timeout=EPHEMERAL)
        if done.code:
            raise HarnessError(f"{host.name} does not get the addresses {lan.hosts}: {done.output}")
        for port in PORTS:
            await host.agent("listen", host="", port=port)
        places[lan.name] = Place(segment, host)
    return places


class BadStart(NotReached):
    """Before any policy was set some clients did not get through to each other."""


class Built:
    """One plan on real clients. Made by `built`."""

    def __init__(self, plan: Plan, tailnet: Tailnet, clients: Mapping[str, TailscaledClient]) -> None:
        self.plan = plan
        self.tailnet = tailnet
        self.clients = clients
        self.remarks: list[str] = [
            f"{name} is {client.release} on {client.name}" for name, client in clients.items()
        ]
        self.mender = Mender()
        self._senders: dict[str, set[str]] = {}
        self._world = World((), ())

    @property
    def addresses(self) -> Mapping[str, Sequence[str]]:
        """Of the nodes, by name."""
        return {node.name: [str(address) for address in node.addresses] for node in self._world.nodes}

    async def join(self, pool: Pool, places: Mapping[str, Place]) -> None:
        """Everybody joins, what is to be approved is, and everybody knows whom they should, and their relays."""
        if not self.plan.opened_first:
            await self.tailnet.server.set_policy(self.plan.text)
        ups = []
        for number, node in enumerate(self.plan.nodes, start=1):
            client = self.clients[node.name]
            key = await self.tailnet.auth_key(node.owner, tags=node.tags)
            verb = self.tailnet.log_in(client, key, hostname=node.name, extra=_flags(node))
            ups.append(asyncio.create_task(verb))
            await self._registered(number, ups)
        await gather(*(_result(task) for task in ups))
        self._world = await look(self.tailnet.server)
        numbers = {node.name: str(node.id) for node in self._world.nodes}
        for node in self.plan.nodes:
            if node.approved:
                await self.tailnet.server.approve_routes(numbers[node.name], node.advertised)
        self._world = await look(self.tailnet.server)
        peers = self._predict(open_to_all=self.plan.opened_first).peers
        for name, client in self.clients.items():
            try:
                await client.until(sees_exactly(peers[name]) & knows_relays(), Budget.MATRIX)
            except NotReached as late:  # measured all the same
                self.remarks.append(str(late))
            pool.joined(client)
        for node in self.plan.nodes:
            if node.lan:
                segment = places[node.lan].segment
                machine = self.clients[node.name].machine
                versions = (4, 6) if segment.ipv6 else (4,)
                self._senders[host_name(lan_named(node.lan))] = {
                    await pool.network.address_of(machine, segment, version=v)  # type: ignore[arg-type]
                    for v in versions
                }

    async def _registered(self, number: int, ups: Sequence["asyncio.Task[object]"]) -> None:
        """So many nodes are listed, or somebody failed, which is told later."""
        server = self.tailnet.server
        while len(await server.nodes()) < number and not any(  # noqa: ASYNC110 - nobody tells of a new node
            up.done() and up.exception() for up in ups
        ):
            await asyncio.sleep(0.01)

    def _predict(self, *, open_to_all: bool) -> Expected:
        plan = replace(self.plan, policy=read(ALLOW_ALL)) if open_to_all else self.plan
        return predict(plan, self._world, self.addresses)

    async def measure(self) -> Outcome:
        """Compare all of it with what the oracle says; sets the policy, where it was not from the beginning.

        Raises BadStart when not all was reached before that.
        """
        expected, open_to_all = self._predict(open_to_all=False), self._predict(open_to_all=True)
        alive = {question: True for question, want in open_to_all.reach.items() if want}
        dead: Collection[Question] = ()
        if self.plan.opened_first:
            if unreached := _unreached(await self._settle(alive)):
                raise BadStart(f"{len(unreached)} of {len(alive)} pairs do not get through without a policy")
            await self.tailnet.server.set_policy(self.plan.text)
        await self._in_force(expected)
        seen = await self._settle(expected.reach)
        peers = {name: [peer.name for peer in (await c.read()).peers] for name, c in self.clients.items()}
        if not self.plan.opened_first:
            await self.tailnet.server.set_policy(ALLOW_ALL)
            await self._in_force(open_to_all)
            denied = {question: True for question in alive if not expected.reach[question]}
            dead = _unreached(await self._settle(denied))
        return Outcome(self.plan, expected, seen, peers, dead, (*self.remarks, *self.mender.mended))

    async def _in_force(self, expected: Expected) -> None:
        """Every client goes by it, as far as it matters for what is asked. Who does not is measured all the same."""
        waits: list[Coroutine[Any, Any, Any]] = []
        for name, client in self.clients.items():
            filtered = lets_in_as(self._incoming(name, expected))
            waits.append(until(Filter(client), filtered, Budget.CLOSE))
            waits.append(client.until(sees_exactly(expected.peers[name]), Budget.CLOSE))
        ends = await asyncio.gather(*waits, return_exceptions=True)
        self.remarks += [str(end) for end in ends if isinstance(end, NotReached)]
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, NotReached):
                raise end

    def _incoming(self, name: str, expected: Expected) -> dict[Packet, bool]:
        """What this node's filter decides: not the questions of those who take no routes and so never send."""
        takes = {node.name: node.accepts_routes for node in self.plan.nodes}
        return {
            packet_of(source, target, self.addresses): want
            for (source, target), want in expected.reach.items()
            if (target.name == name or takes[source]) and self._way(target.address) == name
        }

    def _way(self, address: str) -> str:
        way = way_to(self.plan, address, self.addresses)
        return way.name if way else ""

    # ---- packets

    async def _settle(self, wanted: Mapping[Question, bool]) -> dict[Question, Probe]:
        """Ask what is not yet as wanted again, until all is or the time is over; at last, once more, all that is to
        be answered, which shows that nobody was silent for being gone."""
        start = time.monotonic()
        seen = await self._ask(self._greetings(wanted), YES_SECONDS)
        left = {question for question in wanted if question not in seen or not seen[question].reached}
        while left:
            yes, no = {q for q in left if wanted[q]}, {q for q in left if not wanted[q]}
            both = await asyncio.gather(self._ask(yes, YES_SECONDS), self._ask(no, NO_SECONDS))
            seen |= both[0] | both[1]
            left = {q for q in left if not (seen[q].reached if wanted[q] else not seen[q].answered)}
            if yes & left and any([await self.mender.mend(client) for client in self.clients.values()]):
                start = time.monotonic()
            waited = time.monotonic() - start
            late = {q for q in left if waited > (Budget.MATRIX if wanted[q] else Budget.CLOSE).seconds}
            if late == left:
                break
            await asyncio.sleep(RECHECK_SECONDS if left else 0)
        if not left and not all(wanted.values()):
            seen |= await self._ask({q for q in wanted if wanted[q]}, YES_SECONDS)
        return seen

    def _greetings(self, wanted: Mapping[Question, bool]) -> Collection[Question]:
        """One question for any two machines that are to talk: see harness.reach."""
        first: dict[frozenset[str], Question] = {}
        for question, want in wanted.items():
            if want:
                first.setdefault(frozenset((question[0], self._way(question[1].address))), question)
        return first.values()

    async def _ask(self, asked: Collection[Question], within: float) -> dict[Question, Probe]:
        """Each node asks all of its questions at once."""
        rows: dict[str, list[Question]] = defaultdict(list)
        for question in asked:
            rows[question[0]].append(question)
        answers = await asyncio.gather(*(self._row(name, row, within) for name, row in rows.items()))
        return {question: probe for answer in answers for question, probe in answer.items()}

    async def _row(self, name: str, row: Sequence[Question], within: float) -> dict[Question, Probe]:
        machines = {node: client.name for node, client in self.clients.items()}
        targets = [replace(target, name=machines.get(target.name, target.name)) for _, target in row]
        own = set(self.addresses[name])
        senders = [self._senders.get(target.name, own) for _, target in row]
        probes = await self.clients[name].row(targets, senders=senders, within=within)
        return dict(zip(row, probes, strict=True))


async def _result(task: "asyncio.Task[object]") -> object:
    return await task


def _unreached(seen: Mapping[Question, Probe]) -> list[Question]:
    return [question for question, probe in seen.items() if not probe.reached]


def _flags(node: NodePlan) -> list[str]:
    """Of `tailscale up`."""
    routes = [route for route in node.advertised if route not in EXIT_ROUTES]
    flags = ["--accept-routes"] if node.accepts_routes else ["--accept-routes=false"]
    flags += [f"--advertise-routes={','.join(routes)}"] if routes else []
    return flags + (["--advertise-exit-node"] if len(routes) < len(node.advertised) else [])


def lets_in_as(incoming: Mapping[Packet, bool]) -> Condition[Netmap]:
    """The client's packet filter gives these verdicts."""

    def why_not(netmap: Netmap) -> str | None:
        matches = netmap.get("PacketFilter") or ()
        wrong = [packet for packet, want in incoming.items() if lets_in(matches, packet) != want]
        if not wrong:
            return None
        return f"{len(wrong)} of {len(incoming)} verdicts are others, such as on {told(wrong[0])}"

    return Condition("its packet filter is the policy's", why_not)


@contextlib.asynccontextmanager
async def built(
    plan: Plan, pool: Pool, places: Mapping[str, Place], releases: Sequence[Release]
) -> AsyncIterator[Built]:
    """The plan on clients of the pool, with a server of its own; everything is given back afterwards."""
    settings = local_settings(pool.network.host_address, ephemeral_timeout=EPHEMERAL)
    server = InProcessServer(settings, grace=GRACE)
    clients: dict[str, TailscaledClient] = {}
    try:
        await server.start()

        async def lend(node: NodePlan) -> None:
            segment = places[node.lan].segment if node.lan else None
            clients[node.name] = await pool.lend(releases[node.release % len(releases)], on=segment)

        await gather(*map(lend, plan.nodes))
        tailnet = Tailnet(server, pool.network, releases, History())
        clients = {node.name: clients[node.name] for node in plan.nodes}
        tailnet.clients += clients.values()
        made = Built(plan, tailnet, clients)
        await made.join(pool, places)
        yield made
    finally:
        await gather(*(pool.give_back(client) for client in clients.values()))
        await server.close()
