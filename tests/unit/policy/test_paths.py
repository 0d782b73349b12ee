"""May this reach that: ends of a path that are nodes or none yet, and the rules between them."""

from ipaddress import ip_address
from typing import Any, Final

import pytest

from headscale.policy.aliases import read_alias
from headscale.policy.checks import names_of
from headscale.policy.compiled import Compiled
from headscale.policy.paths import End, Packet, admitting, ends_of, own_devices, rows_between
from headscale.tailcfg.filters import PortRange
from tests.unit.policy.small import ANN, BOB, acl, device, engine, grant, tagged

NODES: Final = (
    device(1, ANN, six=True),
    device(2, ANN),
    device(3, BOB),
    tagged(4, "tag:router", routes=["10.0.0.0/8", "0.0.0.0/0"]),
)
WORDS: Final = {
    "groups": {"group:g": ["eve@", "ann@"], "group:eve": ["eve@"]},
    "hosts": {"box": "100.64.0.3", "far": "10.0.0.9"},
}


def tailnet(*acls: dict[str, Any], **more: Any) -> Compiled:
    return engine({**WORDS, "acls": list(acls), **more}, *NODES)


def ends(compiled: Compiled, text: str) -> list[End]:
    assert compiled.document is not None
    return ends_of(compiled, read_alias(text, names_of(compiled.document)))


@pytest.mark.parametrize(
    ("alias", "names"),
    [
        ("*", ["node 1", "node 2", "node 3", "node 4"]),
        ("ann@", ["node 1", "node 2"]),
        ("group:g", ["node 1", "node 2"]),
        ("autogroup:member", ["node 1", "node 2", "node 3"]),
        ("tag:router", ["node 4"]),
        ("box", ["box"]),
        ("far", ["far"]),
        ("group:eve", ["group:eve"]),
        ("eve@", ["eve@"]),
        ("user:*@example.net", ["user:*@example.net"]),
        ("ghost@", []),
        ("tag:web", ["tag:web"]),
        ("autogroup:admin", ["autogroup:admin"]),
        ("autogroup:internet", ["autogroup:internet"]),
        ("autogroup:danger-all", []),
    ],
)
def test_what_an_alias_stands_for(alias: str, names: list[str]) -> None:
    """Its nodes, or who could have some; a login of nobody stands for nobody."""
    assert [end.name for end in ends(tailnet(), alias)] == names


def test_an_address_is_the_node_that_has_it() -> None:
    """With its labels and owner, but reached at this address alone."""
    (box,) = ends(tailnet(), "box")
    assert (box.user_id, box.addresses) == (BOB.id, (ip_address("100.64.0.3"),))
    assert "member" in box.labels


@pytest.mark.parametrize(
    ("address", "routed", "public"),
    [
        ("10.0.0.9", True, False),
        ("11.0.0.9", False, True),
        ("192.168.0.1", False, False),
        ("2001:db8::1", False, True),
    ],
)
def test_an_address_that_no_node_has(address: str, routed: bool, public: bool) -> None:
    """It is behind a router, on the internet, or nowhere that is known."""
    (end,) = ends(tailnet(), address)
    assert (end.labels, end.user_id, end.is_routed, end.is_public) == ((), None, routed, public)


def test_nodes_are_called_as_one_likes() -> None:
    """By the names that the caller knows, else by their numbers."""
    compiled = tailnet()
    assert compiled.document is not None
    found = ends_of(compiled, read_alias("ann@", names_of(compiled.document)), {2: "phone"})
    assert [end.name for end in found] == ["node 1", "phone"]


def test_an_end_without_an_address_speaks_both_families() -> None:
    """It could be given either; one with addresses speaks theirs."""
    assert End("x").families == {4, 6}
    assert End("x", addresses=(ip_address("::1"),)).families == {6}


def rows(compiled: Compiled, source: str, target: str) -> list[int]:
    return rows_between(compiled.program, ends(compiled, source)[0], ends(compiled, target)[0])


@pytest.mark.parametrize(
    ("source", "target", "numbers"),
    [
        ("ann@", "bob@", [0, 2, 4]),
        ("bob@", "ann@", [4]),
        ("bob@", "box", [3, 4]),
        ("ann@", "box", [0, 2, 4]),
        ("eve@", "bob@", [4]),
        ("ann@", "ann@", [3, 4]),
        ("10.0.0.9", "bob@", [1, 4]),
        ("8.8.8.8", "bob@", []),
        ("ann@", "10.0.0.9", [4]),
        ("tag:web", "eve@", [4]),
    ],
)
def test_the_rules_between_two_ends(source: str, target: str, numbers: list[int]) -> None:
    """By labels and addresses; `*` as a source is the tailnet and what is routed."""
    compiled = tailnet(
        acl("ann@", "bob@:22"),
        acl("10.0.0.0/8", "bob@:22"),
        acl("ann@", "100.64.0.3:80"),
        acl("autogroup:member", "autogroup:self:*"),
        acl("*", "*:443"),
    )
    assert rows(compiled, source, target) == numbers


def test_families_have_to_fit() -> None:
    """A rule for an IPv4 address does not let an IPv6 one in."""
    compiled = tailnet(acl("100.64.0.0/10", "*:*"))
    assert rows(compiled, "fd7a:115c:a1e0::1", "ann@") == []
    assert rows(compiled, "100.64.0.1", "bob@") == [0]


def test_own_devices() -> None:
    """Of a person they are one end more; a tagged node has none."""
    compiled = tailnet(acl("autogroup:member", "autogroup:self:22"))
    (bob,) = ends(compiled, "bob@")
    own = own_devices(compiled, bob)
    assert own is not None
    assert rows_between(compiled.program, bob, own) == [0]
    assert own_devices(compiled, ends(compiled, "tag:router")[0]) is None


def test_through_a_router_with_a_tag() -> None:
    """What a `via` rule names is reached, if by that router."""
    compiled = engine({**WORDS, "grants": [grant("ann@", "10.0.0.0/8", via=["tag:router"])]}, *NODES)
    assert rows(compiled, "ann@", "far") == [0]
    assert rows(compiled, "bob@", "far") == []


def test_the_internet() -> None:
    """Public addresses and the word for them are reached by rules for the internet."""
    compiled = tailnet(acl("ann@", "autogroup:internet:443"))
    assert rows(compiled, "ann@", "autogroup:internet") == rows(compiled, "ann@", "8.8.8.8") == [0]
    assert rows(compiled, "ann@", "far") == []


@pytest.mark.parametrize(
    ("packet", "numbers"),
    [
        (Packet(6, 22), [0]),
        (Packet(17, 22), [0, 1]),
        (Packet(17, 53), [1]),
        (Packet(1, None), [0]),
        (Packet(47, None), [2]),
        (Packet(132, 22), []),
        (Packet(6, 23), []),
    ],
)
def test_the_rules_that_let_a_packet_through(packet: Packet, numbers: list[int]) -> None:
    """By protocol and port; without a protocol a rule is for TCP, UDP and ICMP, and never one for capabilities."""
    compiled = engine(
        {
            "grants": [
                grant("*", "*", "22"),
                grant("*", "*", "udp:1-100 gre:*"),
                grant("*", "*", app={"x.org/a": []}),
            ]
        },
        *NODES,
    )
    (bob,) = ends(compiled, "bob@")
    assert admitting(compiled.program, bob, bob, packet) == numbers
    assert compiled.program.rows[0].traffic is not None
    assert compiled.program.rows[0].traffic.ports == (PortRange(22, 22),)
