"""What `policy diff` says, against what each policy allows between any two nodes."""

import json

from hypothesis import given

from headscale.policy.compiled import Compiled
from headscale.policy.difference import differences
from headscale.policy.paths import node_end, rows_between
from tests.property.policies import PolicyCase, policy_cases
from tests.property.test_policy_laws import compiled, subject_of


def allowed(engine: Compiled, source: int, target: int) -> list[object]:
    """What the rows between two nodes say, whatever they are called."""
    program = engine.program
    between = rows_between(program, node_end(engine.nodes[source]), node_end(engine.nodes[target]))
    return [(program.rows[row].traffic, sorted(program.rows[row].capabilities)) for row in between]


@given(case=policy_cases())
def test_no_difference_means_the_same_reach(case: PolicyCase) -> None:
    """A policy differs in nothing from itself; when all rules go, whoever reached anything loses, and nobody gains."""
    subjects = [subject_of(node) for node in case.nodes]
    old = compiled(case, subjects=subjects)
    assert differences(old, old) == ()
    closed = compiled(case, text=json.dumps({"acls": []}), subjects=subjects)
    found = differences(old, closed)
    reaches = any(allowed(old, a.id, b.id) for a in subjects for b in subjects)
    assert bool(found) or not reaches
    assert all(each.lost and not each.gained for each in found)
