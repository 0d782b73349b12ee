"""Reading LocalAPI's status."""

from ipaddress import ip_address
from typing import Any

from harness.status import Status, parse_status


def node(name: str, number: int) -> dict[str, Any]:
    return {
        "ID": f"n{number}",
        "DNSName": f"{name}.tail.test.",
        "HostName": name.upper(),
        "TailscaleIPs": [f"100.64.0.{number}", f"fd7a::{number}"],
        "Online": True,
        "CurAddr": "",
        "Relay": "test",
    }


def status(**fields: Any) -> Status:
    raw = {
        "BackendState": "Running",
        "Self": node("a", 1),
        "Peer": {"nodekey:2": node("c", 3), "nodekey:1": node("b", 2)},
        "User": {"7": {"LoginName": "ann"}},
    }
    return parse_status(raw | fields)


def test_peers_come_in_the_order_of_their_names() -> None:
    """Go writes a map in any order; we do not."""
    assert [p.name for p in status().peers] == ["b", "c"]


def test_a_peer_is_found_by_label_and_by_full_name() -> None:
    """With or without the trailing dot; the host name is not a name here."""
    s = status()
    found = {s.peer(n) for n in ("b", "b.tail.test", "b.tail.test.")}
    assert found == {s.peers[0]}
    assert s.peer("B") is None


def test_the_holder_of_an_address_may_be_the_client_itself() -> None:
    """Self counts among the nodes, and only whole addresses match."""
    s = status()
    assert s.holder(ip_address("fd7a::3")) == s.peer("c")
    assert s.holder(ip_address("100.64.0.1")) == s.self_node
    assert s.holder(ip_address("100.64.0.9")) is None


def test_a_client_before_login_has_neither_self_nor_peers() -> None:
    """Go leaves fields out or writes null; both are empty."""
    s = parse_status({"BackendState": "NeedsLogin", "Self": None, "Peer": None, "Health": None})
    assert (s.state, s.addresses, s.peers, s.health) == ("NeedsLogin", (), (), ())


def test_user_ids_become_numbers() -> None:
    """JSON keys are text."""
    assert status().user_logins == {7: "ann"}
