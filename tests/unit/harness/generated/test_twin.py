"""What real clients would do with a netmap."""

import pytest

from harness.clients.netmap import NetMap
from harness.generated.plans import NodePlan, Plan
from harness.generated.twin import Told, matches_of, networks_of
from harness.reach import Target

ADDRESSES = {"n1": ["100.64.0.1"], "n2": ["100.64.0.2"]}
ANY = {"First": 0, "Last": 65535}


def told(*, rule: dict[str, object], allowed: list[str], takes: bool = True, mutual: bool = True) -> Told:
    """n1 asks n2, whose netmap has this rule, and of whom n1 has these AllowedIPs."""
    asker, receiver = NetMap(version=142), NetMap(version=142)
    asker.peers[2] = {"Name": "n2.tail.example.", "Addresses": ["100.64.0.2/32"], "AllowedIPs": allowed}
    if mutual:
        receiver.peers[1] = {"Name": "n1", "Addresses": ["100.64.0.1/32"], "AllowedIPs": ["100.64.0.1/32"]}
    receiver.packet_filters["base"] = [rule] if rule else []
    nodes = (NodePlan("n1", 0, "alice", accepts_routes=takes), NodePlan("n2", 0, "bob"))
    return Told(Plan(nodes, {}, opened_first=True), {"n1": asker, "n2": receiver}, ADDRESSES)


OPEN = {"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": ANY}]}
TO_NODE = "n1", Target("n2", "tcp", "100.64.0.2", 22)
TO_LAN = "n1", Target("lab-host", "tcp", "10.33.5.207", 22)
OWN, LAN = "100.64.0.2/32", "10.33.5.0/24"


def test_a_packet_is_let_in_by_a_peer_whose_filter_says_so() -> None:
    """Addresses, protocol and port."""
    assert told(rule=OPEN, allowed=[OWN]).probe(TO_NODE).reached


@pytest.mark.parametrize(
    ("case", "question", "reason"),
    [
        ({"rule": {}, "allowed": [OWN]}, TO_NODE, "the packet filter of n2 keeps it out"),
        ({"rule": OPEN | {"IPProto": [17]}, "allowed": [OWN]}, TO_NODE, "packet filter"),
        ({"rule": OPEN, "allowed": [OWN], "mutual": False}, TO_NODE, "n2 does not know n1"),
        ({"rule": OPEN, "allowed": [OWN]}, TO_LAN, "no peer is the way there"),
        ({"rule": OPEN, "allowed": [OWN, LAN], "takes": False}, TO_LAN, "no peer is the way there"),
        ({"rule": OPEN, "allowed": [OWN, "0.0.0.0/0"]}, TO_LAN, "no peer is the way there"),
    ],
)
def test_what_keeps_a_packet_out_is_told(case: dict[str, object], question: object, reason: str) -> None:
    """The filter, a peer who does not know the sender, or that there is no way."""
    probe = told(**case).probe(question)  # type: ignore[arg-type]
    assert not probe.answered
    assert reason in str(probe.reason)


def test_a_route_leads_to_its_router() -> None:
    """For those who take routes."""
    assert told(rule=OPEN, allowed=[OWN, LAN]).probe(TO_LAN).reached


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("*", ["0.0.0.0/0", "::/0"]),
        ("100.64.0.1", ["100.64.0.1/32"]),
        ("100.64.0.4/30", ["100.64.0.4/30"]),
        ("100.64.0.2-100.64.0.5", ["100.64.0.2/31", "100.64.0.4/31"]),
        ("fd7a::1", ["fd7a::1/128"]),
    ],
)
def test_sources_are_addresses_prefixes_and_ranges(text: str, networks: list[str]) -> None:
    """As the wire has them."""
    assert networks_of(text) == networks


def test_a_rule_of_capabilities_lets_nothing_in() -> None:
    """It has no ports."""
    assert matches_of({"SrcIPs": ["*"], "CapGrant": [{}]}) == []
