"""A server that is somebody else's, known by its URL and an API key: real clients use it, and it is left as it was."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from harness.backends.network import Backend, Network
from harness.clients.base import Ability
from harness.errors import HarnessError, NotOffered
from harness.history import History
from harness.policies import acl, policy
from harness.reach import assert_reach
from harness.servers.hosted.journal import Journal
from harness.servers.hosted.people import credentials
from harness.servers.hosted.server import HostedServer
from harness.servers.hosted.trial import Standing, standing
from harness.tailnet import HOUR, Tailnet, open_tailnet
from harness.versions import Release

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Place:
    """Somebody else's server, and what leads to it."""

    def __init__(
        self, theirs: Standing, network: Network, releases: tuple[Release, ...], folder: Path
    ) -> None:
        self.theirs, self._network, self._releases = theirs, network, releases
        self.folder = folder
        self.journal = Journal(folder / "journal.jsonl")

    def server(self, keys: str | None = None) -> HostedServer:
        return HostedServer(
            self.theirs.server.url, credentials(keys or self.theirs.keys), journal=self.journal
        )

    @asynccontextmanager
    async def tailnet(self, server: HostedServer) -> AsyncIterator[Tailnet]:
        async with open_tailnet(server, self._network, self._releases, History()) as made:
            yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(
    backend: Backend, releases: tuple[Release, ...], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    """One for all tests: each must leave it as it was."""
    async with backend.network("hosted") as network, standing(network.host_address) as theirs:
        yield Place(theirs, network, releases, tmp_path_factory.mktemp("hosted"))


async def test_people_and_tags_join_a_policy_holds_and_nothing_is_left(place: Place) -> None:
    """Alice's and Bob's devices by keys of their own, a tagged one by its tag's; then the tailnet is as it was."""
    async with place.tailnet(place.server()) as tailnet:
        releases = tailnet.able(Ability.FILTER)
        alice = await tailnet.join("alice", releases[0], name="alice")
        bob = await tailnet.join("bob", releases[-1], name="bob")
        tagged = await tailnet.join("alice", releases[-1], name="tagged", tags=["tag:web"])
        nodes = {node.given_name: node for node in await tailnet.server.nodes()}
        assert {name: (node.user, node.tags) for name, node in nodes.items() if name != "tagged"} == {
            "alice": ("alice", ()),
            "bob": ("bob", ()),
        }
        assert nodes["tagged"].tags == ("tag:web",)
        await tailnet.meshed(tailnet.clients)
        await tailnet.set_policy(policy(acl("alice@", "tag:web:*", "bob@:*"), acl("tag:web", "bob@:*")))
        await assert_reach(
            {(alice, tagged.tcp()): True, (bob, tagged.tcp()): False, (alice, bob.tcp()): True}
        )
        assert await place.theirs.complaints() != []
    assert await place.theirs.complaints() == []
    assert place.journal.read().keys == set()


async def test_what_a_run_that_crashed_left_is_taken_back_by_the_next(place: Place) -> None:
    """Its device, its keys and its policy; what is not a test's is left alone."""
    async with place.tailnet(crashed := place.server()) as tailnet:
        await tailnet.join("alice", name="left")
        assert [node.given_name for node in await crashed.nodes()] == ["left"]
        own_key = await place.theirs.server.create_key(
            "1", reusable=True, ephemeral=False, lifetime=HOUR, tags=()
        )
        next_one = place.server()
        await next_one.start()
        assert await next_one.nodes() == await place.theirs.server.nodes() == []
        await next_one.close()
        assert await place.theirs.complaints() == [f"key {own_key.id} still lets devices in"]
        await place.theirs.server.delete_key(own_key.id)
    assert await place.theirs.complaints() == []


async def test_a_tailnet_with_other_peoples_devices_is_refused(place: Place) -> None:
    """Before anything is changed: scenarios open everything to everybody."""
    async with place.tailnet(place.server()) as tailnet:
        await tailnet.join("alice", name="stranger")
        place.journal.clear()  # now it is nobody's of ours
        other = HostedServer(
            tailnet.server.url,
            credentials(place.theirs.keys),
            journal=Journal(place.folder / "other.jsonl"),
        )
        with pytest.raises(HarnessError, match=r"has devices \(stranger\) that no test made"):
            await other.start()


async def test_what_it_cannot_do_is_said_by_name(place: Place) -> None:
    """A user for whom there is no key, logins by an administrator, stopping it, an end of a key."""
    server = place.server(place.theirs.keys.partition(",")[0])
    async with place.tailnet(server) as tailnet:
        await tailnet.auth_key("alice")
        for asks in (
            tailnet.auth_key("bob"),
            server.let_in("x", "alice"),
            server.stop(),
            server.expire_key("1"),
            server.set_device_approval(on=True),
        ):
            with pytest.raises(NotOffered, match="the hosted server lacks "):
                await asks
        await tailnet.auth_key("bob", tags=["tag:web"])
