"""Whatever a Go headscale's database holds, an import of it ends well and leaves a state that keeps our promises."""

import asyncio
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.peerdatabase import PeerDatabase
from headscale.db.database import Database, open_sqlite
from headscale.errors import HeadscaleError
from headscale.peer.importing import Plan, ours_in, plan_import
from headscale.peer.source import read_peer
from headscale.records import TailnetSettings
from headscale.state.effect import Moment
from headscale.state.policy import work_out
from headscale.state.restore import restore
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.derpmap import DERPMap
from tests.builders import NOW
from tests.property.peerdatabases import peers

SETTINGS = TailnetSettings(server_url="http://headscale.example")
MOMENT = Moment(NOW, secrets.randbelow)


class Target:
    """A database of ours in a file, with the tables of this version."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    async def import_from(self, peer: PeerDatabase) -> Plan:
        """Import it as `headscale import --apply` does."""
        path = peer.write_sqlite(Path(tempfile.mkdtemp(dir=self._folder)) / "theirs.sqlite")
        plan = plan_import(read_peer(str(path)), await ours_in(self._database, NOW), MOMENT, SETTINGS)
        await self._database.commit(plan.writes)
        return plan

    async def started(self) -> Snapshot:
        """The state with which a server starts on it; its policy is worked out, or refused in words."""
        ours = await ours_in(self._database, NOW)
        snapshot = restore(
            settings=SETTINGS,
            derp_map=DERPMap(regions={}),
            users=ours.users,
            pre_auth_keys=ours.pre_auth_keys,
            api_keys=ours.api_keys,
            nodes=ours.nodes,
            last_ids=ours.last_ids,
            now=NOW,
        )
        for policy in ours.policies:
            with contextlib.suppress(HeadscaleError):
                work_out(snapshot, policy.text)
        return snapshot


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of ours."""
    path = tmp_path_factory.mktemp("import") / "empty.sqlite"

    async def make() -> None:
        await (await open_sqlite(path)).close()

    asyncio.run(make())
    return path


@asynccontextmanager
async def target_in(empty: Path) -> AsyncIterator[Target]:
    """A fresh one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.sqlite"
        shutil.copyfile(empty, path)
        database = await open_sqlite(path)
        try:
            yield Target(database, Path(folder))
        finally:
            await database.close()


def holds_together(snapshot: Snapshot) -> None:
    """Everything is found by what is its own, and nothing has what is another's."""
    nodes = snapshot.nodes.values()
    assert {node.id for node in nodes} == set(snapshot.node_by_key.values())
    assert {node.id for node in nodes} == set(snapshot.node_by_name.values())
    assert len(snapshot.node_by_address) == sum(len(node.addresses) for node in nodes)
    for node in nodes:
        assert bool(node.tags) != (node.user_id in snapshot.users)
        assert node.auth_key_id is None or node.auth_key_id in snapshot.pre_auth_keys
        assert node.ipv4 is not None or node.ipv6 is not None
    for key in snapshot.pre_auth_keys.values():
        assert key.tags or key.user_id in snapshot.users
    assert snapshot.last_node_id >= max(snapshot.nodes, default=0)


def adds_up(plan: Plan, peer: PeerDatabase) -> None:
    """Each row comes in, was there or is left out with a reason."""
    for count in plan.report.counts:
        assert count.rows == len(peer.rows[count.table])
        assert count.rows == count.imported + count.there + count.left_out
        reasons = {n.number for n in plan.report.notes if n.what == "left out" and n.table == count.table}
        assert count.left_out == len(reasons) or count.table in ("routes", "pre_auth_key_acl_tags")


@given(peer=peers())
def test_any_database_comes_in_once(empty: Path, peer: PeerDatabase) -> None:
    """The state is sound, the counts add up, and a second import has nothing to write."""

    async def twice() -> None:
        async with target_in(empty) as target:
            first = await target.import_from(peer)
            adds_up(first, peer)
            assert not first.report.clashes
            holds_together(await target.started())
            second = await target.import_from(peer)
            adds_up(second, peer)
            assert (second.writes, second.report.imported, second.report.clashes) == ((), 0, ())

    asyncio.run(twice())


@given(pair=st.tuples(peers(), peers()))
def test_one_database_over_another_breaks_nothing(
    empty: Path, pair: tuple[PeerDatabase, PeerDatabase]
) -> None:
    """What does not clash is merged, and then a second time changes nothing; with a clash nothing is written."""

    async def both() -> None:
        async with target_in(empty) as target:
            await target.import_from(pair[0])
            before = await target.started()
            merged = await target.import_from(pair[1])
            adds_up(merged, pair[1])
            after = await target.started()
            holds_together(after)
            assert all(after.nodes[number] == node for number, node in before.nodes.items())
            if merged.report.clashes:
                assert merged.writes == ()
            else:
                assert (await target.import_from(pair[1])).writes == ()

    asyncio.run(both())
