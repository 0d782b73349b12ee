"""Mistakes in who may reach whom, and log in where."""

from collections.abc import Callable
from typing import Any

from msgspec import structs

from harness.mutants.patches import Function, Mutant, Patch
from headscale.tailcfg.filters import ANY_PORT, FilterRule
from headscale.tailcfg.ssh import SSHAction, SSHPolicy

ACL = "scenarios/test_acl.py::test_packets_pass_as_the_policy_says"
SSH = "scenarios/test_ssh.py::test_each_person_by_a_rule_of_their_own"
CHECKS = "scenarios/test_ssh_checks.py::test_an_administrator_confirms_or_turns_away"


def acl(case: str) -> str:
    """One policy of the ACL scenario."""
    return f"{ACL}[{case}]"


def _rules(change: Callable[[FilterRule], FilterRule]) -> Patch:
    """Every rule that a node is given, changed."""

    def make(original: Function) -> Function:
        def packet_filter(snapshot: Any, node_id: int) -> tuple[FilterRule, ...]:
            return tuple(change(rule) for rule in original(snapshot, node_id))

        return packet_filter

    return Patch("headscale.mapper.view:packet_filter", make)


def _any_port(rule: FilterRule) -> FilterRule:
    return structs.replace(
        rule, dst_ports=tuple(structs.replace(to, ports=ANY_PORT) for to in rule.dst_ports)
    )


def _any_capability_holder(rule: FilterRule) -> FilterRule:
    return structs.replace(rule, src_ips=("*",)) if rule.cap_grant else rule


def _everybody_is_seen(original: Function) -> Function:
    def peers_of(snapshot: Any, viewer_id: int) -> frozenset[int]:
        return frozenset(snapshot.nodes) - {viewer_id}

    return peers_of


def _everybody_is_seen_by_class(original: Function) -> Function:
    def seen_by_class(snapshot: Any, viewer_id: int) -> tuple[int, ...]:
        return tuple(snapshot.nodes)

    return seen_by_class


def _all_of_these_are_seen(original: Function) -> Function:
    def seen_of(snapshot: Any, viewer_id: int, nodes: Any) -> Any:
        return {node_id for node_id in nodes if node_id != viewer_id and node_id in snapshot.nodes}

    return seen_of


def _own_is_everybodys(original: Function) -> Function:
    def own(self: Any, number: int, user_id: int) -> Any:
        return self._source(number)

    return own


def _no_tags(original: Function) -> Function:
    def subject_of(node: Any) -> Any:
        found = original(node)
        return type(found)(
            id=found.id, user_id=1, tags=(), ipv4=found.ipv4, ipv6=found.ipv6, routes=found.routes
        )

    return subject_of


def _any_local_user(original: Function) -> Function:
    def ssh_policy(snapshot: Any, node_id: int) -> SSHPolicy:
        found: SSHPolicy = original(snapshot, node_id)
        rules = tuple(structs.replace(rule, ssh_users={"*": "="}) for rule in found.rules)
        return structs.replace(found, rules=rules) if rules else found

    return ssh_policy


def _no_check(original: Function) -> Function:
    def ssh_policy(snapshot: Any, node_id: int) -> SSHPolicy:
        found: SSHPolicy = original(snapshot, node_id)
        rules = tuple(
            structs.replace(rule, action=SSHAction(accept=True)) if rule.action.hold_and_delegate else rule
            for rule in found.rules
        )
        return structs.replace(found, rules=rules) if rules else found

    return ssh_policy


def _the_former_policy(original: Function) -> Function:
    """The text is kept and shown, what is compiled stays as it was."""

    def set_policy(snapshot: Any, moment: Any, *, prepared: Any) -> Any:
        before = type(prepared)(prepared.text, snapshot.policy, prepared.failures)
        return original(snapshot, moment, prepared=before)

    return set_policy


MUTANTS = (
    Mutant(
        "filter-ignores-ports",
        "a rule for one port opens every port",
        [acl("ports")],
        [_rules(_any_port)],
    ),
    Mutant(
        "filter-ignores-protocol",
        "a rule for one protocol opens TCP, UDP and ICMP",
        [acl("members_and_tagged")],
        [_rules(lambda rule: structs.replace(rule, ip_proto=()))],
    ),
    Mutant(
        "filter-ignores-source",
        "a rule for one user lets in everybody who sees the node",
        [acl("one_way"), acl("tags")],
        [_rules(lambda rule: structs.replace(rule, src_ips=("*",)))],
    ),
    Mutant(
        "capability-grant-leaks",
        "a capability that is granted to one user is held by everybody",
        ["scenarios/test_taildrive.py::test_a_folder_is_shared_with_whom_the_grant_names"],
        [_rules(_any_capability_holder)],
    ),
    Mutant(
        "stranger-leaks",
        "nodes of another user whom no rule connects are among the peers",
        [acl("own_machines"), acl("tags")],
        [
            Patch("headscale.mapper.view:peers_of", _everybody_is_seen),
            Patch("headscale.mapper.view:seen_by_class", _everybody_is_seen_by_class),
            Patch("headscale.mapper.view:seen_of", _all_of_these_are_seen),
        ],
    ),
    Mutant(
        "self-reaches-everybody",
        "autogroup:self lets in all whom the rule's source names, not the owner's own",
        [acl("own_machines")],
        [Patch("headscale.policy.members:Members._own", _own_is_everybodys)],
    ),
    Mutant(
        "tags-ignored",
        "for the policy a tagged node is the first user's",
        [acl("tags")],
        [Patch("headscale.state.subjects:subject_of", _no_tags)],
    ),
    Mutant(
        "former-policy-in-force",
        "a policy that is set is shown, and the one before it goes on holding",
        [acl("one_way")],
        [Patch("headscale.state.policy:set_policy", _the_former_policy)],
    ),
    Mutant(
        "ssh-any-user",
        "who may log in as one local user may as any",
        ["scenarios/test_ssh.py::test_one_group_gets_into_every_device_and_nobody_else_into_any", SSH],
        [Patch("headscale.mapper.view:ssh_policy", _any_local_user)],
    ),
    Mutant(
        "ssh-check-skipped",
        "a session that needs a confirmation goes on without one",
        [CHECKS],
        [Patch("headscale.mapper.view:ssh_policy", _no_check)],
    ),
)
