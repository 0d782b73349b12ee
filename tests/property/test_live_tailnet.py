"""A whole tailnet over real sockets, whatever happens to it: after every step each client holds what it would be told
now, and the invariants of a tailnet hold.

The same laws without sockets, a thousand times faster, are in test_maps and test_state; this one has the streams, the
fan-out, the database and the restarts in it. HYPOTHESIS_PROFILE decides how many tailnets.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from harness import invariants
from harness.clients.fake import AnswerRefused, FakeClient, MapStream, PollEnded
from harness.clients.netmap import NetMap
from harness.clients.session import SessionClosed, StreamCut
from harness.errors import HarnessError
from harness.expected import look
from harness.generated.rules import MACHINE, MACHINES, USERS, TailnetRules
from harness.policies import read
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from tests.integration.fakes import EPHEMERAL_TIMEOUT, GRACE, Tailnet
from tests.property.netmaps import known

T = TypeVar("T")

PATIENCE_S = 10.0
GONE = (AnswerRefused, PollEnded, SessionClosed, StreamCut)


@dataclass
class Member:
    """A client, its open stream if it has one, and all messages of that."""

    client: FakeClient
    stream: MapStream | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)


class LiveTailnet(TailnetRules):
    """Acts on four machines of two users, one after the other; each has settled before the next.

    The server is our own, in this process, so that a test may look inside.
    """

    server: InProcessServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.members: dict[int, Member] = {}
        self.highest = 0
        self.numbers: set[str] = set()

    def run(self, work: Awaitable[T]) -> T:
        async def timed() -> T:
            async with asyncio.timeout(60):
                return await work

        return self.runner.run(timed())

    @initialize()
    def start(self) -> None:
        self.run(self._start())

    async def _start(self) -> None:
        self.server = InProcessServer(
            local_settings("127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT), grace=GRACE
        )
        self.stack.push_async_callback(self.server.close)
        await self.server.start()
        self.tailnet = Tailnet(self.server, self.stack)
        for name in USERS:
            await self.server.create_user(name)
        for number in range(MACHINES):
            self.members[number] = Member(await self.tailnet.client(f"host{number % 2}"))
        for number, user in enumerate("112"):  # an empty tailnet has little to go wrong
            await self._joins(number, user)

    def teardown(self) -> None:
        with contextlib.suppress(*GONE):
            self.run(self.stack.aclose())
        self.runner.close()

    # ---- what may happen

    async def _joins(self, machine: int, user: str, **kind: Any) -> None:
        """With a new node key each time, as after a logout; and polling."""
        member = self.members[machine]
        await self._hang_up(member)
        old = member.client.rotate_node_key()
        key = await self.tailnet.key(user, **kind)
        answer = await member.client.register(auth_key=key, old_node_key=old)
        if answer["MachineAuthorized"]:
            await self._polls(member)

    @rule(
        machine=MACHINE, user=st.sampled_from(["alice", "bob"]), tag=st.sampled_from(["", "tag:a", "tag:b"])
    )
    def logs_in(self, machine: int, user: str, tag: str) -> None:
        self.run(self._logs_in(machine, user, tag))

    async def _logs_in(self, machine: int, user: str, tag: str) -> None:
        member = self.members[machine]
        old = member.client.rotate_node_key()
        hostinfo = {**member.client.hostinfo, "RequestTags": [tag]} if tag else None
        answer = await member.client.register(old_node_key=old, hostinfo=hostinfo)
        login = str(answer["AuthURL"]).rpartition("/")[2]
        try:
            await self.server.let_in(login, user)
        except HarnessError:  # the tag is not the user's; the machine is out, with a key that is nobody's
            await self._hang_up(member)
            return
        await self._hang_up(member)
        await self._polls(member)

    async def _comes_back(self, machine: int) -> None:
        member = self.members[machine]
        await self._hang_up(member)
        member.client.restart()
        await self._polls(member)

    async def _goes_away(self, machine: int) -> None:
        await self._hang_up(self.members[machine])

    async def _logs_out(self, machine: int) -> None:
        await self.members[machine].client.logout()
        await self._hang_up(self.members[machine])

    @rule(machine=MACHINE, port=st.integers(1, 3), name=st.sampled_from(["a b", "twin", ""]))
    def reports(self, machine: int, port: int, name: str) -> None:
        async def act() -> None:
            client = self.members[machine].client
            hostinfo = {**client.hostinfo, "Hostname": name} if name else None
            with contextlib.suppress(AnswerRefused):
                await client.lite_update(endpoints=[f"192.0.2.{machine}:{port}"], hostinfo=hostinfo)

        self.run(act())

    async def _restarts(self) -> None:
        polling = [member for member in self.members.values() if member.stream is not None]
        for member in polling:
            await self._hang_up(member)
        await self.server.stop()
        await self.server.start()
        for member in polling:
            await self._polls(member)

    @contextlib.asynccontextmanager
    async def _cut_off(self, machine: int, *, for_long: bool) -> AsyncIterator[None]:
        """What it is sent waits in its connection, or, after a long time, the connection is gone at both ends."""
        member = self.members[machine]
        polled = member.stream is not None
        if for_long:
            await self._hang_up(member)
        yield
        if for_long and polled:
            await self._polls(member)

    @precondition(lambda self: self.members)
    @rule(machine=MACHINE)
    def a_thief_tries(self, machine: int) -> None:
        """With the node key of a member and a machine key of its own: refused, whatever it tries."""
        self.run(self._steals(self.members[machine].client))

    async def _steals(self, victim: FakeClient) -> None:
        if await self._node_of(victim) is None:
            return
        async with FakeClient(self.server.url, node_private=victim.node_private) as thief:
            with pytest.raises(AnswerRefused, match="404"):
                await thief.map_once()
            for answer in (await thief.register(), await thief.logout()):
                assert answer["MachineAuthorized"] is False
                assert "another machine" in answer["Error"]

    # ---- what must hold

    @invariant()
    def all_is_well(self) -> None:
        if self.members:
            self.run(self._settled())

    async def _settled(self) -> None:
        nodes = await self.server.nodes()
        numbers = {node.id for node in nodes}
        complaints = invariants.nothing_is_shared(nodes)
        complaints += invariants.numbers_only_grow(self.numbers, numbers, self.highest)
        self.numbers, self.highest = numbers, max([self.highest, *map(int, numbers)])
        netmaps: dict[int, NetMap] = {}
        for member in list(self.members.values()):
            found = await self._caught_up(member)
            if found is not None:
                netmaps[found] = member.stream.netmap  # type: ignore[union-attr]
                complaints += invariants.messages_are_in_order(member.messages)
        connected = set(netmaps)
        await self.tailnet.until(
            lambda: not invariants.presence_is_true(self._listed(), connected)
        )  # who left has a grace
        for member in self.members.values():
            await self._caught_up(member)
        complaints += invariants.sight_is_mutual(netmaps)
        complaints += invariants.nobody_is_seen_who_is_not_there(netmaps, nodes)
        complaints += invariants.owners_are_known(netmaps)
        complaints += await self._seen_as_the_oracle_says(netmaps)
        assert not complaints

    async def _seen_as_the_oracle_says(self, netmaps: dict[int, NetMap]) -> list[str]:
        world = await look(self.server)
        names = {int(node.id): node.given_name for node in await self.server.nodes()}
        complaints = []
        for number, netmap in netmaps.items():
            own = next(node for node in world.nodes if node.name == names[number])
            others = [node.name for node in world.nodes if node is not own]
            allowed = world.peers_of(read(self.policy), own) if self.policy else others
            seen = [names.get(peer, f"number {peer}") for peer in netmap.peers]
            if sorted(seen) != sorted(allowed):
                complaints.append(f"{own.name} sees {sorted(seen)}, and is to see {sorted(allowed)}")
        return complaints

    async def _caught_up(self, member: Member) -> int | None:
        """Read until the client holds what it would be told now; its node's number, None when it has no stream."""
        if member.stream is None:
            return None
        node = await self._node_of(member.client)
        if node is None:
            await self._hang_up(member)
            return None
        wanted: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    wanted = await self._fresh(member.client)
                    if known(member.stream.netmap, datetime.now(UTC)) == wanted:
                        return node
                    with contextlib.suppress(TimeoutError):
                        member.messages.append(await member.stream.next_message(within=0.2))
        except TimeoutError:
            assert known(member.stream.netmap, datetime.now(UTC)) == wanted
            return node

    async def _fresh(self, client: FakeClient) -> dict[str, Any]:
        netmap, now = NetMap(version=client.version), datetime.now(UTC)
        netmap.apply(await client.map_once(), now=now.isoformat())
        return known(netmap, now)

    # ---- how

    async def _polls(self, member: Member) -> None:
        if await self._node_of(member.client) is None:
            return
        member.stream, member.messages = await member.client.stream_map(), []
        member.messages.append(await member.stream.next_message(within=PATIENCE_S))

    async def _hang_up(self, member: Member) -> None:
        member.stream = None
        await member.client.close()

    async def _node_of(self, client: FakeClient) -> int | None:
        node = self.server.app.writer.snapshot.node_of(client.node_key, client.machine_key)
        return node.id if node is not None else None

    def _listed(self) -> list[Any]:
        return list(self.server.app.writer.snapshot.nodes.values())


NIGHTLY = 5000
EXAMPLES = {50: 6, 200: 20, NIGHTLY: 400}
"""By the profile's number for laws without sockets; each of these takes seconds, and so does each step of shrinking."""

PROFILE = settings()
LiveTailnet.TestCase.settings = settings(
    max_examples=EXAMPLES.get(PROFILE.max_examples, 20),
    stateful_step_count=25,
    phases=[phase for phase in Phase if phase is not Phase.shrink or PROFILE.max_examples == NIGHTLY],
)
test_a_live_tailnet = pytest.mark.timeout(0)(LiveTailnet.TestCase)
