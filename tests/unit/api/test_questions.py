"""The words of a question: how they are parted, and what they name."""

from dataclasses import replace
from typing import Any

import pytest

from headscale.api.questions import Asked, Naming, read_question
from headscale.errors import HeadscaleError, Malformed, NotFound
from headscale.policy.paths import End, Packet
from headscale.records import PolicyText
from headscale.state.policy import adopt_policy, work_out
from headscale.state.snapshot import Snapshot
from tests.builders import NOW, moment, node, router, tailnet, with_nodes, with_user

POLICY = """{
  "groups": {"group:eng": ["alice@"], "group:none": []},
  "hosts": {"printer": "10.1.0.9", "lan": "10.2.0.0/16"},
  "tagOwners": {"tag:web": []},
  "acls": []
}"""


def office() -> Snapshot:
    """alice with host1 and host2, bob without a node, and web with a tag that the policy does not define."""
    plain = tailnet("alice", "bob")
    full = with_nodes(plain, node(1), node(2), node(3, user_id=None, tags=("tag:db",), given_name="web"))
    origin = PolicyText(id=1, text=POLICY, created_at=NOW)
    return adopt_policy(full, moment(), prepared=work_out(full, POLICY), origin=origin).snapshot


def naming(snapshot: Snapshot | None = None) -> Naming:
    known = snapshot or office()
    return Naming(known, known.policy)


@pytest.mark.parametrize(
    ("destination", "target", "port"),
    [
        ("web:443", "web", 443),
        ("web", "web", None),
        ("web:*", "web", None),
        ("tag:web:443", "tag:web", 443),
        ("tag:web", "tag:web", None),
        ("group:eng:1", "group:eng", 1),
        ("autogroup:internet", "autogroup:internet", None),
        ("autogroup:internet:65535", "autogroup:internet", 65535),
        ("user:*@example.com:22", "user:*@example.com", 22),
        ("alice@example.com:22", "alice@example.com", 22),
        ("100.64.0.1:22", "100.64.0.1", 22),
        ("10.0.0.0/8:22", "10.0.0.0/8", 22),
        ("[fd7a::1]", "fd7a::1", None),
        ("[fd7a::1]:22", "fd7a::1", 22),
        ("[fd7a::]/48:22", "fd7a::/48", 22),
        (" web:443 ", "web", 443),
    ],
)
def test_the_port_stands_behind_the_last_colon(destination: str, target: str, port: int | None) -> None:
    asked = read_question("alice@", destination, "tcp")
    assert asked == Asked("alice@", target, (Packet(6, port),))


def test_without_a_protocol_a_port_is_of_tcp_or_udp() -> None:
    """As in a policy's tests; and without a port the question is about anything."""
    assert read_question("a", "b:1").packets == (Packet(6, 1), Packet(17, 1))
    assert read_question("a", "b").packets == ()
    assert read_question("a", "b", "icmp").packets == (Packet(1, None),)
    assert read_question("a", "b", "132").packets == (Packet(132, None),)


def test_a_source_may_stand_in_brackets() -> None:
    assert read_question("[fd7a::1]", "b").source == read_question("fd7a::1", "b").source == "fd7a::1"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("", "b"), "say who and what"),
        (("a", " "), "say who and what"),
        (("a", "fd7a::1:22"), r"in brackets, \[fd7a::1:22\] or \[fd7a::1\]:22"),
        (("a", "[fd7a::1"), r"write an IPv6 address as \[fd7a::1\]:443"),
        (("a", "[fd7a::1]22"), r"write an IPv6 address as"),
        (("a", "b:0"), "port '0': a question is about one port from 1 to 65535"),
        (("a", "b:65536"), "port '65536'"),
        (("a", "b:"), "port ''"),
        (("a", "b:80-90"), "port '80-90'"),
        (("a", "b:80,90"), "port '80,90'"),
        (("a", "b:22", "icmp"), "icmp has no ports: ask for b without one"),
        (("a", "b", "bogus"), "neither a number from 0 to 255 nor one of icmp"),
        (("a", "b", "256"), "neither a number"),
    ],
)
def test_what_is_no_question_is_said(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(Malformed, match=message):
        read_question(*words)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("host1", ["host1"]),
        ("HOST1", ["host1"]),
        ("alice@", ["host1", "host2"]),
        ("group:eng", ["host1", "host2"]),
        ("tag:db", ["web"]),
        ("autogroup:tagged", ["web"]),
        ("*", ["host1", "host2", "web"]),
        ("bob@", ["bob@"]),
        ("tag:web", ["tag:web"]),
        ("100.64.0.3", ["100.64.0.3 of web"]),
        ("fd7a:115c:a1e0::3", ["fd7a:115c:a1e0::3 of web"]),
        ("100.64.0.9", ["100.64.0.9"]),
        ("printer", ["printer (10.1.0.9)"]),
        ("10.2.3.4/16", ["10.2.3.4/16 (10.2.0.0)"]),
    ],
)
def test_a_word_stands_for_nodes_or_for_what_could_be_one(text: str, names: list[str]) -> None:
    """Users and tags without a node too; a network for its first address."""
    assert [end.name for end in naming().sources(text)] == names


def test_a_node_is_found_with_the_domain_of_the_tailnet() -> None:
    snapshot = office()
    dns = replace(snapshot.settings.dns, base_domain="example.net")
    known = replace(snapshot, settings=replace(snapshot.settings, dns=dns))
    for text in ("host1.example.net", "host1.example.net.", "host1"):
        assert [end.name for end in naming(known).sources(text)] == ["host1"]


def test_a_host_of_the_policy_comes_before_a_node_of_that_name() -> None:
    snapshot = with_nodes(office(), node(4, given_name="printer"))
    assert [end.name for end in naming(snapshot).sources("printer")] == ["printer (10.1.0.9)"]


def test_ones_own_devices_depend_on_who_asks() -> None:
    assert naming().targets("autogroup:self") is None


def test_the_internet_is_a_target() -> None:
    assert naming().targets("autogroup:internet") == [End("autogroup:internet", is_public=True)]


@pytest.mark.parametrize(
    ("side", "text", "kind", "message"),
    [
        ("sources", "hsot1", NotFound, "no node, host or address is called hsot1; did you mean host1"),
        ("sources", "zzz", NotFound, "no node, host or address is called zzz$"),
        ("sources", "alice", NotFound, "called alice; did you mean alice@"),
        ("sources", "alise@", NotFound, r"no user is called alise@; did you mean alice@\?"),
        ("sources", "tag:wep", NotFound, 'tag not found: "tag:wep", did you mean "tag:web"'),
        ("sources", "group:eg", NotFound, 'group not found: "group:eg", did you mean "group:eng"'),
        ("sources", "group:none", NotFound, "group:none stands for nobody here"),
        ("sources", "autogroup:memver", NotFound, 'did you mean "autogroup:member"'),
        ("sources", "ipset:a", NotFound, "ipset names are not supported here"),
        ("sources", "autogroup:self", Malformed, "autogroup:self never sends"),
        ("sources", "autogroup:internet", Malformed, "never sends"),
        ("sources", "autogroup:danger-all", Malformed, "never sends"),
        ("targets", "autogroup:danger-all", Malformed, "nothing that can be reached"),
        ("targets", "autogroup:nonroot", Malformed, "nothing that can be reached"),
    ],
)
def test_a_word_that_names_nothing_is_said_with_the_nearest(
    side: str, text: str, kind: type[HeadscaleError], message: str
) -> None:
    ask: Any = getattr(naming(), side)
    with pytest.raises(kind, match=message):
        ask(text)


def test_a_login_of_two_users_names_neither() -> None:
    snapshot = office()
    for user in snapshot.users.values():
        snapshot = with_user(snapshot, user, name="ann" + str(user.id), email="ann@example.com")
    with pytest.raises(Malformed, match=r"ann@example\.com fits 2 users"):
        naming(snapshot).sources("ann@example.com")


def test_an_address_behind_a_router_is_routed() -> None:
    """`*` as a source has it then."""
    snapshot = with_nodes(office(), router(4, "10.1.0.0/16"))
    [end] = naming(snapshot).sources("printer")
    assert end.is_routed
    [other] = naming(snapshot).sources("lan")
    assert not other.is_routed
