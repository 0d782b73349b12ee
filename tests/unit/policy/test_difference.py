"""Who gains and who loses what, when one policy takes the place of another."""

from typing import Any

import pytest

from headscale.errors import Malformed
from headscale.policy import difference
from headscale.policy.difference import differences
from headscale.policy.subjects import Person, Subject
from tests.unit.policy.small import ANN, BOB, acl, device, engine, grant, tagged

NODES = (device(1, ANN), device(2, ANN), device(3, BOB), tagged(4, "tag:web"))


def told(old: dict[str, Any], new: dict[str, Any], *nodes: Subject, **more: Any) -> list[str]:
    """The differences for the eye: `sources > target: +gained -lost`."""
    before, after = (
        engine({"acls": [], "tagOwners": {"tag:web": []}, **policy}, *(nodes or NODES), people=(ANN, BOB))
        for policy in (old, new)
    )
    return [
        f"{', '.join(each.sources)} > {each.target}:"
        + "".join(f" +{text}" for text in each.gained)
        + "".join(f" -{text}" for text in each.lost)
        for each in differences(before, after, **more)
    ]


def rules(*acls: dict[str, Any]) -> dict[str, Any]:
    return {"acls": list(acls)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {}),
        (rules(acl("ann@", "tag:web:22")), rules(acl("ann@example.com", "tag:web:22"))),
        (rules(acl("ann@", "tag:web:22,80")), rules(acl("ann@", "tag:web:80"), acl("ann@", "tag:web:22"))),
        (rules(acl("ann@", "tag:web:1-9")), rules(acl("ann@", "tag:web:1-5,6-9"))),
        (rules(acl("ann@ bob@", "tag:web:22")), rules(acl("autogroup:member", "tag:web:22"))),
        (rules(acl("ann@", "tag:web:22")), {"grants": [grant("ann@", "tag:web", "22")]}),
    ],
)
def test_policies_that_mean_the_same(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Have no difference, in whatever words."""
    assert told(old, new) == []


def test_what_is_gained_and_lost() -> None:
    """By protocol and port; sources with the same change together."""
    old = rules(acl("ann@", "tag:web:22,80", proto="tcp"), acl("bob@", "tag:web:22", proto="tcp"))
    new = rules(acl("ann@ bob@", "tag:web:80-90", proto="tcp"))
    assert told(old, new) == [
        "ann@example.com > tag:web: +tcp:81-90 -tcp:22",
        "bob@example.com > tag:web: +tcp:80-90 -tcp:22",
    ]
    assert told(old, rules()) == [
        "ann@example.com > tag:web: -tcp:22,80",
        "bob@example.com > tag:web: -tcp:22",
    ]


def test_one_and_the_other_way_round() -> None:
    """What one loses by a change is gained when it is taken back."""
    old, new = rules(acl("ann@", "bob@:*", proto="udp")), rules()
    assert told(old, new) == ["ann@example.com > bob@example.com: -udp:*"]
    assert told(new, old) == ["ann@example.com > bob@example.com: +udp:*"]


@pytest.mark.parametrize(("old", "new", "sign"), [("100.64.0.2", "", "-"), ("", "100.64.0.2", "+")])
def test_a_node_that_only_one_policy_tells_apart(old: str, new: str, sign: str) -> None:
    """It is named itself, not its owner, whichever of the two policies spells its address."""
    policies = [rules(*([acl("bob@", f"{dst}:22", proto="tcp")] if dst else [])) for dst in (old, new)]
    assert told(policies[0], policies[1]) == [f"bob@example.com > node 2: {sign}tcp:22"]
    assert told(policies[0], policies[1], names={2: "phone"}) == [f"bob@example.com > phone: {sign}tcp:22"]


def test_own_devices() -> None:
    """What one may do with one's own is said of autogroup:self."""
    found = told(
        rules(), rules(acl("autogroup:member", "autogroup:self:22", proto="tcp")), *NODES[:2], NODES[3]
    )
    assert any("autogroup:self" in line or "ann@example.com > ann@example.com" in line for line in found)
    assert all("+tcp:22" in line for line in found)
    assert not any("tag:web" in line for line in found)


def test_addresses_behind_routers() -> None:
    """What a policy spells out is a target by the name that it has there."""
    router = tagged(9, "tag:router", routes=["10.0.0.0/8"])
    assert told(rules(), rules(acl("ann@", "10.1.0.0/16:22", proto="tcp")), *NODES, router) == [
        "ann@example.com > 10.1.0.0/16: +tcp:22"
    ]


def test_the_internet() -> None:
    """Exit nodes lead there, and who may use them is a difference."""
    exit_node = tagged(9, "tag:router", routes=["0.0.0.0/0"])
    new = rules(acl("ann@", "autogroup:internet:443", proto="tcp"))
    assert told(rules(), new, *NODES, exit_node) == ["ann@example.com > autogroup:internet: +tcp:443"]


def test_capabilities_are_access() -> None:
    """They are told by name."""
    new = {"grants": [grant("ann@", "tag:web", app={"x.org/a": [], "x.org/b": []})]}
    assert told({}, new) == ["ann@example.com > tag:web: +x.org/a +x.org/b"]


def test_ssh_is_access() -> None:
    """As whom one may log in, and whether after a check."""
    rule = {"src": ["ann@"], "dst": ["tag:web"], "users": ["root", "autogroup:nonroot"]}
    old, new = ({"ssh": [{**rule, "action": action}]} for action in ("accept", "check"))
    assert told(old, new) == [
        "ann@example.com > tag:web: +ssh as autogroup:nonroot after a check +ssh as root after a check"
        " -ssh as autogroup:nonroot -ssh as root"
    ]


def test_those_without_a_node() -> None:
    """Users and tags that no node has count as those that they may get."""
    new = rules(acl("bob@", "tag:web:22", proto="tcp"))
    assert told(rules(), new, device(1, ANN)) == ["bob@example.com > tag:web (no node yet): +tcp:22"]


def test_a_user_without_an_e_mail_address() -> None:
    """Is called as a policy calls them."""
    assert difference.kind_name(engine({}, people=[Person(7, "zoe")]), 7) == "zoe@"
    assert difference.kind_name(engine({}), 99) == "user 99"
    assert difference.kind_name(engine({}), ("tag:a", "tag:b")) == "tag:a+tag:b"


@pytest.mark.parametrize(("limit", "refused"), [(10, False), (9, True)])
def test_so_many_can_be_compared(monkeypatch: pytest.MonkeyPatch, limit: int, refused: bool) -> None:
    """At the limit there is an answer, past it a refusal that says so; the tag that nobody has is one of the ten."""
    monkeypatch.setattr(difference, "ENDS_MAX", limit)
    policy = rules(*(acl(f"100.64.0.{number}", "*:*") for number in range(1, 10)))
    nodes = [device(number) for number in range(1, 10)]
    if not refused:
        assert told(policy, policy, *nodes) == []
        return
    with pytest.raises(Malformed, match=r"kinds of nodes and addresses are too many to compare, 9 can be"):
        told(policy, policy, *nodes)
