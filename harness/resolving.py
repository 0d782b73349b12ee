"""Waiting for what a client answers to a DNS question."""

import asyncio
from typing import Literal

from harness.clients.base import Client
from harness.clients.tunnel import Resolution
from harness.errors import AgentFailed, NotAnswering
from harness.wait import Budget, Condition, holds, until

NO_SUCH_NAME = 3


class Question:
    """A name and a type, asked of one client again and again: a Source."""

    def __init__(self, client: Client, name: str, kind: Literal["A", "AAAA"] = "A") -> None:
        self._client = client
        self._name = name
        self._kind = kind

    @property
    def name(self) -> str:
        """Who is asked what."""
        return f"{self._client.name}, asked for {self._name} {self._kind},"

    async def read(self) -> Resolution:
        """The answer now. Raises NotAnswering without one."""
        try:
            return await self._client.resolve(self._name, self._kind)
        except AgentFailed as problem:
            raise NotAnswering(str(problem)) from problem

    async def changed(self, within: float) -> None:
        """There is no event for it."""
        await asyncio.sleep(within)


def answers(*addresses: str) -> Condition[Resolution]:
    """The name has these addresses and no others."""
    wanted = sorted(addresses)
    return Condition(
        f"has {wanted}",
        lambda found: (
            None
            if found.code == 0 and sorted(found.addresses) == wanted
            else f"code {found.code}, {sorted(found.addresses)}"
        ),
    )


def no_such_name() -> Condition[Resolution]:
    """Whoever answered knows that there is no such name."""
    return Condition(
        "there is no such name",
        lambda found: None if found.code == NO_SUCH_NAME else f"code {found.code}, {found.addresses}",
    )


async def resolves(client: Client, name: str, *addresses: str, budget: Budget = Budget.SYNC) -> None:
    """Wait until the client answers with these IPv4 addresses; without any, that there is no such name."""
    await until(Question(client, name), answers(*addresses) if addresses else no_such_name(), budget)


async def goes_on_resolving(client: Client, name: str, *addresses: str) -> None:
    """Watch that the answer stays."""
    await holds(Question(client, name), answers(*addresses))
