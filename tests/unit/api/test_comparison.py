"""What another policy would change for the nodes of a tailnet, beside who reaches what."""

import pytest

from headscale.api.v1.comparison import Access, Compared, Having, compared
from headscale.errors import Malformed
from headscale.policy import difference
from headscale.state.policy import work_out
from headscale.state.snapshot import Snapshot
from tests.builders import node, router, tailnet, with_nodes

NOTHING = '{"acls": []}'


def compare(snapshot: Snapshot, old: str, new: str) -> Compared:
    return compared(snapshot, work_out(snapshot, old).compiled, work_out(snapshot, new).compiled)


def office() -> Snapshot:
    return with_nodes(tailnet("alice", "bob"), node(1), node(2, user_id=2))


def test_the_same_is_no_change() -> None:
    assert compare(office(), NOTHING, NOTHING + " // words") == Compared(False, (), (), (), ())


def test_access_is_by_users() -> None:
    new = '{"acls": [{"action": "accept", "proto": "tcp", "src": ["alice@"], "dst": ["bob@:22"]}]}'
    found = compare(office(), NOTHING, new)
    assert found == Compared(True, (Access(("alice@",), "bob@", ("tcp:22",), ()),), (), (), ())


def test_nodes_of_one_user_that_differ_go_by_their_names() -> None:
    snapshot = with_nodes(office(), node(3))
    new = '{"acls": [{"action": "accept", "proto": "tcp", "src": ["100.64.0.3"], "dst": ["bob@:22"]}]}'
    assert compare(snapshot, NOTHING, new).access == (Access(("host3",), "bob@", ("tcp:22",), ()),)


def test_attributes_are_by_nodes() -> None:
    """Those with the same change together; a value that changes is another attribute."""
    attributes = (
        '{"acls": [], "nodeAttrs": [{"target": ["*"], "attr": ["f"]}, {"target": ["bob@"], "attr": ["x"]}]}'
    )
    found = compare(office(), NOTHING, attributes)
    assert found.attributes == (Having(("host1",), ("f",), ()), Having(("host2",), ("f", "x"), ()))
    assert found.changed
    assert compare(office(), attributes, NOTHING).attributes[0] == Having(("host1",), (), ("f",))


def test_routes_are_those_that_nodes_advertise() -> None:
    """Approved or not."""
    snapshot = with_nodes(office(), router(3, "10.1.0.0/16", "0.0.0.0/0", approved=False))
    approvers = '{"acls": [], "autoApprovers": {"routes": {"10.0.0.0/8": ["alice@"]}, "exitNode": ["bob@"]}}'
    found = compare(snapshot, NOTHING, approvers)
    assert found == Compared(True, (), (), (Having(("host3",), ("10.1.0.0/16",), ()),), ())


def tags(snapshot: Snapshot, **old_and_new: str) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Each tag that others may give, with who gains and who loses; of policies with these groups and owners."""
    old, new = (f'{{"acls": [], {old_and_new[name]}}}' for name in ("old", "new"))
    return [(each.tag, each.gained, each.lost) for each in compare(snapshot, old, new).tag_owners]


def test_who_may_give_a_tag_is_compared() -> None:
    """By people, however the policy names them."""
    one, two = '"tagOwners": {"tag:a": ["alice@"]}', '"tagOwners": {"tag:a": ["alice@", "autogroup:member"]}'
    assert tags(office(), old=one, new=two) == [("tag:a", ("bob@",), ())]
    assert tags(office(), old=two, new=one) == [("tag:a", (), ("bob@",))]
    assert tags(office(), old=one, new='"tagOwners": {"tag:a": ["user:*@x.example", "alice@"]}') == []
    assert compare(office(), f'{{"acls": [], {one}}}', f'{{"acls": [], {two}}}').changed


def test_a_tag_that_is_defined_may_be_given_by_administrators() -> None:
    """Which they may not once it is gone; who logs in with it is refused."""
    defined = '"tagOwners": {"tag:a": ["alice@"], "tag:b": []}'
    gained = [("tag:a", ("administrators", "alice@"), ()), ("tag:b", ("administrators",), ())]
    assert tags(office(), old='"hosts": {}', new=defined) == gained
    assert tags(office(), old=defined, new='"hosts": {}') == [(tag, lost, gain) for tag, gain, lost in gained]


def test_tags_and_groups_may_give_tags() -> None:
    """A group whose members change, and tags that own tags that own the tag."""
    owners = '"tagOwners": {"tag:a": ["tag:b"], "tag:b": ["tag:c", "group:g"], "tag:c": []}'
    less = '"tagOwners": {"tag:a": ["tag:b"], "tag:b": ["group:g"], "tag:c": []}'
    one, two = (f'"groups": {{"group:g": ["{name}@"]}}, {owners}' for name in ("alice", "bob"))
    assert tags(office(), old=one, new=two) == [
        ("tag:a", ("bob@",), ("alice@",)),
        ("tag:b", ("bob@",), ("alice@",)),
    ]
    fewer = f'"groups": {{"group:g": ["alice@"]}}, {less}'
    assert tags(office(), old=one, new=fewer) == [("tag:a", (), ("tag:c",)), ("tag:b", (), ("tag:c",))]


def access(snapshot: Snapshot, old: str, new: str) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """Each change as sources, target, gained, lost."""
    return [(", ".join(a.sources), a.target, a.gained, a.lost) for a in compare(snapshot, old, new).access]


def acl(source: str, target: str, **more: str) -> str:
    """A policy with one rule for TCP; `more` are its definitions, as JSON."""
    definitions = "".join(f'"{name}": {value}, ' for name, value in more.items())
    rule = f'{{"action": "accept", "proto": "tcp", "src": ["{source}"], "dst": ["{target}"]}}'
    return f'{{{definitions}"acls": [{rule}]}}'


def test_another_member_of_a_group_gains() -> None:
    """Though the rule is the same."""
    one = acl("group:e", "bob@:22", groups='{"group:e": ["alice@"]}')
    two = acl("group:e", "bob@:22", groups='{"group:e": ["alice@", "bob@"]}')
    assert access(office(), one, two) == [("bob@", "autogroup:self", ("tcp:22",), ())]


def test_ones_own_devices_are_told_apart_from_those_of_others() -> None:
    own, all_members = (
        acl("autogroup:member", "autogroup:self:22"),
        acl("autogroup:member", "autogroup:member:22"),
    )
    assert access(office(), own, all_members) == [("alice@, bob@", "alice@, bob@", ("tcp:22",), ())]
    assert access(office(), NOTHING, own) == [("alice@, bob@", "autogroup:self", ("tcp:22",), ())]
    assert access(office(), acl("alice@", "alice@:22"), own) == [("bob@", "autogroup:self", ("tcp:22",), ())]


def test_users_and_tags_without_nodes_count() -> None:
    """As those that they may get."""
    found = access(tailnet("alice"), NOTHING, acl("alice@", "tag:db:22", tagOwners='{"tag:db": []}'))
    assert found == [("alice@", "tag:db (no node yet)", ("tcp:22",), ())]


def test_a_narrower_network_is_told_apart_from_the_rest() -> None:
    snapshot = with_nodes(office(), router(3, "10.1.0.0/16", user_id=None, tags=("tag:r",)))
    found = access(snapshot, acl("alice@", "10.1.0.0/16:22"), acl("alice@", "10.1.2.0/24:22"))
    assert found == [("alice@", "10.1.0.0/16", (), ("tcp:22",))]


def test_a_host_may_move() -> None:
    """The same name for other addresses is another target."""
    one, two = (acl("alice@", "h:22", hosts=f'{{"h": "{address}"}}') for address in ("10.0.0.1", "10.0.0.2"))
    assert access(office(), one, two) == [("alice@", "h", (), ("tcp:22",)), ("alice@", "h", ("tcp:22",), ())]


def test_exit_nodes_are_a_target() -> None:
    found = access(office(), NOTHING, acl("alice@", "autogroup:internet:*"))
    assert found == [("alice@", "autogroup:internet", ("tcp:*",), ())]


def test_capabilities_are_access() -> None:
    grant = '{"grants": [{"src": ["alice@"], "dst": ["bob@"], "app": {"example.com/cap/a": [{}]}}]}'
    assert access(office(), NOTHING, grant) == [("alice@", "bob@", ("example.com/cap/a",), ())]


def test_ssh_rules_are_access() -> None:
    """The first that fits a user counts; a rule that checks comes before one that accepts."""
    rule = '{{"action": "{}", "src": ["alice@"], "dst": ["{}"], "users": ["me"]}}'
    accept = f'{{"acls": [], "ssh": [{rule.format("accept", "alice@")}]}}'
    both = f'{{"acls": [], "ssh": [{rule.format("accept", "alice@")}, {rule.format("check", "autogroup:self")}]}}'
    assert access(office(), accept, both) == [
        ("alice@", "autogroup:self", ("ssh as me after a check",), ("ssh as me",))
    ]


def test_very_many_kinds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the limit are not."""
    monkeypatch.setattr(difference, "ENDS_MAX", 2)
    assert len(access(office(), NOTHING, acl("alice@", "bob@:22"))) == 1
    monkeypatch.setattr(difference, "ENDS_MAX", 1)
    with pytest.raises(Malformed, match="2 kinds of nodes and addresses are too many to compare, 1 can be"):
        access(office(), NOTHING, acl("alice@", "bob@:22"))
