"""Which router takes over when another is gone or does not answer, and that nobody takes anything back."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest

from headscale.state.presence import arrive, asked, leave
from headscale.state.routes import Standing
from headscale.state.snapshot import Snapshot, drop_node, put_node, with_subjects
from headscale.tailcfg.hostinfo import Hostinfo
from tests.builders import NOW, moment, node, router, tailnet, with_nodes, with_policy_text

NET = ip_network("10.1.0.0/16")
OTHER = ip_network("10.2.0.0/16")

STEERED = """{
    "tagOwners": {"tag:left": ["alice@"], "tag:right": ["alice@"]},
    "grants": [
        {"src": ["alice@"], "dst": ["10.1.0.0/16"], "ip": ["*"], "via": ["tag:left"]},
        {"src": ["bob@"], "dst": ["10.1.0.0/16"], "ip": ["*"], "via": ["tag:left", "tag:right"]},
    ],
}"""


def silence(snapshot: Snapshot, *missed: int, answered: tuple[int, ...] = ()) -> Snapshot:
    step = asked(snapshot, moment(), missed=frozenset(missed), answered=frozenset(answered))
    assert step.writes == ()
    return step.snapshot


def away(snapshot: Snapshot, node_id: int) -> Snapshot:
    return leave(snapshot, moment(), node_id=node_id).snapshot


def back(snapshot: Snapshot, node_id: int) -> Snapshot:
    return arrive(snapshot, moment(), node_id=node_id).snapshot


def three_routers() -> Snapshot:
    """1, 2 and 3, all online."""
    return with_nodes(tailnet("alice"), *(router(n, str(NET), online=True) for n in (1, 2, 3)))


def test_a_silent_router_is_replaced_and_takes_nothing_back() -> None:
    hung = silence(three_routers(), 1)
    assert (hung.primaries[NET], hung.silent) == (2, {1})
    again = silence(hung, answered=(1,))
    assert (again.primaries[NET], again.silent) == (2, frozenset())
    assert silence(again, 2).primaries[NET] == 1


def test_all_that_are_silent_at_once_change_nothing() -> None:
    """It may be the server that could not hear."""
    assert silence(three_routers(), 1, 2, 3).primaries[NET] == 1


def test_told_in_one_step_no_route_goes_from_one_silent_router_to_another() -> None:
    assert silence(three_routers(), 1, 2).primaries[NET] == 3


def test_a_silent_router_is_better_than_one_that_is_away() -> None:
    hung = silence(away(away(three_routers(), 2), 3), 1)
    assert hung.primaries[NET] == 1
    gone = away(hung, 1)
    assert gone.primaries[NET] == 1
    assert back(gone, 3).primaries[NET] == 3


@pytest.mark.parametrize(
    "happens",
    [
        lambda s: away(s, 1),
        lambda s: back(s, 1),  # another stream, before it was taken for gone
        lambda s: silence(s, answered=(1,)),
        lambda s: drop_node(s, s.nodes[1], NOW),
        with_subjects,
    ],
)
def test_what_ends_a_silence(happens: Callable[[Snapshot], Snapshot]) -> None:
    assert happens(silence(three_routers(), 1)).silent == frozenset()


def test_who_is_away_or_unknown_is_not_silent() -> None:
    gone = away(three_routers(), 1)
    assert silence(gone, 1, 9) is gone


def test_a_silent_router_serves_none_of_its_routes() -> None:
    both = with_nodes(
        tailnet("alice"),
        router(1, str(NET), str(OTHER), online=True),
        router(2, str(NET), online=True),
        router(3, str(OTHER), online=True),
    )
    assert dict(silence(both, 1).primaries) == {NET: 2, OTHER: 3}


def test_a_silent_router_that_gets_another_route_is_not_its_primary() -> None:
    hung = silence(three_routers(), 1)
    first = replace(hung.nodes[1], hostinfo=Hostinfo(routable_ips=(str(NET), str(OTHER))))
    hung = put_node(hung, replace(first, approved_routes=(str(NET), str(OTHER))))
    assert hung.primaries[OTHER] == 1  # there is no other
    hung = put_node(hung, router(4, str(OTHER), online=True))
    assert hung.primaries[OTHER] == 4


def steering() -> Snapshot:
    """Router 3 has no tag and is primary; 4 and 5 are left, 6 is right; alice has 1, bob 2."""
    nodes = [
        node(1, online=True),
        node(2, user_id=2, online=True),
        router(3, str(NET), online=True),
        *(router(n, str(NET), tags=("tag:left",), user_id=None, online=True) for n in (4, 5)),
        router(6, str(NET), tags=("tag:right",), user_id=None, online=True),
    ]
    return with_policy_text(with_nodes(tailnet("alice", "bob"), *nodes), STEERED)


def through(snapshot: Snapshot, viewer_id: int) -> list[int]:
    """The routers through which the viewer may send."""
    policy, routes = snapshot.policy, (snapshot.primaries, snapshot.favourites)
    return [
        n for n in (3, 4, 5, 6) if n in snapshot.nodes and NET in policy.routes_for(viewer_id, n, *routes)
    ]


@pytest.mark.parametrize("lose", [away, silence])
def test_who_is_steered_is_steered_to_another_that_can(lose: Callable[[Snapshot, int], Snapshot]) -> None:
    snapshot = steering()
    assert (through(snapshot, 1), through(snapshot, 2)) == ([4], [4])
    snapshot = lose(snapshot, 4)
    assert (through(snapshot, 1), through(snapshot, 2)) == ([5], [5])
    snapshot = lose(snapshot, 5)
    assert (through(snapshot, 1), through(snapshot, 2)) == ([5], [6])  # the last one, for want of another
    assert snapshot.primaries[NET] == 3


def test_nobody_is_steered_back() -> None:
    """Not to the same tag's, and not to another tag's that the same grant names."""
    snapshot = away(away(steering(), 4), 5)
    snapshot = replace(snapshot, epoch=7)
    snapshot = back(snapshot, 4)
    assert (through(snapshot, 1), through(snapshot, 2)) == ([4], [6])
    snapshot = back(snapshot, 5)
    assert (through(snapshot, 1), through(snapshot, 2)) == ([4], [6])


def test_a_primary_with_the_tag_serves_those_who_are_steered_too() -> None:
    snapshot = away(steering(), 3)
    assert snapshot.primaries[NET] == 4
    assert through(snapshot, 1) == [4]
    snapshot = back(away(snapshot, 4), 4)
    assert (snapshot.primaries[NET], through(snapshot, 1), through(snapshot, 2)) == (5, [5], [5])


def test_another_policy_steers_by_its_own_tags() -> None:
    snapshot = steering()
    assert {tag for _, tag in snapshot.favourites} == {"tag:left", "tag:right"}
    right = with_policy_text(snapshot, STEERED.replace('["tag:left"]', '["tag:right"]'))
    assert (through(right, 1), through(right, 2)) == ([6], [4])
    none = with_policy_text(snapshot, "{}")
    assert dict(none.favourites) == {}


def test_a_router_that_loses_the_tag_serves_nobody_who_is_steered() -> None:
    snapshot = steering()
    bare = put_node(snapshot, replace(snapshot.nodes[4], tags=("tag:right",)))
    assert (through(bare, 1), bare.favourites[NET, "tag:left"].node_id) == ([5], 5)


def test_a_fresh_start_steers_to_those_who_are_there() -> None:
    snapshot = replace(with_subjects(away(steering(), 4)), policy_text=None)
    snapshot = with_policy_text(snapshot, STEERED)
    assert snapshot.favourites[NET, "tag:left"][::2] == (Standing.WELL, 5)
