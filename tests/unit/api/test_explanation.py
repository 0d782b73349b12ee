"""Answers to a question: the rules, alike nodes together, and the way there."""

import pytest

from headscale.api.v1 import explanation as module
from headscale.api.v1.explanation import Explained, Question, Rule, explained
from headscale.errors import Malformed
from headscale.state.policy import work_out
from headscale.state.snapshot import NO_POLICY, Snapshot
from tests.builders import node, router, tailnet, with_nodes

POLICY = """{
  "tagOwners": {"tag:web": []},
  "acls": [
    {"action": "accept", "src": ["alice@"], "dst": ["tag:web:443"]},
    {"action": "accept", "src": ["bob@"], "proto": "udp", "dst": ["tag:web:53"]},
    {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:22", "autogroup:internet:*"]},
    {"action": "accept", "src": ["*"], "dst": ["10.1.0.0/24:80"]},
  ]
}"""


def office() -> Snapshot:
    """alice with host1 and host2, bob with host3, and two web servers."""
    web = [node(i, user_id=None, tags=("tag:web",)) for i in (4, 5)]
    return with_nodes(tailnet("alice", "bob"), node(1), node(2), node(3, user_id=2), *web)


def ask(
    source: str, destination: str, protocol: str = "", *, text: str = POLICY, tailnet: Snapshot | None = None
) -> Explained:
    """What the policy says of the tailnet."""
    snapshot = tailnet or office()
    return explained(snapshot, work_out(snapshot, text).compiled, Question(source, destination, protocol))


def test_alike_nodes_are_one_answer() -> None:
    found = ask("alice@", "tag:web:443", "tcp")
    [answer] = found.answers
    assert (answer.sources, answer.targets) == (("host1", "host2"), ("host4", "host5"))
    assert (found.allowed, answer.allowed, answer.through) == (True, True, ("tcp",))
    assert answer.by == (Rule("acls[0]", 4, "alice@ → tag:web: 443"),)
    assert (found.source, found.destination, found.protocol, found.port) == ("alice@", "tag:web", "tcp", 443)


def test_unlike_nodes_are_answered_one_by_one() -> None:
    """And the whole is a yes only if all are."""
    found = ask("autogroup:member", "tag:web:443")
    assert [(a.sources, a.allowed) for a in found.answers] == [
        (("host1", "host2"), True),
        (("host3",), False),
    ]
    assert not found.allowed


def test_a_no_says_what_is_near_and_who_else() -> None:
    [answer] = ask("bob@", "host4:443").answers
    assert [rule.path for rule in answer.nearly] == ["acls[1]"]
    assert [rule.path for rule in answer.others] == ["acls[0]"]
    assert answer.through == answer.by == ()


def test_of_tcp_and_udp_one_is_enough_and_named() -> None:
    [answer] = ask("bob@", "host4:53").answers
    assert (answer.allowed, answer.through) == (True, ("udp",))
    assert not ask("bob@", "host4:53", "tcp").allowed


def test_anything_is_any_rule_about_traffic() -> None:
    assert ask("bob@", "tag:web").allowed
    assert ask("bob@", "tag:web").protocol == "anything"
    assert not ask("host4", "host5").allowed
    app = '{"grants": [{"src": ["*"], "dst": ["*"], "app": {"example.com/cap/a": []}}]}'
    assert not ask("bob@", "host4", text=app).allowed


def test_ones_own_devices_are_for_their_user_alone() -> None:
    assert ask("autogroup:member", "autogroup:self:22").allowed
    assert ask("host1", "host2:22").allowed
    assert not ask("host1", "host3:22").allowed
    with pytest.raises(Malformed, match="tag:web is no user's"):
        ask("tag:web", "autogroup:self:22")


def test_a_node_and_itself_are_no_question() -> None:
    with pytest.raises(Malformed, match="are the same node"):
        ask("host1", "host1:22")
    assert ask("alice@", "alice@:22").allowed


def test_who_has_no_node_yet_is_noted() -> None:
    snapshot = with_nodes(tailnet("alice", "bob"), node(1))
    found = ask("bob@", "tag:web:53", "udp", tailnet=snapshot)
    assert found.allowed
    assert found.notes == tuple(
        f"{name} has no node: answered for one that it may get" for name in ("bob@", "tag:web")
    )


def test_the_way_to_an_address_is_noted() -> None:
    """A route and its primary, an exit node, or none at all, which no policy can help."""
    plain = office()
    assert ask("host1", "10.1.0.7:80").notes == (
        "no node leads to 10.1.0.7, so nobody gets there whatever the policy says",
    )
    offline = with_nodes(plain, router(6, "10.1.0.0/16", "10.0.0.0/8"))
    assert ask("host1", "10.1.0.7:80", tailnet=offline).notes[0].endswith("no router of it is online")
    online = with_nodes(offline, router(6, "10.1.0.0/16", "10.0.0.0/8", online=True))
    assert ask("host1", "10.1.0.7:80", tailnet=online).notes == (
        "the way to 10.1.0.7 is the route 10.1.0.0/16, through host6",
    )
    exits = with_nodes(plain, router(6, "0.0.0.0/0", "::/0"))
    found = ask("host1", "autogroup:internet:443", tailnet=exits)
    assert found.notes == ("the way to autogroup:internet is an exit node: host6",)
    assert ask("host1", "8.8.8.8:53", tailnet=exits).allowed
    assert not ask("tag:web", "8.8.8.8:53", tailnet=exits).allowed


def test_everyone_as_a_source_has_what_is_behind_routers() -> None:
    """As their packet filters do."""
    wide = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["host1:22"]}], "hosts": {"host1": "100.64.0.1"}}'
    assert not ask("10.1.0.7", "host1:22", text=wide).allowed
    routed = with_nodes(office(), router(6, "10.1.0.0/16"))
    assert ask("10.1.0.7", "host1:22", text=wide, tailnet=routed).allowed


def test_without_a_policy_all_is_allowed() -> None:
    snapshot = office()
    policy = NO_POLICY.with_people(snapshot.policy.people).updated(snapshot.policy.subjects.values())
    found = explained(snapshot, policy, Question("bob@", "host4:22"))
    assert found.answers[0].by == (
        Rule("", 0, "there is no policy that restricts traffic: everybody reaches everything"),
    )


def test_too_many_unlike_pairs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit they are not."""
    monkeypatch.setattr(module, "PAIRS_MAX", 4)
    assert len(ask("*", "tag:web:443").answers) <= 4
    monkeypatch.setattr(module, "PAIRS_MAX", 2)
    with pytest.raises(Malformed, match=r"\* and tag:web are 3 × 1 kinds of nodes"):
        ask("*", "tag:web:443")
