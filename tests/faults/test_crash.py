"""A server that dies at any moment: what it acknowledged is there when it is back, and nothing is there by half."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness.clients.fake import FakeClient
from harness.servers.base import AdminRefused
from tests.bar import Row
from tests.faults.conftest import Stands
from tests.faults.failpoints import POINTS
from tests.faults.stand import Stand

WORKERS = 20
ONCE_KEYS = 60
MAP_S = 10.0
POLICY = '{"tagOwners": {"tag:server": [], "tag:other": []}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}'
OTHER_POLICY = '{"tagOwners": {"tag:server": [], "tag:other": []}, "grants": []}'


@dataclass
class Joined:
    """What a client was told: that it is in, and then perhaps with which number and addresses."""

    client: FakeClient
    key: str
    tags: tuple[str, ...]
    id: int = 0
    addresses: tuple[str, ...] = ()


@dataclass
class Crowd:
    """Clients that register as fast as they can, until their server is gone."""

    stand: Stand
    keys: list[tuple[str, tuple[str, ...]]]
    once: list[str]
    acknowledged: list[Joined] = field(default_factory=list)
    busy: int = 0
    made: int = 0

    async def register(self, number: int) -> None:
        """One after the other; every third with a key for one use."""
        while True:
            self.made += 1
            key, tags = self.keys[self.made % len(self.keys)]
            if self.once and self.made % 3 == 0:
                key, tags = self.once.pop(), ()
            client = FakeClient(self.stand.server.url, hostname=f"crowd-{number}-{self.made}")
            client.server_key = self.stand._key
            try:
                await client.connect()
                self.busy += 1
                try:
                    answer = await client.register(auth_key=key)
                finally:
                    self.busy -= 1
                assert answer["MachineAuthorized"], answer["Error"]
                one = Joined(client, key, tags)
                self.acknowledged.append(one)
                await learn(one)
            except Exception:
                if self.stand.server_is_gone:
                    return
                raise
            finally:
                await client.close()


async def learn(one: Joined) -> None:
    """Number and addresses from the map, as a client has them."""
    node = (await one.client.map_once())["Node"]
    one.id, one.addresses = (
        node["ID"],
        tuple(sorted(address.partition("/")[0] for address in node["Addresses"])),
    )


async def nodes_of(stand: Stand) -> list[dict[str, Any]]:
    return list((await stand.server.call("GET", "node"))["nodes"])


def check_whole(nodes: list[dict[str, Any]]) -> None:
    """No node by half, and nothing given twice (I3)."""
    for node in nodes:
        assert len(node["ipAddresses"]) == 2, node
        assert node["givenName"], node
        assert node["machineKey"], node
        assert node["nodeKey"], node
    for name in ("id", "nodeKey", "givenName"):
        twice = [value for value, count in Counter(node[name] for node in nodes).items() if count > 1]
        assert not twice, (name, twice)
    addresses = Counter(address for node in nodes for address in node["ipAddresses"])
    assert max(addresses.values(), default=1) == 1


async def check_spent(stand: Stand, nodes: list[dict[str, Any]]) -> None:
    """A key for one use is used exactly when there is a node that came with it (I5)."""
    users = Counter(str(node["preAuthKey"]["id"]) for node in nodes if node.get("preAuthKey"))
    for key in (await stand.server.call("GET", "preauthkey"))["preAuthKeys"]:
        if not key["reusable"]:
            assert users[str(key["id"])] == int(key["used"]), key


async def check_acknowledged(nodes: list[dict[str, Any]], acknowledged: list[Joined]) -> int:
    """How many of those who were told that they are in are not, as they were told."""
    by_key = {node["nodeKey"]: node for node in nodes}
    lost = 0
    for one in acknowledged:
        node = by_key.get(one.client.node_key)
        if node is None:
            lost += 1
            continue
        assert node["machineKey"] == one.client.machine_key
        assert tuple(node["tags"] or ()) == one.tags
        if one.id:
            assert int(node["id"]) == one.id
            assert tuple(sorted(node["ipAddresses"])) == one.addresses
    return lost


@pytest.mark.bar("F1")
@pytest.mark.both
@pytest.mark.timeout(1800)
async def test_no_acknowledged_registration_is_lost(stands: Stands, row: Row) -> None:
    """`kill -9` at random moments under 20 parallel registrations."""
    kills = row.count(5, 200)
    acknowledged: list[Joined] = []
    busy: list[int] = []
    back: list[float] = []
    maps: list[float] = []
    lost = 0
    async with stands() as stand:
        await stand.server.set_policy(POLICY)
        keys = [(await stand.key(), ()), (await stand.key(tags=("tag:server",)), ("tag:server",))]
        await (await stand.client()).close()
        for _ in range(kills):
            once = [await stand.key(reusable=False) for _ in range(ONCE_KEYS)]
            crowd = Crowd(stand, keys, once)
            stand.server_is_gone = False
            workers = [asyncio.create_task(crowd.register(number)) for number in range(WORKERS)]
            while not crowd.acknowledged:  # noqa: ASYNC110  (until they are at it)
                await asyncio.sleep(0.005)
            await asyncio.sleep(row.chance.uniform(0.02, 2.0))
            while crowd.busy < WORKERS // 2:  # noqa: ASYNC110  (in the middle of it, and not between two)
                await asyncio.sleep(0)
            busy.append(crowd.busy)
            stand.server_is_gone = True
            await stand.server.kill()
            await asyncio.gather(*workers)
            began = time.monotonic()
            await stand.server.start()
            back.append(time.monotonic() - began)
            acknowledged += crowd.acknowledged
            nodes = await nodes_of(stand)
            check_whole(nodes)
            await check_spent(stand, nodes)
            lost += await check_acknowledged(nodes, acknowledged)
            for one in row.chance.sample(crowd.acknowledged, min(5, len(crowd.acknowledged))):
                before, began = (one.id, one.addresses), time.monotonic()
                await learn(one)
                maps.append(time.monotonic() - began)
                assert not before[0] or before == (one.id, one.addresses)
                await one.client.close()
        row.found(
            kills=kills,
            acknowledged=len(acknowledged),
            lost=lost,
            nodes=len(nodes),
            in_flight_at_least=min(busy),
            slowest_start_s=max(back),
            slowest_map_s=max(maps),
        )
        row.reached("registrations in flight at a kill", min(busy), at_least=WORKERS // 2)
        row.reached("acknowledged registrations", len(acknowledged), at_least=kills * WORKERS)
        assert lost == 0
        assert max(maps) <= MAP_S


@dataclass
class Ground:
    """What failpoints work on: a node for each kind of step."""

    stand: Stand
    renamed: str
    tagged: str
    spare: list[str]


@pytest.mark.bar("F2")
@pytest.mark.both
@pytest.mark.timeout(1800)
async def test_a_server_that_dies_at_any_point_is_whole(stands: Stands, row: Row) -> None:
    """Dead before and after each commit, publication and answer: acknowledged is kept, the rest is whole or absent."""
    rounds = row.count(1, 20)
    kept: Counter[str] = Counter()
    async with stands() as stand:
        await stand.server.set_policy(POLICY)
        kinds = [await stand.join(name) for name in ("renamed", "tagged")]
        numbers = [(await stand.node(client)).id for client in kinds]
        spare = [await stand.join(f"spare{number}") for number in range(8 * rounds)]
        ground = Ground(stand, *numbers, [(await stand.node(client)).id for client in spare])
        acknowledged: list[Joined] = []
        for turn in range(rounds):
            for point in POINTS:
                step, _, phase = point.partition(":")
                stand.server.failpoint = ""
                await stand.server.stop()
                stand.server.failpoint = point
                await stand.server.start()
                told, is_so = await DOES[step](ground, f"{turn}-{phase}", acknowledged)
                assert await stand.server.died() == -9, point
                stand.server.failpoint = ""
                await stand.server.start()
                happened = await is_so()
                assert happened or not told, f"{point}: acknowledged and lost"
                durable = phase not in ("decided", "rows")
                assert happened == durable, f"{point}: {'made' if happened else 'lost'}"
                nodes = await nodes_of(stand)
                check_whole(nodes)
                await check_spent(stand, nodes)
                assert await check_acknowledged(nodes, acknowledged) == 0
                kept["acknowledged" if told else "kept" if happened else "absent"] += 1
    row.found(points=len(POINTS), kills=len(POINTS) * rounds, **kept)
    row.reached("points", len(POINTS), at_least=24)


async def answered(work: Any) -> bool:
    """Whether the server said yes before it died."""
    try:
        await work
    except AdminRefused:
        raise
    except Exception:
        return False
    return True


async def does_register(ground: Ground, name: str, acknowledged: list[Joined]) -> tuple[bool, Any]:
    stand = ground.stand
    key = await stand.key(reusable=False)
    client = FakeClient(stand.server.url, hostname=f"new-{name}")
    client.server_key = stand._key
    told = await answered(client.register(auth_key=key, within=5))
    await client.close()
    if told:
        acknowledged.append(Joined(client, key, ()))

    async def is_so() -> bool:
        return any(node["nodeKey"] == client.node_key for node in await nodes_of(stand))

    return told, is_so


async def does_rename(ground: Ground, name: str, _: list[Joined]) -> tuple[bool, Any]:
    wanted = f"name-{name}"
    told = await answered(ground.stand.server.rename_node(ground.renamed, wanted))

    async def is_so() -> bool:
        return any(node["givenName"] == wanted for node in await nodes_of(ground.stand))

    return told, is_so


async def does_tags(ground: Ground, name: str, _: list[Joined]) -> tuple[bool, Any]:
    """Between one tag and two: a node does not lose its last one."""
    node = ground.tagged
    before = next(one for one in await nodes_of(ground.stand) if one["id"] == node)["tags"]
    wanted = ["tag:other", "tag:server"] if len(before) == 1 else ["tag:server"]
    told = await answered(ground.stand.server.set_tags(node, wanted))

    async def is_so() -> bool:
        found = next(one for one in await nodes_of(ground.stand) if one["id"] == node)
        return sorted(found["tags"]) == wanted

    return told, is_so


async def does_delete(ground: Ground, _name: str, _: list[Joined]) -> tuple[bool, Any]:
    node = ground.spare[0]
    told = await answered(ground.stand.server.delete_node(node))

    async def is_so() -> bool:
        gone = all(one["id"] != node for one in await nodes_of(ground.stand))
        if gone:
            ground.spare.pop(0)
        return gone

    return told, is_so


async def does_policy(ground: Ground, _name: str, _: list[Joined]) -> tuple[bool, Any]:
    before = (await ground.stand.server.call("GET", "policy"))["policy"]
    wanted = OTHER_POLICY if before == POLICY else POLICY
    told = await answered(ground.stand.server.set_policy(wanted))

    async def is_so() -> bool:
        return bool((await ground.stand.server.call("GET", "policy"))["policy"] == wanted)

    return told, is_so


DOES = {
    "register": does_register,
    "rename_node": does_rename,
    "set_tags": does_tags,
    "delete_node": does_delete,
    "set_policy": does_policy,
}
