"""Conditions hold, or say why not."""

from dataclasses import replace
from typing import Any

import pytest

from harness import conditions
from harness.status import Node, Status, parse_status


def peer(name: str, **fields: Any) -> dict[str, Any]:
    return {"DNSName": f"{name}.tail.test.", "TailscaleIPs": ["100.64.0.2", "fd7a::2"], **fields}


def status(*peers: dict[str, Any], state: str = "Running") -> Status:
    return parse_status({"BackendState": state, "Peer": {str(i): p for i, p in enumerate(peers)}})


def test_a_state_that_differs_is_named_with_the_health() -> None:
    """The health text is what tells a hanging start apart."""
    s = replace(status(state="Starting"), health=("no DERP",))
    assert conditions.running().why_not(s) == "state is Starting; health: no DERP"
    assert conditions.running().why_not(status()) is None


def test_sees_wants_every_name_with_addresses() -> None:
    """A peer without addresses is not seen yet."""
    bare = peer("c", TailscaleIPs=None)
    reason = conditions.sees(["b", "c"]).why_not(status(peer("b"), bare))
    assert reason == "misses ['c']; sees ['b', 'c']"
    assert conditions.sees(["b"]).why_not(status(peer("b"), bare)) is None


def test_sees_exactly_minds_one_too_many() -> None:
    """Isolation is about what is not there."""
    assert conditions.sees_exactly(["b"]).why_not(status(peer("b"), peer("c"))) == "sees ['b', 'c'] instead"
    assert conditions.sees_exactly([]).why_not(status()) is None


@pytest.mark.parametrize(
    ("condition", "fields"),
    [
        (conditions.sees_online, {"Online": True}),
        (conditions.sees_offline, {"Online": False}),
        (conditions.sees_expired, {"Expired": True}),
        (conditions.direct_to, {"CurAddr": "10.0.0.1:41641"}),
        (conditions.relayed_to, {"CurAddr": ""}),
    ],
)
def test_a_peers_condition_never_holds_for_a_missing_peer(condition: Any, fields: dict[str, Any]) -> None:
    """'Offline' or 'relayed' must not be true of a peer that is not there."""
    assert condition("b").why_not(status(peer("b", **fields))) is None
    assert "b is not among" in condition("b").why_not(status())


def test_opposites_exclude_each_other() -> None:
    """Direct is not relayed, online is not offline."""
    s = status(peer("b", Online=True, CurAddr="10.0.0.1:1"))
    assert conditions.relayed_to("b").why_not(s) == "b is reached directly at 10.0.0.1:1"
    assert conditions.sees_offline("b").why_not(s) == "b is online"


def test_addresses_of_both_families_are_wanted() -> None:
    """One family alone is not enough."""

    def own(*addresses: str) -> Status:
        return parse_status({"Self": {"TailscaleIPs": list(addresses)}})

    assert conditions.has_addresses().why_not(own("100.64.0.1", "fd7a::1")) is None
    assert conditions.has_addresses().why_not(own("100.64.0.1")) is not None


def test_addresses_of_one_family_may_be_all_that_is_wanted() -> None:
    """Then one of the other is one too many."""

    def own(*addresses: str) -> Status:
        return parse_status({"Self": {"TailscaleIPs": list(addresses)}})

    assert conditions.has_addresses([6]).why_not(own("fd7a::1")) is None
    assert conditions.has_addresses([6]).why_not(own("100.64.0.1", "fd7a::1")) is not None


def test_a_gone_peer_is_gone() -> None:
    """`no_peer` holds only without the peer."""
    assert conditions.no_peer("b").why_not(status(peer("c"))) is None
    assert conditions.no_peer("b").why_not(status(peer("b"))) == "sees ['b']"


def test_node_names_are_first_labels() -> None:
    """The names that conditions take are those that people see."""
    node: Node = status(peer("b")).peers[0]
    assert node.name == "b"


def test_another_login_url_is_one_that_differs() -> None:
    """The same one, or none, is none."""
    other = conditions.has_login_url_beside("https://a")
    assert other.why_not(replace(status(), auth_url="https://b")) is None
    assert other.why_not(replace(status(), auth_url="https://a")) == "shows the same login URL"
    assert other.why_not(status(state="NeedsLogin")) == "no login URL; state is NeedsLogin"
