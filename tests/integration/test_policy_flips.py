"""B6: policies that flip while thirty clients come and go; who may not see whom is never told of them.

What is looked at is every message as it arrives: from a moment after a policy was acknowledged on, none may add or
patch a peer that this policy hides, and by then each client has been told to forget it.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from harness.clients.fake import MapStream, PollEnded
from harness.clients.session import SessionClosed, StreamCut
from harness.servers.inprocess import InProcessServer
from tests.integration.fakes import PATIENCE_S, Enrolled, Tailnet

USERS: Final = ("alice", "bob", "carol")
NODES: Final = 30
FLIPS: Final = 100
# What a client may still be told after the acknowledgement: a message that was under way.
SETTLED_S: Final = 1.0
TOGETHER: Final = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
APART: Final = '{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]}]}'
GONE: Final = (PollEnded, SessionClosed, StreamCut)


@dataclass
class Watched:
    """A client with an open poll, and the peers and owners that its messages named, with their times."""

    enrolled: Enrolled
    user: str
    stream: MapStream
    told: list[tuple[float, frozenset[int], frozenset[str]]] = field(default_factory=list)

    async def watch(self) -> None:
        """Note every message until the poll ends."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                message = await self.stream.next_message(within=10 * PATIENCE_S)
                owners = frozenset(profile["LoginName"] for profile in message.get("UserProfiles", ()))
                self.told.append((loop.time(), _named(message), owners))
        except GONE:
            return


def _named(message: dict[str, Any]) -> frozenset[int]:
    """The peers that a message adds, changes or patches."""
    whole = [*message.get("Peers", ()), *message.get("PeersChanged", ())]
    patched = message.get("PeersChangedPatch", ())
    return frozenset([*(peer["ID"] for peer in whole), *(patch["NodeID"] for patch in patched)])


@pytest.fixture
async def crowd(server: InProcessServer, tailnet: Tailnet) -> list[Watched]:
    """Thirty clients of three users that all see each other."""
    await server.create_user("carol")
    watched = []
    for number in range(NODES):
        user = number % len(USERS)
        enrolled = await tailnet.join(f"n{number}", user=str(user + 1))
        watched.append(Watched(enrolled, USERS[user], await enrolled.stream()))
    return watched


async def test_a_hundred_flips_show_nobody_what_is_hidden(
    server: InProcessServer, tailnet: Tailnet, crowd: list[Watched]
) -> None:
    dice = random.Random(6)
    loop = asyncio.get_running_loop()
    watchers = [asyncio.create_task(one.watch()) for one in crowd]
    acknowledged: list[tuple[float, bool]] = []
    stopped = asyncio.Event()

    async def chatter() -> None:
        """Clients that move: what they say is patched at those who see them."""
        port = 1
        while not stopped.is_set():
            port = port % 60_000 + 1
            mover = dice.choice(crowd)
            await mover.enrolled.client.lite_update(endpoints=[f"192.0.2.1:{port}"])
            await asyncio.sleep(dice.uniform(0, 0.01))

    talking = asyncio.create_task(chatter())
    for flip in range(FLIPS):
        apart = flip % 2 == 0
        await server.app.policy.set((APART if apart else TOGETHER) + f" // {flip}")
        acknowledged.append((loop.time(), apart))
        # Every twentieth time long enough to see what follows the moment of grace.
        await asyncio.sleep(SETTLED_S + 0.3 if flip % 20 == 0 else dice.uniform(0, 0.05))
    await server.app.policy.set(APART + " // at last")
    acknowledged.append((loop.time(), True))
    await _heard_since(crowd, loop.time() + SETTLED_S, messages=FLIPS + 1)
    stopped.set()
    await talking
    owner, looked_at = {one.enrolled.id: one.user for one in crowd}, 0
    for one in crowd:
        for at, named, owners in one.told:
            if _is_apart(acknowledged, at):
                looked_at += 1
                assert {owner[node_id] for node_id in named} | owners <= {one.user}, (one.enrolled.id, at)
        assert {owner[i] for i in one.stream.netmap.peers} == {one.user}
        assert len(one.stream.netmap.peers) == NODES // len(USERS) - 1
    for one in crowd:
        one.stream.close()
    await asyncio.gather(*watchers)
    assert looked_at > FLIPS


async def _heard_since(crowd: list[Watched], begin: float, *, messages: int) -> None:
    """Wait until the clients together have had so many messages since that time, however slow the machine is."""
    async with asyncio.timeout(10 * PATIENCE_S):
        while sum(at > begin for one in crowd for at, _, _ in one.told) < messages:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _is_apart(acknowledged: list[tuple[float, bool]], at: float) -> bool:
    """Whether all policies of the last moment before this time kept users apart."""
    settled = [apart for when, apart in acknowledged if when <= at - SETTLED_S][-1:]
    recent = [apart for when, apart in acknowledged if at - SETTLED_S < when <= at]
    # A policy that is being written may be in force before its writer hears of it.
    coming = next((apart for when, apart in acknowledged if when > at), True)
    return bool(settled) and all([*settled, *recent, coming])
