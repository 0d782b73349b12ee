"""Laws of the oracle itself: it understands every policy that we draw, and does not contradict itself."""

import json
import re
from dataclasses import replace
from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness import oracle
from tests.property.policies import PolicyCase, Probe, policy_cases, policy_texts

STRING_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*\n|/\*.*?\*/', re.DOTALL)
STRING_OR_LAST_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[\]}])')


def admits(case: PolicyCase, probe: Probe, *, at_its_word: bool = False) -> bool:
    matches = oracle.as_written if at_its_word else oracle.as_clients_match
    return oracle.admits(case.policy, case.users, case.nodes, probe.receiver, probe.packet, matches=matches)


def plain(text: str) -> Any:
    """A HuJSON text's value, by taking out what JSON does not have."""

    def strings_only(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith('"') else " "

    without_comments = STRING_OR_COMMENT.sub(strings_only, text)
    return json.loads(STRING_OR_LAST_COMMA.sub(strings_only, without_comments))


@given(case=policy_cases())
def test_a_packet_admitted_comes_from_a_peer(case: PolicyCase) -> None:
    """Who gets a packet through is seen by the receiver, be it a node or a router in front of the sender."""
    for probe in case.probes:
        senders = [
            node
            for node in case.nodes
            if probe.packet.src in node.addresses or any(probe.packet.src in route for route in node.subnets)
        ]
        if admits(case, probe):
            for sender in senders:
                assert sender == probe.receiver or oracle.sees(
                    case.policy, case.users, case.nodes, probe.receiver, sender
                )


@given(case=policy_cases())
def test_what_clients_admit_is_no_less_than_what_is_written(case: PolicyCase) -> None:
    """A client is more generous than the rule in pings alone, and stricter only where a protocol has no ports."""
    for probe in case.probes:
        if admits(case, probe, at_its_word=True) and not probe.packet.dst.is_multicast:
            assert admits(case, probe)


@given(case=policy_cases(), number=st.integers(0, 5))
def test_a_rule_less_admits_no_more(case: PolicyCase, number: int) -> None:
    """Rules only ever open: taking one out lets no further packet in and shows nobody further peers."""
    sections = [
        (name, index) for name in ("acls", "grants") for index in range(len(case.policy.get(name, ())))
    ]
    if not sections:
        return
    name, index = sections[number % len(sections)]
    rules = [rule for position, rule in enumerate(case.policy[name]) if position != index]
    less = replace(case, policy=case.policy | {name: rules})
    assert all(admits(case, probe) for probe in case.probes if admits(less, probe))
    for a, b in combinations(case.nodes, 2):
        if oracle.sees(less.policy, less.users, less.nodes, a, b):
            assert oracle.sees(case.policy, case.users, case.nodes, a, b)


@given(drawn=policy_texts())
def test_texts_mean_their_policy(drawn: tuple[PolicyCase, str]) -> None:
    """Comments and last commas change nothing."""
    case, text = drawn
    assert plain(text) == case.policy
