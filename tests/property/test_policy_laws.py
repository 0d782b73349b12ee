"""Laws of the policy engine, against the oracle, which reads the policy the slow and obvious way."""

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from harness import oracle
from harness.oracle import OracleNode
from headscale.policy.checks import run_tests
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.document import Document
from headscale.policy.parse import Complaint, PolicyRefused, parse_policy
from headscale.policy.subjects import EXIT_ROUTES, Network, Person, Subject
from tests.packets import admitted
from tests.property.policies import PolicyCase, nodes, policy_cases, policy_texts


def people_of(case: PolicyCase) -> dict[int, Person]:
    return {user.id: Person(user.id, user.name, user.email, user.provider_id) for user in case.users}


def subject_of(node: OracleNode) -> Subject:
    return Subject(node.id, node.user_id, node.tags, node.ipv4, node.ipv6, node.approved)


def compiled(case: PolicyCase, *, text: str = "", subjects: Sequence[Subject] | None = None) -> Compiled:
    return compile_policy(
        parse_policy(text or case.text),
        people=people_of(case),
        subjects=map(subject_of, case.nodes) if subjects is None else subjects,
    )


def primaries_of(subjects: Sequence[Subject]) -> dict[Network, int]:
    found: dict[Network, int] = {}
    for subject in sorted(subjects, key=lambda subject: -subject.id):
        found.update({route: subject.id for route in subject.routes if route not in EXIT_ROUTES})
    return found


def answers(engine: Compiled) -> dict[str, Any]:
    """Everything that the engine says of its tailnet, in a form that can be compared."""
    ids = sorted(engine.subjects)
    primaries = primaries_of(list(engine.subjects.values()))
    return {
        "filters": {i: engine.filter_of(i) for i in ids},
        "peers": {i: engine.peers_of(i) for i in ids},
        "sees": {(a, b) for a in ids for b in ids if engine.sees(a, b)},
        "routes": {(a, b): engine.routes_for(a, b, primaries) for a in ids for b in ids},
        "ssh": {i: engine.ssh_of(i) for i in ids},
        "caps": {i: (engine.caps_of(i), engine.peer_caps_of(i)) for i in ids},
        "tests": [str(complaint) for complaint in run_tests(engine)],
    }


@given(case=policy_cases())
def test_filters_admit_what_the_policy_says(case: PolicyCase) -> None:
    """For every packet, the receiver's filter agrees with the plain reading of the policy."""
    engine = compiled(case)
    for probe in case.probes:
        says = oracle.admits(case.policy, case.users, case.nodes, probe.receiver, probe.packet)
        assert admitted(engine.filter_of(probe.receiver.id), probe.receiver, probe.packet) == says, probe


@given(case=policy_cases(size=0))
def test_nodes_are_peers_when_something_may_pass(case: PolicyCase) -> None:
    """Two nodes see each other exactly if some packet or capability may pass between them, and both or neither do."""
    engine = compiled(case)
    for a, b in combinations(case.nodes, 2):
        says = oracle.sees(case.policy, case.users, case.nodes, a, b)
        assert engine.sees(a.id, b.id) == engine.sees(b.id, a.id) == says, (a, b)
        assert (b.id in engine.peers_of(a.id)) == (a.id in engine.peers_of(b.id)) == says, (a, b)


@given(case=policy_cases(), data=st.data())
def test_the_order_of_rules_changes_nothing(case: PolicyCase, data: st.DataObject) -> None:
    """Rules only ever open, so whatever their order the same packets pass."""
    policy = dict(case.policy)
    for section in ("acls", "grants"):
        if section in policy:
            policy[section] = data.draw(st.permutations(policy[section]))
    assert_same_reach(compiled(case), compiled(replace(case, policy=policy)), case)


@given(case=policy_cases())
def test_a_rule_split_in_pairs_changes_nothing(case: PolicyCase) -> None:
    """A rule for many sources and destinations is the rules for each pair of them."""
    policy = dict(case.policy)
    for section in ("acls", "grants"):
        if section in policy:
            policy[section] = [
                rule | {"src": [src], "dst": [dst]}
                for rule in policy[section]
                for src in rule["src"]
                for dst in rule["dst"]
            ]
    assert_same_reach(compiled(case), compiled(replace(case, policy=policy)), case)


@given(case=policy_cases())
def test_names_mean_nothing(case: PolicyCase) -> None:
    """Groups and hosts with other names say the same."""
    renamed: dict[str, str] = {name: f"group:x{n}" for n, name in enumerate(case.policy.get("groups", {}))}
    renamed |= {name: f"host-x{n}" for n, name in enumerate(case.policy.get("hosts", {}))}
    assert_same_reach(compiled(case), compiled(replace(case, policy=with_names(case.policy, renamed))), case)


def with_names(policy: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    """The policy with these groups and hosts renamed wherever they stand."""

    def name(text: str) -> str:
        alias, colon, ports = text.rpartition(":")
        return renamed.get(text) or (renamed[alias] + colon + ports if alias in renamed else text)

    fresh = copy.deepcopy(policy)
    for section in ("groups", "hosts"):
        if section in fresh:
            fresh[section] = {name(key): value for key, value in fresh[section].items()}
    for owners in fresh.get("tagOwners", {}).values():
        owners[:] = [name(text) for text in owners]
    for rule in [*fresh.get("acls", ()), *fresh.get("grants", ())]:
        for side in ("src", "dst"):
            rule[side] = [name(text) for text in rule[side]]
    return fresh


def assert_same_reach(one: Compiled, other: Compiled, case: PolicyCase) -> None:
    for probe in case.probes:
        here, there = one.filter_of(probe.receiver.id), other.filter_of(probe.receiver.id)
        assert admitted(here, probe.receiver, probe.packet) == admitted(
            there, probe.receiver, probe.packet
        ), probe
    for a in case.nodes:
        assert one.peers_of(a.id) == other.peers_of(a.id)


@given(drawn=policy_texts())
def test_comments_mean_nothing(drawn: tuple[PolicyCase, str]) -> None:
    """A policy with comments, blanks and last commas answers as the plain one."""
    case, text = drawn
    assert answers(compiled(case, text=text)) == answers(compiled(case))
    assert parse_policy(text).text == text


@given(case=policy_cases(size=0), data=st.data())
def test_a_step_at_a_time_is_the_same_as_from_scratch(case: PolicyCase, data: st.DataObject) -> None:
    """Nodes that join, change and leave, one after the other or together, answered in between or not."""
    later = {node.id: node for node in data.draw(nodes(case.users))}
    current = {node.id: subject_of(node) for node in case.nodes}
    engine = compiled(case)
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            answers(engine)
        ids = data.draw(
            st.lists(st.sampled_from(sorted({*current, *later})), min_size=1, max_size=3, unique=True)
        )
        changed = [subject_of(later[i]) for i in ids if i in later and data.draw(st.booleans())]
        gone = [i for i in ids if i in current and i not in {subject.id for subject in changed}]
        after = {**current, **{subject.id: subject for subject in changed}}
        after = {i: subject for i, subject in after.items() if i not in gone}
        assume(_addresses_are_unique(after.values()))
        current, engine = after, engine.updated(changed, gone)
    assert answers(engine) == answers(compiled(case, subjects=list(current.values())))


def _addresses_are_unique(subjects: Any) -> bool:
    held = [a for subject in subjects for a in (subject.ipv4, subject.ipv6) if a is not None]
    return len(held) == len({*held})


@given(case=policy_cases(size=0))
def test_equal_keys_mean_equal_filters(case: PolicyCase) -> None:
    """Nodes whose filters have the same key let the same in."""
    engine = compiled(case)
    for a, b in combinations(case.nodes, 2):
        if engine.filter_key(a.id) == engine.filter_key(b.id):
            assert engine.filter_of(a.id) == engine.filter_of(b.id)
        if engine.class_of(a.id) == engine.class_of(b.id):
            assert engine.peers_of(a.id) - {b.id} == engine.peers_of(b.id) - {a.id}


ALIASES = ["*", "tag:a", "group:g", "autogroup:self", "10.0.0.0/8", "ann@", "*:*", "accept", "x:0", "::1:80"]
KEYS = re.findall(
    r"\S+",
    "acls grants groups hosts tagOwners ssh tests sshTests nodeAttrs autoApprovers src dst action users ip app via "
    "proto accept deny target attr routes exitNode group:g tag:a h checkPeriod acceptEnv ipPool #x",
)
SOUP = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(ALIASES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=24,
)


@given(soup=SOUP)
def test_any_json_is_a_policy_or_refused(soup: Any) -> None:
    """Whatever stands where, the answer is a document that compiles, or complaints with their places."""
    document = document_or_complaints(json.dumps(soup))
    if not isinstance(document, Document):
        assert document
        assert all(complaint.line for complaint in document)
        return
    person = Person(1, "ann", "ann@example.com")
    engine = compile_policy(
        document, people={1: person}, subjects=[Subject(1, 1), Subject(2, None, ("tag:a",))]
    )
    answers(engine)


@given(text=st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_a_policy_or_refused(text: bytes | str) -> None:
    """No input of any kind makes the parser fail in another way."""
    assert document_or_complaints(text)


def document_or_complaints(text: bytes | str) -> Document | tuple[Complaint, ...]:
    try:
        return parse_policy(text)
    except PolicyRefused as refusal:
        return refusal.complaints


@given(case=policy_cases(size=0), data=st.data())
def test_users_come_and_go_as_if_they_had_always_been(case: PolicyCase, data: st.DataObject) -> None:
    """Users that are new, renamed or gone leave the same answers as a policy compiled for them."""
    engine = compiled(case)
    people = people_of(case)
    for _ in range(data.draw(st.integers(1, 3))):
        if data.draw(st.booleans()):
            answers(engine)
        person_id = data.draw(st.integers(1, len(people) + 1))
        names = data.draw(
            st.sampled_from([("ann", "ann@example.com"), ("alice", ""), ("x", "bob@example.com")])
        )
        people = people | {person_id: Person(person_id, *names)}
        if data.draw(st.booleans()):
            people = {i: person for i, person in people.items() if i != person_id}
        engine = engine.with_people(people)
    fresh = compile_policy(parse_policy(case.text), people=people, subjects=engine.subjects.values())
    assert answers(engine) == answers(fresh)
