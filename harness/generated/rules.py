"""What may happen to a tailnet of a few machines, one thing after the other, whatever drives them: fakes in the process
(tests/property/test_live_tailnet.py) or real clients (scenarios/test_live_clients.py).

A machine class fills in how each thing is done, and what must hold when all is quiet again.
"""

import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from harness.errors import HarnessError
from harness.policies import ALLOW_ALL, NOBODY, grant, policy
from harness.servers.base import ControlServer

MACHINES = 4
USERS = ("alice", "bob")
"""Whoever drives creates them first, in this order."""

TAGS = {"tag:a": ["alice@"], "tag:b": ["alice@", "bob@"]}
POLICIES = (
    ALLOW_ALL,
    NOBODY,
    policy(grant("alice@", to="alice@"), grant("bob@", to="bob@"), tag_owners=TAGS),
    policy(grant("autogroup:member", to="autogroup:self"), grant("bob@", to="tag:a"), tag_owners=TAGS),
    policy(grant("tag:a", to="tag:b"), grant("alice@", to="bob@", ip="tcp:22"), tag_owners=TAGS),
)
MACHINE = st.integers(0, MACHINES - 1)
USER = st.sampled_from(["1", "2"])


class TailnetRules(RuleBasedStateMachine):
    """See the module. Rules call the verbs below, each of which a subclass fills in."""

    server: ControlServer
    policy = ""
    """What was set last; none allows everything."""

    def run(self, work: Awaitable[Any]) -> Any:
        """Do it, in the loop where the tailnet lives."""
        raise NotImplementedError

    async def _joins(self, machine: int, user: str, *, tags: tuple[str, ...], ephemeral: bool) -> None:
        """With a key of this user, and a new node key."""
        raise NotImplementedError

    async def _comes_back(self, machine: int) -> None:
        raise NotImplementedError

    async def _goes_away(self, machine: int) -> None:
        raise NotImplementedError

    async def _logs_out(self, machine: int) -> None:
        raise NotImplementedError

    async def _restarts(self) -> None:
        raise NotImplementedError

    def _cut_off(self, machine: int, *, for_long: bool) -> AbstractAsyncContextManager[None]:
        """A machine does not hear from the server nor reach it, and is told neither."""
        raise NotImplementedError

    @rule(machine=MACHINE, user=USER, tagged=st.booleans(), ephemeral=st.booleans())
    def joins(self, machine: int, user: str, tagged: bool, ephemeral: bool) -> None:
        self.run(self._joins(machine, user, tags=("tag:a",) if tagged else (), ephemeral=ephemeral))

    @rule(machine=MACHINE)
    def goes_away_and_comes_back(self, machine: int) -> None:
        """As after a restart of the client: with a new disco key."""
        self.run(self._comes_back(machine))

    @rule(machine=MACHINE)
    def goes_away(self, machine: int) -> None:
        self.run(self._goes_away(machine))

    @rule(machine=MACHINE)
    def logs_out(self, machine: int) -> None:
        self.run(self._logs_out(machine))

    @rule(pick=MACHINE, name=st.sampled_from(["chosen", "other"]))
    def is_renamed(self, pick: int, name: str) -> None:
        self.run(self._admin(lambda node: self.server.rename_node(node, name), pick))

    @rule(pick=MACHINE, tags=st.sampled_from([("tag:a",), ("tag:a", "tag:b")]))
    def is_tagged(self, pick: int, tags: tuple[str, ...]) -> None:
        self.run(self._admin(lambda node: self.server.set_tags(node, tags), pick))

    @rule(pick=MACHINE, ends=st.booleans())
    def its_key_ends_or_does_not(self, pick: int, ends: bool) -> None:
        act = self.server.expire_node if ends else self.server.never_expire_node
        self.run(self._admin(act, pick))

    @rule(pick=MACHINE)
    def is_deleted(self, pick: int) -> None:
        self.run(self._admin(self.server.delete_node, pick))

    @rule(text=st.sampled_from(POLICIES))
    def policy_is_set(self, text: str) -> None:
        async def act() -> None:
            await self.server.set_policy(text)
            self.policy = text

        self.run(act())

    @rule()
    def server_restarts(self) -> None:
        self.run(self._restarts())

    @rule(machine=MACHINE, text=st.sampled_from(POLICIES), for_long=st.booleans())
    def policy_is_set_behind_its_back(self, machine: int, text: str, for_long: bool) -> None:
        """While one machine is cut off; it has to learn of it afterwards."""

        async def act() -> None:
            async with self._cut_off(machine, for_long=for_long):
                await self.server.set_policy(text)
                self.policy = text

        self.run(act())

    async def _admin(self, act: Callable[[str], Awaitable[None]], pick: int) -> None:
        """Something done to one of the nodes there are; it may be refused."""
        nodes = await self.server.nodes()
        if nodes:
            with contextlib.suppress(HarnessError):
                await act(nodes[pick % len(nodes)].id)
