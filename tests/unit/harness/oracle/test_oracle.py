"""What the oracle says of small tailnets, where the recordings are silent or hard to read."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from harness.oracle import (
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    TSMP,
    UDP,
    OracleNode,
    OracleUser,
    Packet,
    admits,
    as_written,
    reach,
    sees,
)

GRE = 47
USERS = [
    OracleUser(1, "alice", "alice@example.com"),
    OracleUser(2, "bob", "bob@example.org", "https://id/bob@x"),
]
GROUPS = {"group:eng": ["alice@"]}
TAGS: dict[str, list[str]] = {"tag:web": [], "tag:router": [], "tag:exit": []}


def node(number: int, user_id: int | None = None, *tags: str, approved: tuple[str, ...] = ()) -> OracleNode:
    return OracleNode(
        number,
        f"n{number}",
        user_id,
        tags,
        IPv4Address(f"100.64.0.{number}"),
        IPv6Address(f"fd7a:115c:a1e0::{number}"),
        tuple(ip_network(route) for route in approved),
    )


ALICE, ALICE2, BOB = node(1, 1), node(2, 1), node(3, 2)
WEB = node(4, None, "tag:web")
ROUTER = node(5, None, "tag:router", approved=("10.0.0.0/16",))
EXIT = node(6, None, "tag:exit", approved=("0.0.0.0/0", "::/0"))
NODES = [ALICE, ALICE2, BOB, WEB, ROUTER, EXIT]


def grants(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"grants": list(rules), "groups": GROUPS, "tagOwners": TAGS, **more}


def acls(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    accepted = [{"action": "accept", **rule} for rule in rules]
    return {"acls": accepted, "groups": GROUPS, "tagOwners": TAGS, **more}


def grant(src: str, dst: str, *ip: str, **more: Any) -> dict[str, Any]:
    return {"src": [src], "dst": [dst], "ip": list(ip or ("*",)), **more}


def lets(
    policy: dict[str, Any], src: OracleNode | str, dst: OracleNode | str, receiver: OracleNode, **kind: int
) -> bool:
    """Whether a packet, by default of TCP to port 80 over IPv4, is admitted."""
    source, destination = (
        each.ipv4 if isinstance(each, OracleNode) else ip_address(each) for each in (src, dst)
    )
    assert source is not None
    assert destination is not None
    packet = Packet(source, destination, kind.get("proto", TCP), kind.get("port", 80))
    return admits(policy, USERS, NODES, receiver, packet)


def test_neither_section_opens_everything() -> None:
    """A policy without rules' sections restricts nobody of the tailnet; strangers stay outside."""
    assert lets({}, ALICE, WEB, WEB)
    assert not lets({}, "192.0.2.1", WEB, WEB)


@pytest.mark.parametrize("section", ["acls", "grants"])
def test_an_empty_section_closes_everything(section: str) -> None:
    """An empty list of rules admits nobody."""
    assert not lets({section: []}, ALICE, WEB, WEB)


def test_a_packet_for_somebody_else_is_not_admitted() -> None:
    """Whatever the rules say, a client takes what is its own or lies behind it."""
    assert not lets({}, ALICE, BOB, WEB)
    assert not lets({}, ALICE, "10.1.0.1", ROUTER)
    assert lets({}, ALICE, "10.0.0.1", ROUTER)


def test_a_user_is_not_its_tagged_nodes() -> None:
    """A user's name means the untagged nodes."""
    tagged = node(7, 1, "tag:web")
    packet = Packet(ip_address("100.64.0.7"), ip_address("100.64.0.4"), TCP, 80)
    assert not admits(grants(grant("alice@", "tag:web")), USERS, [*NODES, tagged], WEB, packet)
    assert lets(grants(grant("alice@", "tag:web")), ALICE, WEB, WEB)


def test_the_providers_identity_names_a_user() -> None:
    """A user may be named by identity, e-mail address or login name."""
    for name in ("https://id/bob@x", "bob@example.org", "bob@"):
        assert lets(grants(grant(name, "tag:web")), BOB, WEB, WEB)
        assert not lets(grants(grant(name, "tag:web")), ALICE, WEB, WEB)


def test_a_host_is_one_address() -> None:
    """A host's IPv4 address says nothing about the same node's IPv6 address."""
    policy = grants(grant("*", "web"), hosts={"web": "100.64.0.4"})
    assert lets(policy, ALICE, WEB, WEB)
    assert not lets(policy, "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::4", WEB)


def test_self_is_the_same_users_untagged_nodes() -> None:
    """One's own devices, nobody else's."""
    policy = acls({"src": ["*"], "dst": ["autogroup:self:*"]})
    assert lets(policy, ALICE, ALICE2, ALICE2)
    assert not lets(policy, BOB, ALICE2, ALICE2)
    assert not lets(policy, ROUTER, WEB, WEB)


def test_the_internet_is_behind_exit_nodes_alone() -> None:
    """`autogroup:internet` opens the exit node's way out, and neither the node nor a subnet."""
    policy = grants(grant("alice@", "autogroup:internet"))
    assert lets(policy, ALICE, "8.8.8.8", EXIT)
    assert not lets(policy, ALICE, EXIT, EXIT)
    assert not lets(policy, ALICE, "10.0.0.1", ROUTER)
    assert not lets(policy, BOB, "8.8.8.8", EXIT)


def test_self_is_not_what_lies_behind_it() -> None:
    """A subnet behind one's own router is no device of one's own."""
    routing = node(8, 1, approved=("10.8.0.0/16",))
    packet = Packet(ip_address("100.64.0.1"), ip_address("10.8.0.1"), TCP, 80)
    policy = acls({"src": ["*"], "dst": ["autogroup:self:*"]})
    assert not admits(policy, USERS, [*NODES, routing], routing, packet)
    assert sees(policy, USERS, [*NODES, routing], ALICE, routing)


def test_a_capability_may_be_told_both_ways() -> None:
    """What sharers and relays tell goes back to the sources, for which a subnet's router counts too."""
    rule = {"src": ["alice@"], "dst": ["10.0.0.0/24"]}
    policy = grants({**rule, "app": {"tailscale.com/cap/drive": [{}]}})
    assert sees(policy, USERS, NODES, ALICE, ROUTER)
    assert not sees(grants({**rule, "app": {"example.com/cap/x": [{}]}}), USERS, NODES, ALICE, ROUTER)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *(("0.0.0.1", True), ("9.255.255.255", True), ("10.0.0.0", False), ("10.255.255.255", False)),
        *(("11.0.0.0", True), ("100.63.255.255", True), ("100.64.0.0", False), ("100.127.255.255", False)),
        *(("100.128.0.0", True), ("169.253.255.255", True), ("169.254.0.0", False), ("169.255.0.0", True)),
        *(("172.15.255.255", True), ("172.16.0.0", False), ("172.31.255.255", False), ("172.32.0.0", True)),
        *(("192.167.255.255", True), ("192.168.0.0", False), ("192.169.0.0", True)),
        *(("1fff::", False), ("2000::", True), ("3fff:ffff::", True), ("4000::", False), ("fd00::1", False)),
    ],
)
def test_what_the_internet_is(address: str, public: bool) -> None:
    """The ends of the ranges in recording routes-b17-autogroup-internet-with-exit-autoapprover."""
    source = "100.64.0.1" if "." in address else "fd7a:115c:a1e0::1"
    assert lets(grants(grant("alice@", "autogroup:internet")), source, address, EXIT) == public


def test_a_public_destination_may_be_reached_through_an_exit_node() -> None:
    """A prefix on the internet is behind an approved exit node too."""
    policy = grants(grant("alice@", "8.8.8.0/24"))
    assert lets(policy, ALICE, "8.8.8.8", EXIT)
    assert not lets(policy, ALICE, "8.8.4.4", EXIT)


def test_via_opens_the_named_routers_only() -> None:
    """The same subnet behind another router stays closed."""
    other = node(7, None, "tag:web", approved=("10.0.0.0/16",))
    policy = grants(grant("alice@", "10.0.0.0/24", via=["tag:router"]))
    packet = Packet(ip_address("100.64.0.1"), ip_address("10.0.0.9"), TCP, 80)
    assert admits(policy, USERS, [*NODES, other], ROUTER, packet)
    assert not admits(policy, USERS, [*NODES, other], other, packet)


def test_star_as_source_has_approved_subnets_and_no_internet() -> None:
    """What is behind a subnet router may be a source; what is behind an exit node is not."""
    policy = grants(grant("*", "tag:web"))
    assert lets(policy, "10.0.0.9", WEB, WEB)
    assert not lets(policy, "10.1.0.9", WEB, WEB)
    assert not lets(policy, "8.8.8.8", WEB, WEB)
    assert lets(grants(grant("autogroup:danger-all", "tag:web")), "8.8.8.8", WEB, WEB)


def test_who_may_reach_a_port_may_ping() -> None:
    """Clients let ICMP in by any rule between the two, whatever its ports and protocols."""
    policy = grants(grant("alice@", "tag:web", "tcp:22"))
    assert lets(policy, ALICE, WEB, WEB, proto=ICMP, port=0)
    assert not lets(policy, BOB, WEB, WEB, proto=ICMP, port=0)
    assert lets(policy, "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::4", WEB, proto=ICMPV6, port=0)


def test_the_other_familys_ping_is_a_protocol_like_others() -> None:
    """ICMPv6 in IPv4 has no privilege."""
    assert not lets(grants(grant("alice@", "tag:web", "tcp:22")), ALICE, WEB, WEB, proto=ICMPV6, port=0)


def test_other_protocols_need_their_name_and_all_ports() -> None:
    """GRE passes where it is named; neither the default protocols nor limited ports let it."""
    assert lets(
        acls({"src": ["*"], "dst": ["tag:web:*"], "proto": "gre"}), ALICE, WEB, WEB, proto=GRE, port=0
    )
    assert not lets(grants(grant("*", "tag:web")), ALICE, WEB, WEB, proto=GRE, port=0)
    assert not lets(grants(grant("*", "tag:web", "47")), ALICE, WEB, WEB, proto=GRE, port=0)


def test_the_default_protocols_do_not_include_sctp() -> None:
    """SCTP has ports and must be named."""
    assert not lets(grants(grant("*", "tag:web")), ALICE, WEB, WEB, proto=SCTP)
    assert lets(grants(grant("*", "tag:web", "sctp:80")), ALICE, WEB, WEB, proto=SCTP)


def test_the_clients_own_messages_need_no_rule() -> None:
    """TSMP always passes."""
    assert lets({"grants": []}, ALICE, WEB, WEB, proto=TSMP, port=0)


def test_rules_at_their_word() -> None:
    """The other way of matching knows no privilege of ICMP."""
    ping = Packet(ip_address("100.64.0.1"), ip_address("100.64.0.4"), ICMP)
    policy = grants(grant("alice@", "tag:web", "tcp:22"))
    assert not admits(policy, USERS, NODES, WEB, ping, matches=as_written)
    assert admits(grants(grant("alice@", "tag:web")), USERS, NODES, WEB, ping, matches=as_written)


@pytest.mark.parametrize(
    ("port", "admitted"), [(79, False), (80, True), (90, True), (91, False), (443, True)]
)
def test_ports_at_their_ends(port: int, admitted: bool) -> None:
    """A range includes both ends; a list has several."""
    assert lets(acls({"src": ["*"], "dst": ["tag:web:80-90,443"]}), ALICE, WEB, WEB, port=port) == admitted


def test_bracketed_destinations() -> None:
    """An IPv6 address may stand in brackets before its ports."""
    for text in ("[fd7a:115c:a1e0::4]:80", "[fd7a:115c:a1e0::]/64:80", "fd7a:115c:a1e0::4:80"):
        policy = acls({"src": ["*"], "dst": [text]})
        assert lets(policy, "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::4", WEB)


def test_visibility_goes_both_ways() -> None:
    """Who may be reached sees who reaches it; a third one sees neither."""
    policy = grants(grant("alice@", "tag:web"))
    assert sees(policy, USERS, NODES, ALICE, WEB)
    assert sees(policy, USERS, NODES, WEB, ALICE)
    assert not sees(policy, USERS, NODES, ALICE, BOB)


def test_a_router_counts_with_its_subnets() -> None:
    """A rule for the subnet, or from it, makes the router a peer."""
    assert sees(grants(grant("alice@", "10.0.0.0/24")), USERS, NODES, ALICE, ROUTER)
    assert sees(grants(grant("10.0.0.0/24", "tag:web")), USERS, NODES, WEB, ROUTER)
    assert not sees(grants(grant("10.1.0.0/24", "tag:web")), USERS, NODES, WEB, ROUTER)


def test_peers_share_a_family() -> None:
    """From an IPv6 address to an IPv4 address nothing passes."""
    assert sees(grants(grant("fd7a:115c:a1e0::1", "fd7a:115c:a1e0::4")), USERS, NODES, ALICE, WEB)
    assert not sees(grants(grant("fd7a:115c:a1e0::1", "100.64.0.4")), USERS, NODES, ALICE, WEB)
    old = OracleNode(8, "n8", 1, (), IPv4Address("100.64.0.8"), None)
    new = OracleNode(9, "n9", 1, (), None, IPv6Address("fd7a:115c:a1e0::9"))
    assert not sees(grants(grant("alice@", "*")), USERS, [old, new], old, new)
    assert not sees(acls({"src": ["*"], "dst": ["autogroup:self:*"]}), USERS, [old, new], old, new)


def test_a_capability_alone_makes_peers() -> None:
    """No packet passes, and yet they see each other."""
    policy = grants({"src": ["alice@"], "dst": ["tag:web"], "app": {"example.com/cap/x": [{}]}})
    assert sees(policy, USERS, NODES, ALICE, WEB)
    assert not lets(policy, ALICE, WEB, WEB)


def test_the_matrix_is_complete() -> None:
    """Every ordered pair of nodes, every protocol, every port; pings once."""
    policy = grants(grant("alice@", "tag:web", "tcp:22"))
    matrix = reach(policy, USERS, [ALICE, BOB, WEB], ports=(22, 80), protos=(TCP, UDP, ICMP))
    assert len(matrix) == 6 * 5
    assert {way for way, reached in matrix.items() if reached} == {
        ("n1", "n4", TCP, 22),
        ("n1", "n4", ICMP, 0),
    }


def test_the_matrix_leaves_out_who_has_no_address() -> None:
    """A node without IPv6 is nowhere in the matrix of IPv6."""
    lonely = OracleNode(9, "n9", 1, (), IPv4Address("100.64.0.9"), None)
    matrix = reach({}, USERS, [ALICE, lonely, WEB], ports=(22,), version=6)
    assert matrix == {("n1", "n4", TCP, 22): True, ("n4", "n1", TCP, 22): True}


@pytest.mark.parametrize(
    "policy",
    [
        {"acls": None},
        {"rules": []},
        grants({"src": ["*"], "dst": ["*"]}),
        grants({"src": ["*"], "dst": ["*"], "ip": ["*"], "srcPosture": []}),
        grants(grant("*", "*", "icmp")),
        grants(grant("*", "*", "icmp:8")),
        grants(grant("*", "*", "tcp:0")),
        grants(grant("*", "*", "80-79")),
        grants(grant("*", "*", "65536")),
        grants(grant("tag:nobodys", "*")),
        grants(grant("*", "group:none")),
        grants(grant("nobody", "*")),
        grants(grant("autogroup:admin", "*")),
        grants(grant("autogroup:internet", "*")),
        grants(grant("*", "autogroup:danger-all")),
        grants(grant("*", "autogroup:self")),
        grants(grant("tag:web", "autogroup:self")),
        grants(grant("*", "tag:web", via=["tag:router"])),
        grants(grant("*", "10.0.0.0/8", via=["tag:nobodys"])),
        grants(grant("*", "lab"), hosts={"lab": "no address"}),
        grants(grant("*", "group:eng"), groups={"group:eng": ["group:eng"]}),
        acls({"src": ["*"], "dst": ["*"]}),
        acls({"src": ["*"], "dst": ["*:80"], "proto": "icmp"}),
        acls({"src": ["*"], "dst": ["*:*"], "proto": "06"}),
        acls({"src": ["*"], "dst": ["*:*"], "proto": "256"}),
        acls({"src": ["*"], "dst": ["*:*"], "action": "deny"}),
        acls({"src": "*", "dst": ["*:*"]}),
    ],
)
def test_what_is_not_understood_is_refused(policy: dict[str, Any]) -> None:
    """Wherever it stands: the oracle never guesses, for packets or peers."""
    opened = policy.get("grants")
    if opened:
        opened.insert(0, grant("*", "*"))
    with pytest.raises(ValueError):
        lets(policy, ALICE, WEB, WEB)
    with pytest.raises(ValueError):
        sees(policy, USERS, NODES, ALICE, WEB)


def test_a_name_of_two_users_is_refused() -> None:
    """Nobody can say who is meant."""
    twins = [OracleUser(1, "alice", ""), OracleUser(2, "alice", "")]
    packet = Packet(ip_address("100.64.0.1"), ip_address("100.64.0.4"), TCP, 80)
    with pytest.raises(ValueError, match="several users"):
        admits(grants(grant("alice@", "*")), twins, NODES, WEB, packet)
