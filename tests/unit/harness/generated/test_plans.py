"""Drawn tailnets: what there is to ask, and who takes a packet in."""

import pytest
from hypothesis import given, settings

from harness.generated.plans import LANS, NodePlan, Plan, plans, questions, way_to

ADDRESSES = {"n1": ["100.64.0.1", "fd7a:115c:a1e0::1"], "n2": ["100.64.0.2", "fd7a:115c:a1e0::2"]}


def plan(**router: object) -> Plan:
    made = NodePlan(**{"name": "n1", "release": 0, "owner": "alice", **router})  # type: ignore[arg-type]
    return Plan((made, NodePlan("n2", 0, "bob")), {}, opened_first=True)


def test_everybody_is_asked_for_everything() -> None:
    """ICMP and two transports at three ports, at both addresses, both ways."""
    asked = questions(plan(), ADDRESSES)
    assert len(asked) == len(set(asked)) == 2 * 2 * (1 + 2 * 3)
    assert {(name, target.name) for name, target in asked} == {("n1", "n2"), ("n2", "n1")}


def test_a_lan_is_asked_for_by_those_who_do_not_stand_in_it() -> None:
    """Its router reaches it without any tunnel."""
    asked = questions(plan(lan="lab", advertised=("10.33.5.0/24",)), ADDRESSES)
    assert {name for name, target in asked if target.name == "lab-host"} == {"n2"}


@pytest.mark.parametrize(
    ("router", "way"),
    [
        ({"advertised": ("10.33.0.0/16",), "approved": True}, "n1"),
        ({"advertised": ("10.33.0.0/16",), "approved": False}, None),
        ({"advertised": ("192.168.1.0/24",), "approved": True}, None),
        ({"advertised": ("0.0.0.0/0", "::/0"), "approved": True}, None),
    ],
)
def test_a_router_takes_in_what_it_serves(router: dict[str, object], way: str | None) -> None:
    """Approved, of that address, and not as an exit node, which only those use who chose it."""
    found = way_to(plan(**router), "10.33.5.207", ADDRESSES)
    assert (found.name if found else None) == way


def test_a_node_takes_in_its_own() -> None:
    """Whoever serves the prefix around it."""
    found = way_to(plan(advertised=("100.64.0.0/10",), approved=True), "100.64.0.2", ADDRESSES)
    assert found is not None
    assert found.name == "n2"


@settings(max_examples=50)
@given(drawn=plans(releases=3))
def test_a_lan_has_one_router(drawn: Plan) -> None:
    """Nodes have names of their own, and approvals are of something."""
    assert [node.name for node in drawn.nodes] == [f"n{n}" for n in range(1, len(drawn.nodes) + 1)]
    lans = [node.lan for node in drawn.nodes if node.lan]
    assert len(lans) == len(set(lans)) <= len(LANS)
    assert all(node.advertised for node in drawn.nodes if node.approved or node.lan)
