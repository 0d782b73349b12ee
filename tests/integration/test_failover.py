"""Routers that stand in for each other, with the server's own probes over real sockets: who is asked, and what follows.

With real clients and packets: scenarios/test_failover.py.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from harness.clients.fake import MapStream
from harness.clients.netmap import Json
from harness.clients.session import SessionClosed
from tests.integration.fakes import PATIENCE_S, Enrolled, Tailnet, registered, until
from tests.integration.test_asks import answering
from tests.integration.test_dns import serving

NET = "10.1.0.0/16"
ECHO = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
# The shortest that may be configured; a router is judged from its second probe on.
PROBES = {"node.routes.ha.probe_interval": "2s", "node.routes.ha.probe_timeout": "1s"}
PROBED_S = 12.0


@dataclass(eq=False)
class Router:
    """A client that routes NET and answers probes, unless it hangs or never learnt how."""

    enrolled: Enrolled
    answers: bool = True
    pings: list[Json] = field(default_factory=list)
    stream: MapStream | None = None
    _reader: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        self.stream = await self.enrolled.stream()
        self._reader = asyncio.create_task(self._read(self.stream))

    async def stop(self) -> None:
        """Away, and no longer online once the grace is over."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError, SessionClosed):  # when the server went first
                await self._reader
        if self.stream is not None:
            self.stream.close()

    async def asked(self, times: int = 1) -> None:
        """Wait until it was asked so many times more."""
        until_then = len(self.pings) + times
        async with asyncio.timeout(PROBED_S):
            while len(self.pings) < until_then:  # noqa: ASYNC110  (whatever stream it comes on)
                await asyncio.sleep(0.02)

    async def _read(self, stream: MapStream) -> None:
        while True:
            ping = (await stream.next_message()).get("PingRequest")
            if ping:
                self.pings.append(ping)
                if self.answers:
                    await answering(self.enrolled.client, ping["URL"], ECHO)


@dataclass
class Place:
    """Two routers and somebody who looks on."""

    tailnet: Tailnet
    one: Router
    two: Router
    watching: MapStream

    def primary(self) -> int | None:
        (number,) = [*self.tailnet.server.app.writer.snapshot.primaries.values()] or [None]
        return number

    async def seen_through(self, router: Router) -> None:
        """The one who looks on is told that the route goes through this router, and through no other."""

        def holds(netmap: object) -> bool:
            peers = self.watching.netmap.peers
            return [n for n, peer in peers.items() if NET in peer["AllowedIPs"]] == [router.enrolled.id]

        await self.watching.until(holds, within=PROBED_S)


async def routing(tailnet: Tailnet, name: str, **hostinfo: str) -> Router:
    client = await tailnet.client(name)
    client.hostinfo |= {"RoutableIPs": [NET], **hostinfo}
    await registered(client, await tailnet.key())
    node_id = tailnet.node_of(client).id
    await tailnet.server.call("POST", f"node/{node_id}/approve_routes", {"routes": [NET]})
    router = Router(Enrolled(client, node_id))
    await router.start()
    return router


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with serving(PROBES) as tailnet:
        one, two = await routing(tailnet, "one"), await routing(tailnet, "two")
        watcher = await tailnet.join("watcher", user="2")
        yield Place(tailnet, one, two, await watcher.stream())
        for router in (one, two):
            await router.stop()


async def test_a_router_that_hangs_is_replaced_and_takes_nothing_back(place: Place) -> None:
    await place.seen_through(place.one)
    await place.one.asked(2)
    place.one.answers = False
    await place.seen_through(place.two)
    assert place.tailnet.node(place.one.enrolled.id).online  # type: ignore[union-attr]
    place.one.answers = True
    await place.tailnet.until(lambda: not place.tailnet.server.app.writer.snapshot.silent)
    await place.one.asked(2)
    assert place.primary() == place.two.enrolled.id
    place.two.answers = False
    await place.seen_through(place.one)


async def test_a_router_that_goes_away_is_replaced_after_the_grace(place: Place) -> None:
    await place.seen_through(place.one)
    await place.one.stop()
    await place.seen_through(place.two)
    await place.one.start()
    await place.tailnet.until(lambda: place.tailnet.node(place.one.enrolled.id).online)  # type: ignore[union-attr]
    assert place.primary() == place.two.enrolled.id


async def test_a_new_stream_says_that_a_router_is_well(place: Place) -> None:
    await place.one.asked(2)
    place.one.answers = False
    await place.seen_through(place.two)
    await place.one.stop()
    await place.one.start()
    await place.tailnet.until(lambda: not place.tailnet.server.app.writer.snapshot.silent)


async def test_a_client_that_never_answers_is_not_held_to_be_dead(place: Place) -> None:
    """As tailscale-rs, which knows no such question."""
    place.one.answers = False
    place.one.pings.clear()
    await place.one.stop()
    await place.tailnet.until(lambda: place.primary() == place.two.enrolled.id)
    fresh = await routing(place.tailnet, "old-fashioned")
    fresh.answers = False
    await place.two.stop()
    await place.tailnet.until(lambda: place.primary() == fresh.enrolled.id)
    await place.two.start()
    await fresh.asked(3)
    assert not place.tailnet.server.app.writer.snapshot.silent
    assert place.primary() == fresh.enrolled.id
    await fresh.stop()


async def test_a_go_client_that_hangs_before_its_first_answer_is_replaced(place: Place) -> None:
    """Every one of them answers: it need not have done so once to be missed."""
    await place.one.stop()
    await place.tailnet.until(lambda: place.primary() == place.two.enrolled.id)
    fresh = await routing(place.tailnet, "hung", GoVersion="go1.26.6")
    fresh.answers = False
    await place.two.stop()
    await place.tailnet.until(lambda: place.primary() == fresh.enrolled.id)
    await place.two.start()
    await place.tailnet.until(lambda: place.primary() == place.two.enrolled.id)
    assert fresh.enrolled.id in place.tailnet.server.app.writer.snapshot.silent
    await fresh.stop()


async def test_both_that_hang_change_nothing(place: Place) -> None:
    await place.one.asked(2)
    place.one.answers = place.two.answers = False
    await place.tailnet.until(lambda: len(place.tailnet.server.app.writer.snapshot.silent) == 2)
    assert place.primary() == place.one.enrolled.id


async def test_who_has_no_stand_in_is_not_asked(place: Place) -> None:
    """Nor who gives its route up: then it is not held to be silent either."""
    await place.one.asked(2)
    place.one.answers = False
    await place.seen_through(place.two)
    await place.tailnet.server.call("POST", f"node/{place.one.enrolled.id}/approve_routes", {"routes": []})
    await place.tailnet.until(lambda: not place.tailnet.server.app.writer.snapshot.silent)
    place.one.pings.clear()
    place.two.pings.clear()
    await asyncio.sleep(2.5)
    assert place.one.pings == place.two.pings == []


async def test_a_drained_router_hands_over_at_once(place: Place) -> None:
    """Its approval is taken back: the other serves without a probe having to fail."""
    await place.seen_through(place.one)
    await place.tailnet.server.call("POST", f"node/{place.one.enrolled.id}/approve_routes", {"routes": []})
    await until(place.watching, lambda m: NET in m.peers[place.two.enrolled.id]["AllowedIPs"])
    assert NET not in place.watching.netmap.peers[place.one.enrolled.id]["AllowedIPs"]


async def test_a_restart_of_the_server_moves_no_route(place: Place) -> None:
    """Not even back to the router with the lower number, which was there first."""
    await place.seen_through(place.one)
    await place.one.stop()
    await place.seen_through(place.two)
    await place.one.start()
    await place.tailnet.until(lambda: place.tailnet.node(place.one.enrolled.id).online)  # type: ignore[union-attr]
    await place.tailnet.server.stop()
    await place.tailnet.server.start()
    assert place.primary() == place.two.enrolled.id


async def test_probes_can_be_switched_off() -> None:
    async with serving({"node.routes.ha.probe_interval": "0s"}) as tailnet:
        one, two = await routing(tailnet, "one"), await routing(tailnet, "two")
        await asyncio.sleep(2.5)
        assert one.pings == two.pings == []
        await one.stop()
        await two.stop()


async def test_a_probe_is_no_secret_way_in(place: Place) -> None:
    """Another machine cannot answer in a router's place."""
    place.one.answers = False
    await place.one.asked()
    assert await answering(place.two.enrolled.client, place.one.pings[-1]["URL"], ECHO) == 404
    async with asyncio.timeout(PATIENCE_S):
        assert await answering(place.one.enrolled.client, place.one.pings[-1]["URL"], ECHO) in (200, 404)
