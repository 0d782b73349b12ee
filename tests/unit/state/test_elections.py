"""Elections as they are kept: what is written, and that a start finds it again."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from headscale.records import Elections, Update
from headscale.state.elections import election_writes, with_elections
from headscale.state.presence import arrive, leave
from headscale.state.snapshot import Snapshot, drop_node, with_subjects
from tests.builders import NOW, moment, router, tailnet, with_nodes, with_policy_text

NET = ip_network("10.1.0.0/16")
VIA = """{
    "tagOwners": {"tag:left": ["alice@"]},
    "grants": [{"src": ["alice@"], "dst": ["10.1.0.0/16"], "ip": ["*"], "via": ["tag:left"]}],
}"""


def routers(*numbers: int) -> Snapshot:
    return with_nodes(tailnet("alice"), *(router(n, str(NET), online=True) for n in numbers))


def steering() -> Snapshot:
    """4 and 5 have the tag."""
    left = (router(n, str(NET), tags=("tag:left",), user_id=None, online=True) for n in (4, 5))
    return with_policy_text(with_nodes(routers(3), *left), VIA)


def moved(snapshot: Snapshot, node_id: int) -> Snapshot:
    """After this router was away for a while."""
    gone = leave(snapshot, moment(), node_id=node_id).snapshot
    return arrive(replace(gone, epoch=gone.epoch + 1), moment(), node_id=node_id).snapshot


def held(before: Snapshot, after: Snapshot) -> tuple[str, ...] | None:
    writes = election_writes(before, after)
    if not writes:
        return None
    (write,) = writes
    assert isinstance(write, Update)
    assert isinstance(write.record, Elections)
    return write.record.held


def test_only_what_several_could_win_is_kept() -> None:
    assert held(routers(), routers(1)) is None
    assert held(routers(1), routers(1, 2)) == ("10.1.0.0/16 1",)
    assert held(routers(1, 2), drop_node(routers(1, 2), routers(1, 2).nodes[1], NOW)) == ()


def test_what_changed_nothing_is_not_written() -> None:
    snapshot = routers(1, 2)
    assert held(snapshot, snapshot) is None
    assert held(snapshot, leave(snapshot, moment(), node_id=2).snapshot) is None


def test_a_favourite_is_kept_with_its_tag() -> None:
    assert held(routers(3), steering()) == ("10.1.0.0/16 3", "10.1.0.0/16 4 tag:left")


def test_a_start_finds_who_won() -> None:
    snapshot = moved(moved(steering(), 4), 3)
    kept = held(routers(3), snapshot)
    assert kept == ("10.1.0.0/16 4", "10.1.0.0/16 5 tag:left")
    bare = replace(with_subjects(replace(snapshot, primaries=routers().primaries)), policy_text=None)
    assert bare.primaries[NET] == 3
    again = with_elections(bare, kept)
    started = replace(with_subjects(again), favourites=again.favourites)
    started = with_policy_text(started, VIA)
    assert (started.primaries[NET], started.favourites[NET, "tag:left"].node_id) == (4, 5)


def test_who_won_and_is_not_there_wins_no_more() -> None:
    """It lost the route, was deleted, or is away while another is not."""
    gone = leave(routers(1, 2), moment(), node_id=2).snapshot
    for snapshot, winner in ((routers(1, 3), 1), (gone, 1)):
        assert with_subjects(with_elections(snapshot, ("10.1.0.0/16 2",))).primaries[NET] == winner


@pytest.mark.parametrize(
    "text", ["", "x 1", "10.1.0.0/16", "10.1.0.0/16 x", "10.1.0.0/16 1 a b", "10.1.0.0/16 -1"]
)
def test_a_text_that_is_none_is_passed_over(text: str) -> None:
    snapshot = routers(1, 2)
    assert with_elections(snapshot, (text,)).primaries == snapshot.primaries


def test_a_route_that_is_no_more_is_forgotten() -> None:
    started = with_subjects(with_elections(routers(1, 2), ("10.9.0.0/16 2", "10.1.0.0/16 2")))
    assert dict(started.primaries) == {NET: 2}
