"""Why something is allowed or not, in words for people."""

from typing import Any

import pytest

from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.explain import (
    NAMES_MAX,
    REASONS_MAX,
    describe,
    explain,
    listed,
    protocol_name,
    traffic_text,
)
from headscale.policy.paths import End, Packet, node_end
from headscale.policy.ports import read_traffic
from tests.unit.policy.small import ANN, BOB, acl, device, engine, grant, tagged

NODES = (device(1, ANN), device(3, BOB), tagged(4, "tag:web"))


def tailnet(*acls: dict[str, Any], **more: Any) -> Compiled:
    return engine({"acls": list(acls), **more}, *NODES)


def end(compiled: Compiled, number: int) -> End:
    return node_end(compiled.nodes[number])


SSH = Packet(6, 22)


def test_what_is_allowed_names_its_rules() -> None:
    """Each rule that lets the packet through, where it stands and what it says."""
    compiled = tailnet(
        acl("ann@", "tag:web:22"), acl("bob@", "tag:web:22"), acl("ann@ *", "*:20-30", proto="tcp")
    )
    found = explain(compiled, end(compiled, 1), end(compiled, 4), SSH)
    assert found.allowed
    assert [(reason.path, reason.says) for reason in found.by] == [
        ("acls[0]", "ann@ → tag:web: 22"),
        ("acls[2]", "ann@, * → *: tcp:20-30"),
    ]
    assert str(found.by[0]) == "acls[0] (line 1): ann@ → tag:web: 22"
    assert (found.source, found.target, found.protocol, found.port) == ("node 1", "node 4", "tcp", 22)
    assert (found.nearly, found.others) == ((), ())


def test_what_is_not_allowed_names_what_comes_close() -> None:
    """Rules between the two about other traffic, and rules that let others send this."""
    compiled = tailnet(
        acl("ann@", "tag:web:80"),
        acl("bob@", "tag:web:22"),
        acl("bob@", "tag:web:80"),
        acl("bob@", "ann@:22"),
    )
    found = explain(compiled, end(compiled, 1), end(compiled, 4), SSH)
    assert not found.allowed
    assert [reason.path for reason in found.nearly] == ["acls[0]"]
    assert [reason.path for reason in found.others] == ["acls[1]"]


def test_several_protocols_at_once() -> None:
    """One question may be about TCP and UDP; the answer says which of them gets through."""
    compiled = tailnet(acl("ann@", "tag:web:22", proto="udp"))
    found = explain(compiled, end(compiled, 1), end(compiled, 4), SSH, Packet(17, 22))
    assert (found.protocol, found.through) == ("tcp or udp", ("udp",))


def test_any_traffic_at_all() -> None:
    """Without a packet any rule for traffic will do, but none for capabilities."""
    compiled = tailnet(acl("ann@", "tag:web:80"), grants=[grant("ann@", "bob@", app={"x.org/a": []})])
    assert explain(compiled, end(compiled, 1), end(compiled, 4)).allowed
    found = explain(compiled, end(compiled, 1), end(compiled, 3))
    assert (found.allowed, found.protocol, found.port) == (False, "anything", None)
    assert [reason.says for reason in found.nearly] == ["ann@ → bob@: app x.org/a"]


def test_others_own_devices() -> None:
    """A rule that lets the target's owner in is named when somebody else asks."""
    compiled = tailnet(acl("autogroup:member", "autogroup:self:22"))
    found = explain(compiled, end(compiled, 1), end(compiled, 3), SSH)
    assert [reason.says for reason in found.others] == ["autogroup:member → autogroup:self: 22"]


@pytest.mark.parametrize("policy", [{}, {"ssh": []}])
def test_nothing_restricts(policy: dict[str, Any]) -> None:
    """That is the reason then, and it stands in no line."""
    compiled = engine(policy, *NODES)
    (reason,) = explain(compiled, end(compiled, 1), end(compiled, 4), SSH).by
    assert str(reason) == "there is no policy that restricts traffic: everybody reaches everything"
    assert reason.line == 0


def test_no_policy() -> None:
    """It is explained as one that restricts nothing."""
    compiled = compile_policy(None, people={}, subjects=NODES)
    assert explain(compiled, end(compiled, 1), end(compiled, 4), SSH).allowed


@pytest.mark.parametrize(("rules", "more"), [(REASONS_MAX, 0), (REASONS_MAX + 1, 1), (REASONS_MAX + 9, 9)])
def test_so_many_reasons_and_no_more(rules: int, more: int) -> None:
    """At the limit all are listed; past it only how many there were."""
    compiled = tailnet(*[acl("ann@", "tag:web:22")] * rules)
    found = explain(compiled, end(compiled, 1), end(compiled, 4), SSH)
    assert (len(found.by), found.by_more) == (REASONS_MAX, more)


def test_a_rule_is_one_reason() -> None:
    """However many rows were made of it."""
    compiled = tailnet(grants=[grant("ann@", "tag:web", "tcp:22 tcp:*")])
    assert [reason.says for reason in explain(compiled, end(compiled, 1), end(compiled, 4), SSH).by] == [
        "ann@ → tag:web: tcp:22",
        "ann@ → tag:web: tcp:*",
    ]


def test_a_rule_with_routers() -> None:
    """They are named."""
    compiled = tailnet(grants=[grant("ann@ bob@", "10.0.0.0/8", "22", via=["tag:web", "tag:db"])])
    assert describe(compiled, compiled.program.rows[0]) == "ann@, bob@ → 10.0.0.0/8 via tag:web, tag:db: 22"


@pytest.mark.parametrize(("count", "last"), [(NAMES_MAX, "9"), (NAMES_MAX + 1, "1 more")])
def test_so_many_names_and_no_more(count: int, last: str) -> None:
    """At the limit all are listed; past it only how many there were."""
    names = listed(str(number) for number in range(count)).split(", ")
    assert names[-1] == last
    assert names[:NAMES_MAX] == [str(number) for number in range(NAMES_MAX)]


@pytest.mark.parametrize("text", ["*", "22", "tcp:80-90,443", "icmp:*", "gre:*", "200:*"])
def test_traffic_as_a_policy_writes_it(text: str) -> None:
    """What was read is written again."""
    assert traffic_text(read_traffic(text)) == text


@pytest.mark.parametrize(("number", "name"), [(6, "tcp"), (4, "ipv4"), (58, "ipv6-icmp"), (200, "200")])
def test_names_of_protocols(number: int, name: str) -> None:
    """The first name that a policy has for it, else the number."""
    assert protocol_name(number) == name
