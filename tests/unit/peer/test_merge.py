"""A database that comes in over ours: who is here already stays, new ones join, and a clash stops everything."""

from dataclasses import replace
from pathlib import Path

from harness.peerdatabase import PeerDatabase, stamp
from headscale.peer.merge import Ours
from headscale.records import (
    Advance,
    ApiKey,
    Counter,
    Node,
    PolicyText,
    PreAuthKey,
    User,
)
from tests.builders import NOW, mkey, nkey, node
from tests.property.peerdatabases import BCRYPT
from tests.unit.peer.imports import NOTHING, Imported, imported


def full() -> PeerDatabase:
    """A little of everything."""
    peer = PeerDatabase("0.29")
    peer.user("alice")
    peer.user("bob", provider="oidc", provider_identifier="https://idp/1")
    peer.add("pre_auth_keys", prefix="0123456789ab", hash=BCRYPT, user_id=1, created_at=stamp())
    peer.add("api_keys", prefix="0123456789ab", hash=BCRYPT, created_at=stamp())
    peer.add("policies", data="{}", created_at=stamp())
    peer.node(1, 1, auth_key_id=1)
    peer.node(2, 2, tags='["tag:a"]')
    return peer


def after(found: Imported, ours: Ours = NOTHING) -> Ours:
    """What is here once it was written."""
    last = {write.counter: write.value for write in found.plan.writes if isinstance(write, Advance)}
    return Ours(
        users=(*ours.users, *found.all(User)),
        pre_auth_keys=(*ours.pre_auth_keys, *found.all(PreAuthKey)),
        api_keys=(*ours.api_keys, *found.all(ApiKey)),
        nodes=(*ours.nodes, *found.all(Node)),
        policies=(*ours.policies, *found.all(PolicyText)),
        last_ids={**ours.last_ids, **last},
    )


def test_ids_are_kept_and_counted_on(tmp_path: Path) -> None:
    """Into an empty database everything comes under its own id, and the next of ours is beyond."""
    peer = full()
    peer.rows["nodes"][1]["id"] = 700
    found = imported(peer, tmp_path)
    assert [record.id for record in found.all(Node)] == [1, 700]
    assert Advance(Counter.NODE, 700) in found.plan.writes
    assert Advance(Counter.USER, 2) in found.plan.writes


def test_a_second_import_changes_nothing(tmp_path: Path) -> None:
    """Not even after a node was renamed and tagged and a hash replaced here; and of no row there is a note."""
    first = imported(full(), tmp_path)
    here = after(first)
    moved = replace(here.nodes[0], node_key=nkey(9), given_name="renamed", user_id=None, tags=("tag:new",))
    changed = replace(
        here,
        nodes=(moved, *here.nodes[1:]),
        pre_auth_keys=(replace(here.pre_auth_keys[0], secret_hash=bytes(32)),),
    )
    second = imported(full(), tmp_path, ours=changed)
    assert second.plan.writes == ()
    assert second.plan.report.notes == ()
    assert all((came, out) == (0, 0) for came, _, out in second.counts.values())


def test_who_is_here_is_who_they_are(tmp_path: Path) -> None:
    """A local user of the name, and an identity of the provider: their nodes join those that they have."""
    ours = Ours(
        users=(
            User(id=8, name="alice", created_at=NOW),
            User(id=9, name="robert", provider_identifier="https://idp/1", created_at=NOW),
        ),
        last_ids={**NOTHING.last_ids, Counter.USER: 9},
    )
    found = imported(full(), tmp_path, ours=ours)
    assert found.all(User) == []
    assert found.all(Node)[0].user_id == 8


def test_taken_ids_become_others(tmp_path: Path) -> None:
    """And what refers to them follows; each is named, and a second import finds them again."""
    ours = Ours(
        users=(User(id=1, name="zoe", created_at=NOW),),
        pre_auth_keys=(
            PreAuthKey(id=1, prefix="ffffffffffff", secret_hash=bytes(32), user_id=1, created_at=NOW),
        ),
        nodes=(node(1, machine_key=mkey(77), given_name="zoes", ipv4=None, ipv6=None, user_id=1),),
        last_ids={**NOTHING.last_ids, Counter.USER: 1, Counter.NODE: 5, Counter.PRE_AUTH_KEY: 1},
    )
    found = imported(full(), tmp_path, ours=ours)
    alice = next(user for user in found.all(User) if user.name == "alice")
    mine = next(n for n in found.all(Node) if n.machine_key == mkey(1))
    (key,) = found.all(PreAuthKey)
    assert (alice.id, mine.id, key.id) == (3, 6, 2)
    assert (mine.user_id, mine.auth_key_id, key.user_id) == (3, 2, 3)
    assert [row for row, _ in found.told("nodes", "repaired") if row == "1"] == ["1"]
    again = imported(full(), tmp_path, ours=after(found, ours)).plan
    assert (again.writes, again.report.clashes) == ((), ())


def test_clashes_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    """A node key, an address or a name of another node, or another policy."""
    peer = full()
    for number in (3, 4):
        peer.node(number, 1)
    first = imported(peer, tmp_path)
    theirs = {record.id: record for record in first.all(Node)}
    others = [
        node(1, machine_key=mkey(91), node_key=theirs[1].node_key, given_name="a", ipv4=None, ipv6=None),
        node(2, machine_key=mkey(92), given_name="b", ipv4=theirs[3].ipv4, ipv6=None),
        node(3, machine_key=mkey(93), given_name=theirs[4].given_name, ipv4=None, ipv6=None),
    ]
    policy = PolicyText(id=1, text='{"acls": []}', created_at=NOW)
    ours = replace(
        NOTHING, nodes=tuple(others), policies=(policy,), users=(User(id=1, name="z", created_at=NOW),)
    )
    found = imported(peer, tmp_path, ours=ours)
    assert found.plan.writes == ()
    assert [(clash.table, clash.row) for clash in found.plan.report.clashes] == [
        *(("nodes", "1"), ("nodes", "3"), ("nodes", "4"), ("policies", "1")),
    ]
    assert "node key" in found.plan.report.clashes[0].text


def test_a_large_database_is_worked_out_soon(tmp_path: Path) -> None:
    """The work grows with the rows, and not with their square: also where every address and name stands twice."""
    peer = PeerDatabase("0.29")
    peer.user("alice")
    for number in range(1, 3001):
        same = number - number % 2
        peer.node(number, 1, given_name=f"host{same}", ipv4=f"100.64.{same // 250}.{same % 250 + 1}")
    found = imported(peer, tmp_path)
    assert len(found.all(Node)) == 3000
    assert len({record.ipv4 for record in found.all(Node)}) == 3000
