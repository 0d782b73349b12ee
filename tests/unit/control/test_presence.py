"""When the end of a stream makes a node go offline."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from headscale.clock import ManualClock
from headscale.control.presence import Presence
from headscale.state.writer import Writer
from tests.builders import NOW, node, tailnet, with_nodes
from tests.unit.state.test_writer import FakeStore

GRACE_S = 0.02


@pytest.fixture
async def writer() -> AsyncIterator[Writer]:
    """With node 1, which is online."""
    made = Writer(with_nodes(tailnet("alice"), node(1, online=True)), FakeStore(), ManualClock(NOW))
    task = asyncio.create_task(made.run())
    yield made
    made.close()
    await task


async def test_a_node_leaves_when_the_grace_is_over(writer: Writer) -> None:
    presence = Presence(writer, grace_s=GRACE_S)
    presence.opened(1)
    presence.closed(1)
    assert writer.snapshot.nodes[1].online
    await asyncio.sleep(5 * GRACE_S)
    assert not writer.snapshot.nodes[1].online


async def test_a_stream_that_opens_within_the_grace_keeps_it(writer: Writer) -> None:
    presence = Presence(writer, grace_s=GRACE_S)
    presence.opened(1)
    presence.closed(1)
    presence.opened(1)
    await asyncio.sleep(5 * GRACE_S)
    assert writer.snapshot.nodes[1].online


@pytest.mark.parametrize("already_leaving", [True, False])
async def test_nobody_leaves_because_the_server_does(writer: Writer, *, already_leaving: bool) -> None:
    """However long streams take to end after that: after the start they are taken to be there still."""
    presence = Presence(writer, grace_s=GRACE_S)
    presence.opened(1)
    if already_leaving:
        presence.closed(1)
        await presence.close()
    else:
        await presence.close()
        presence.closed(1)
    await asyncio.sleep(5 * GRACE_S)
    assert writer.snapshot.nodes[1].online
