"""Laws of roles in policies: a role is the group of those who have it; a change of it is as if it had always been."""

from dataclasses import replace
from typing import Any, Final

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.generated.policies import GROUPS
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.parse import parse_policy
from headscale.records import Role
from headscale.tailcfg.filters import FilterRule
from tests.property.policies import PolicyCase, policy_cases
from tests.property.test_policy_laws import answers, compiled, people_of, subject_of, with_names

ROLES: Final = tuple(role.value for role in Role if role is not Role.MEMBER)


def with_roles(case: PolicyCase, role: str) -> tuple[PolicyCase, frozenset[int]]:
    """The case with a role wherever a group stood, and who was in the group. A case without one does not count."""
    group = next((each for each in GROUPS if each in case.policy.get("groups", {})), "")
    assume(group)
    directory = compiled(case).program.directory
    held = frozenset(user.id for user in case.users if group in directory.labels(user.id))
    policy = with_names(case.policy, {group: f"autogroup:{role}"})
    policy["groups"] = {
        name: whom for name, whom in policy["groups"].items() if name in case.policy["groups"]
    }
    named = replace(case, policy=policy)
    assume(f"autogroup:{role}" in named.text)
    return named, held


def engine_of(case: PolicyCase, held: frozenset[int], role: str) -> Compiled:
    people = {
        i: replace(person, roles=frozenset({role} if i in held else ()))
        for i, person in people_of(case).items()
    }
    return compile_policy(parse_policy(case.text), people=people, subjects=map(subject_of, case.nodes))


@given(case=policy_cases(size=0), role=st.sampled_from(ROLES))
def test_a_role_is_the_group_of_those_who_have_it(case: PolicyCase, role: str) -> None:
    """Filters, peers, routes, capabilities: all that the policy with the group comes to, which other laws read.

    The order of a filter's rules, and of the targets in one that was merged, may be another: among autogroups alone,
    one's own devices stay where they are named (recordings acl-sf07, acl-s08).
    """
    named, held = with_roles(case, role)
    assert in_any_order(engine_of(named, held, role)) == in_any_order(compiled(case))


def in_any_order(engine: Compiled) -> dict[str, Any]:
    """The answers, filters as sets of rules and rules as sets of targets."""
    found = answers(engine)
    filters = {node: sorted(map(_targets_sorted, rules)) for node, rules in found["filters"].items()}
    return {**found, "filters": filters}


def _targets_sorted(rule: FilterRule) -> bytes:
    targets = tuple(sorted(rule.dst_ports, key=msgspec.json.encode))
    return msgspec.json.encode(msgspec.structs.replace(rule, dst_ports=targets))


@given(case=policy_cases(size=0), role=st.sampled_from(ROLES), data=st.data())
def test_roles_come_and_go_as_if_they_had_always_been(
    case: PolicyCase, role: str, data: st.DataObject
) -> None:
    """A policy whose people get and lose roles answers as one that is compiled for them."""
    named, held = with_roles(case, role)
    engine = engine_of(named, held, role)
    for _ in range(data.draw(st.integers(1, 3))):
        user_id = data.draw(st.sampled_from([user.id for user in case.users]))
        person = engine.people[user_id]
        given_roles = data.draw(st.sampled_from((*ROLES, "")))
        engine = engine.with_people(
            {**engine.people, user_id: replace(person, roles=frozenset({given_roles} - {""}))}
        )
    fresh = compile_policy(parse_policy(named.text), people=engine.people, subjects=engine.subjects.values())
    assert answers(engine) == answers(fresh)
