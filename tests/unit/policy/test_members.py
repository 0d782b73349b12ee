"""The addresses behind source sets, as rules spell them, while nodes come, change and go."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from headscale.policy.compiled import Compiled
from headscale.policy.members import BEHIND_MAX
from headscale.policy.subjects import Subject
from tests.unit.policy.small import ANN, BOB, acl, device, engine, tagged


def sources(compiled: Compiled, number: int = 0, user_id: int | None = None) -> tuple[str, ...]:
    """What is written for a source set."""
    return compiled._members.text(number, user_id).texts


def tailnet(src: str, *subjects: Subject, **more: Any) -> Compiled:
    """One rule with these sources, of which the text has been asked for."""
    compiled = engine({"acls": [acl(src, "*:*")], **more}, *subjects)
    sources(compiled)
    return compiled


@pytest.mark.parametrize(
    ("src", "texts"),
    [
        ("ann@", ("100.64.0.1-100.64.0.2",)),
        ("autogroup:member", ("100.64.0.1-100.64.0.2", "100.64.0.4")),
        ("tag:web", ("100.64.0.8", "fd7a:115c:a1e0::8")),
        ("tag:db", ()),
        ("tag:web 100.64.0.0/29 10.0.0.1", ("10.0.0.1", "100.64.0.0-100.64.0.8", "fd7a:115c:a1e0::8")),
        ("autogroup:danger-all", ("*",)),
        ("autogroup:danger-all tag:web", ("*",)),
        ("0.0.0.0/0 ::/0", ("*",)),
        (
            "*",
            (
                "10.0.0.0/8",
                "100.64.0.0-100.115.91.255",
                "100.115.94.0-100.127.255.255",
                "fd7a:115c:a1e0::/48",
            ),
        ),
    ],
)
def test_sources_are_spelled(src: str, texts: tuple[str, ...]) -> None:
    """As few addresses, networks and ranges as there can be; `*` is the tailnet and what is routed."""
    nodes = (device(1), device(2), device(4, BOB, "10.0.0.0/8", "0.0.0.0/0"), tagged(8, "tag:web", six=True))
    assert sources(tailnet(src, *nodes)) == texts


@pytest.mark.parametrize("number", [1, 3, 5, 9])
def test_a_node_that_joins_is_put_in(number: int) -> None:
    """Beside others its address is merged with theirs, whichever side it is on."""
    nodes = [device(2), device(4), device(6)]
    joined = tailnet("ann@", *nodes).updated([device(number)])
    assert sources(joined) == sources(tailnet("ann@", *nodes, device(number)))


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_a_node_that_leaves_is_taken_out(number: int) -> None:
    """From the end of a range, its middle, or alone."""
    nodes = [device(i) for i in (1, 2, 3, 5)]
    left = tailnet("ann@", *nodes).updated(gone=[number])
    assert sources(left) == sources(tailnet("ann@", *(node for node in nodes if node.id != number)))


def test_the_last_node_leaves() -> None:
    """Then the sources are nobody."""
    assert sources(tailnet("ann@", device(1)).updated(gone=[1])) == ()


def test_a_node_with_another_address() -> None:
    """The old address goes and the new one comes, in each set that the node is in."""
    moved = Subject(1, ANN.id, ipv4=IPv4Address("100.64.0.9"))
    after = tailnet("ann@ autogroup:member", device(1), device(2)).updated([moved])
    assert sources(after) == ("100.64.0.2", "100.64.0.9")


def test_a_node_with_another_tag() -> None:
    """It leaves the sets of its old tag and joins those of the new."""
    compiled = engine(
        {"acls": [acl("tag:web", "*:1"), acl("tag:db", "*:1")]}, tagged(1, "tag:web"), tagged(2, "tag:db")
    )
    before = [sources(compiled, number) for number in (0, 1)]
    after = compiled.updated([tagged(1, "tag:db")])
    assert before == [("100.64.0.1",), ("100.64.0.2",)]
    assert [sources(after, number) for number in (0, 1)] == [(), ("100.64.0.1-100.64.0.2",)]


def test_an_address_that_a_rule_spells_out_stays() -> None:
    """Whoever leaves, the addresses that are written in the rule are sources all the same."""
    after = tailnet("ann@ 100.64.0.0/30", device(1), device(9)).updated(gone=[1, 9])
    assert sources(after) == ("100.64.0.0/30",)


def test_a_node_that_is_given_away() -> None:
    """A node may change its owner and keep its address."""
    after = tailnet("ann@", device(1), device(2)).updated([device(2, BOB)])
    assert sources(after) == ("100.64.0.1",)


@pytest.mark.parametrize("count", [BEHIND_MAX, BEHIND_MAX + 1])
def test_few_changes_are_put_in_and_many_made_anew(count: int) -> None:
    """At the limit of addresses that are put into a text, and past it, the text is the same as from scratch."""
    before = tailnet("ann@", *(device(i) for i in (200, 202)))
    joining = [device(i) for i in range(1, 1 + 2 * count, 2)]
    after = before.updated(joining)
    assert ((0, None) in after._members._behind) is (count <= BEHIND_MAX)
    assert sources(after) == sources(tailnet("ann@", *joining, device(200), device(202)))


def test_changes_that_nobody_asks_about_add_up() -> None:
    """One by one they are kept until there are too many; what is asked for then is right."""
    after = tailnet("ann@", device(200))
    for number in range(1, 2 * BEHIND_MAX + 3, 2):
        after = after.updated([device(number)])
    assert (0, None) not in after._members._behind
    assert len(sources(after)) == BEHIND_MAX + 2


def test_an_older_value_answers_as_ever() -> None:
    """What comes later changes nothing of what was there, asked for before or after."""
    before = engine({"acls": [acl("ann@", "*:*")]}, device(1))
    joined = before.updated([device(9)])
    left = joined.updated(gone=[1])
    assert [sources(each) for each in (left, joined, before)] == [
        ("100.64.0.9",),
        ("100.64.0.1", "100.64.0.9"),
        ("100.64.0.1",),
    ]


def test_what_does_not_change_is_the_same_object() -> None:
    """A text stays identical while others of the tailnet change, and when a node comes and goes again."""
    before = tailnet("ann@", device(1))
    text = before._members.text(0)
    joined = before.updated([device(2, BOB), tagged(3, "tag:web")])
    assert joined._members.text(0) is text
    there_and_back = joined.updated([device(4)]).updated(gone=[4])
    assert there_and_back._members.text(0) is text


def test_equal_sets_are_one_object() -> None:
    """Two source sets with the same nodes in them are spelled once."""
    compiled = engine({"acls": [acl("ann@", "*:1"), acl("autogroup:member", "*:2")]}, device(1))
    assert compiled._members.text(0) is compiled._members.text(1)


def test_a_new_route_is_a_new_source_of_star() -> None:
    """`*` has what is routed, while somebody routes it."""
    before = tailnet("*", device(1))
    routed = before.updated([device(2, ANN, "10.0.0.0/8"), device(3, ANN, "10.0.0.0/8")])
    assert "10.0.0.0/8" in sources(routed)
    assert "10.0.0.0/8" in sources(routed.updated(gone=[2]))
    assert sources(routed.updated(gone=[2, 3])) == sources(before)


def test_nothing_changes_when_nothing_changed() -> None:
    """Nodes as they are, and strangers that leave, make no new value."""
    before = tailnet("ann@", device(1))
    assert before.updated([device(1)]) is before
    assert before.updated(gone=[99]) is before
    assert before.updated() is before


OWN = {"groups": {"group:a": ["ann@"]}}


@pytest.mark.parametrize(
    ("src", "texts"),
    [
        ("ann@", ("100.64.0.1-100.64.0.2",)),
        ("group:a", ("100.64.0.1-100.64.0.2",)),
        ("*", ("100.64.0.1-100.64.0.2",)),
        ("bob@", ()),
    ],
)
def test_which_own_devices_are_sources(src: str, texts: tuple[str, ...]) -> None:
    """All of a person's when the rule's sources mean the person, else none."""
    compiled = engine(
        {**OWN, "acls": [acl(src, "autogroup:self:*")]},
        device(1),
        device(2),
        device(3, BOB),
        tagged(4, "tag:web"),
    )
    assert sources(compiled, 0, ANN.id) == texts


def test_own_devices_come_and_go() -> None:
    """A person's text changes with that person's devices, not with another's."""
    before = engine({"acls": [acl("*", "autogroup:self:*")]}, device(1), device(2, BOB))
    text = [before._members.text(0, person.id) for person in (ANN, BOB)]
    after = before.updated([device(3)])
    assert after._members.text(0, BOB.id) is text[1]
    assert sources(after, 0, ANN.id) == ("100.64.0.1", "100.64.0.3")
