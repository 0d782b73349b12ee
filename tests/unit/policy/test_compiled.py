"""A compiled policy as a value: what stays the same from one to the next, and what a change reaches."""

import pytest

from headscale.ipset import of_networks
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.subjects import Network, Person
from headscale.tailcfg.filters import ALLOW_ALL
from tests.unit.policy.small import ANN, BOB, EVE, acl, device, engine, lines, parsed, tagged

RULES = {"acls": [acl("ann@", "autogroup:member:22"), acl("tag:web", "bob@:80"), acl("*", "100.64.0.9:1")]}


def tailnet() -> Compiled:
    return engine(RULES, device(1, ANN), device(2, ANN), device(3, BOB), tagged(4, "tag:web"))


def test_no_policy_at_all() -> None:
    """Everybody reaches everything, sees everybody, and is asked for nothing."""
    compiled = compile_policy(None, people={1: ANN, 2: BOB}, subjects=[device(1), device(3, BOB)])
    assert compiled.filter_of(1) == compiled.filter_of(99) == ALLOW_ALL
    assert compiled.filter_key(1) == compiled.filter_key(3)
    assert compiled.peers_of(1) == {3}
    assert (compiled.ssh_of(1), compiled.caps_of(1), compiled.tags, compiled.pools_of(1)) == (
        None,
        {},
        frozenset(),
        (),
    )
    assert not compiled.owns_tag("tag:web", person_id=1)


def test_a_node_that_is_not_there() -> None:
    """It lets nothing in, and is in no class."""
    compiled = tailnet()
    assert (compiled.filter_of(99), compiled.ssh_of(99), compiled.class_of(99)) == ((), None, None)


def test_the_nodes_of_a_value() -> None:
    """Those it was made with and those that came since, by id and by address."""
    compiled = tailnet().updated([device(5)], gone=[4])
    assert set(compiled.subjects) == set(compiled.nodes) == {1, 2, 3, 5}
    address = device(5).ipv4
    assert address is not None
    found = compiled.node_at(address)
    assert found is not None
    assert found.subject == device(5)
    assert compiled.node_at(device(99).ipv4) is None  # type: ignore[arg-type]


def test_a_node_may_change_and_leave_at_once() -> None:
    """Then it is gone."""
    assert set(tailnet().updated([device(1, BOB), device(9)], gone=[1, 9]).subjects) == {2, 3, 4}


def test_the_key_of_a_filter_lasts() -> None:
    """It stays equal while the filter is the same, whoever joins or leaves, and is another when it is not."""
    before = tailnet()
    keys = {i: before.filter_key(i) for i in (1, 3)}
    joined = before.updated([tagged(5, "tag:web")])
    assert joined.filter_key(1) == keys[1]
    assert joined.filter_key(3) != keys[3]
    back = joined.updated(gone=[5])
    assert (back.filter_key(1), back.filter_key(3)) == (keys[1], keys[3])


def test_nodes_with_the_same_filter_have_the_same_key() -> None:
    """Where no rule names their own addresses; else each has its own."""
    open_to_all = engine({"acls": [acl("*", "*:*")]}, device(1), device(2))
    assert open_to_all.filter_key(1) == open_to_all.filter_key(2)
    named = engine({"acls": [acl("*", "ann@:*")]}, device(1), device(2))
    assert named.filter_key(1) != named.filter_key(2)


def test_a_node_with_another_address_has_another_key() -> None:
    """When its own addresses stand in its filter."""
    before = engine({"acls": [acl("bob@", "ann@:22")]}, device(1), device(3, BOB))
    after = before.updated([device(1, six=True)])
    assert before.filter_key(1) != after.filter_key(1)


def test_the_filters_of_two_policies() -> None:
    """A node keeps its filter under a policy that says the same of it in other words."""
    nodes = (device(1), device(3, BOB))
    before = engine({"acls": [acl("ann@", "bob@:22")]}, *nodes)
    same = engine(
        {"acls": [acl("ann@example.com", "autogroup:member:22")], "hosts": {"x": "10.0.0.1"}}, *nodes
    )
    assert same.keeps_filter(3, before)
    assert not same.keeps_filter(1, before)
    assert same.keeps_filter(3, same)


def test_a_filter_is_not_kept_by_who_moved() -> None:
    """Though the rules say the same, the node's own addresses are others."""
    before = engine({"acls": [acl("bob@", "ann@:22")]}, device(1), device(3, BOB))
    after = engine({"acls": [acl("bob@", "ann@:22")]}, device(1, six=True), device(3, BOB))
    assert not after.keeps_filter(1, before)


def test_no_policy_and_one_for_everybody() -> None:
    """Neither is taken for the other, though they let the same in."""
    none = compile_policy(None, people={}, subjects=[device(1)])
    everybody = engine({}, device(1))
    assert none.keeps_filter(1, none)
    assert not everybody.keeps_filter(1, none)
    assert not none.keeps_filter(1, everybody)


def test_what_was_asked_of_a_value_stays() -> None:
    """A value answers as before whatever was derived from it in between."""
    before = tailnet()
    said = {i: (lines(before.filter_of(i)), before.peers_of(i)) for i in before.subjects}
    after = before.updated([device(9, EVE), device(1, BOB)], gone=[2])
    for i in after.subjects:
        after.filter_of(i)
        after.peers_of(i)
    assert {i: (lines(before.filter_of(i)), before.peers_of(i)) for i in before.subjects} == said


def test_an_address_sets_a_node_apart() -> None:
    """One that a rule names by its address has a filter of its own among those of its kind."""
    compiled = tailnet().updated([device(9, EVE), device(8, EVE)])
    assert [len(compiled.filter_of(i)) for i in (8, 9)] == [1, 2]


def test_a_class_is_who_sees_the_same() -> None:
    """Devices of one person are of one class, in which they see the same others."""
    compiled = tailnet()
    assert compiled.class_of(1) == compiled.class_of(2) != compiled.class_of(3)


def test_where_a_check_is_asked_for() -> None:
    """The server's URL reaches the SSH rules, and lasts through new users."""
    rules = {"ssh": [{"action": "check", "src": ["ann@"], "dst": ["ann@"], "users": ["root"]}]}
    compiled = engine(rules, device(1)).with_people({1: ANN, 9: Person(9, "new")})
    policy = compiled.ssh_of(1)
    assert policy is not None
    assert policy.rules[0].action.hold_and_delegate.startswith("https://hs/machine/ssh/action/")


def test_star_is_the_tailnet_that_is_configured() -> None:
    """Its own prefixes are what `*` as a source stands for, and last through changes."""
    prefix: Network = device(1, ANN, "100.70.0.0/16").routes[0]
    compiled = compile_policy(
        parsed({"acls": [acl("*", "*:*")]}), people={}, subjects=[device(1)], tailnet=of_networks(prefix)
    )
    for each in (compiled, compiled.updated([device(2)]), compiled.with_people({1: ANN})):
        assert lines(each.filter_of(1)) == ["100.70.0.0/16 > *:*"]


@pytest.mark.parametrize(
    ("people", "sources"),
    [
        ((ANN, BOB), ["100.64.0.1"]),
        ((Person(1, "zoe", "zoe@example.com"), BOB), []),
        ((Person(1, "zoe"), Person(3, "ann")), ["100.64.0.3"]),
        ((ANN, BOB, Person(9, "ann")), []),
        ((BOB,), []),
    ],
)
def test_other_users_in_the_same_policy(people: tuple[Person, ...], sources: list[str]) -> None:
    """A user who is renamed, gone or now ambiguous is named no more; the nodes are the same."""
    compiled = engine({"acls": [acl("ann@", "tag:web:22")]}, device(1), device(3, EVE), tagged(4, "tag:web"))
    compiled.filter_of(4)
    after = compiled.with_people({person.id: person for person in people})
    assert lines(after.filter_of(4)) == [f"{source} > 100.64.0.4:22" for source in sources]
    assert set(after.subjects) == {1, 3, 4}


def test_the_same_users() -> None:
    """Nothing changes when nobody did."""
    compiled = tailnet()
    assert compiled.with_people(dict(compiled.people)) is compiled


def test_groups_follow_their_people() -> None:
    """A user who joins is in the groups that name them, and their nodes are let in."""
    rules = {"groups": {"group:g": ["new@"]}, "acls": [acl("group:g", "ann@:22")]}
    compiled = engine(rules, device(1), device(5, Person(9, "new")))
    assert compiled.filter_of(1) == ()
    after = compiled.with_people({1: ANN, 9: Person(9, "new")})
    assert lines(after.filter_of(1)) == ["100.64.0.5 > 100.64.0.1:22"]
    assert compiled.filter_of(1) == ()
