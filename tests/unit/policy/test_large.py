"""Policies that are large, deep or odd: an answer or a clear error, and soon.

The limits of time are those of a hang, not of a speed: how long things take is measured in benchmarks/.
"""

import json
from typing import Any

import pytest

from headscale.policy.checks import run_tests
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.parse import PolicyRefused, parse_policy
from headscale.policy.subjects import Person
from tests.unit.policy.small import device, tagged

pytestmark = pytest.mark.timeout(60)

PEOPLE = {i: Person(i, f"u{i}", f"u{i}@example.com") for i in range(1, 201)}
NODES = [*(device(i, PEOPLE[i]) for i in range(1, 201)), *(tagged(i, "tag:web") for i in range(201, 221))]


def answered(policy: dict[str, Any]) -> Compiled:
    """The policy after everything that is asked of one."""
    engine = compile_policy(parse_policy(json.dumps(policy)), people=PEOPLE, subjects=NODES)
    run_tests(engine)
    for node in NODES:
        engine.filter_of(node.id)
        engine.peers_of(node.id)
    return engine


def acl(src: list[str], *dst: str) -> dict[str, Any]:
    return {"action": "accept", "src": src, "dst": list(dst)}


def test_ten_thousand_groups() -> None:
    """Each with ten users and a rule of its own."""
    groups = {
        f"group:g{n}": [f"u{(n * 7 + k) % 200 + 1}@example.com" for k in range(10)] for n in range(10_000)
    }
    rules = [acl([name], f"tag:web:{n + 1}") for n, name in enumerate(groups)]
    engine = answered({"groups": groups, "tagOwners": {"tag:web": []}, "acls": rules})
    assert engine.sees(1, 201)


def test_a_rule_for_a_thousand_times_a_thousand() -> None:
    """A thousand sources, and a thousand targets with ports of their own."""
    sources = [f"10.{n // 250}.{n % 250}.0/24" for n in range(1000)]
    targets = [f"u{n % 200 + 1}@example.com:{n + 1}" for n in range(1000)]
    assert len(answered({"acls": [acl(sources, *targets)]}).filter_of(1)) == 1


def test_many_tests_of_everybody() -> None:
    """Nodes that no rule tells apart are tested once."""
    test = {"src": "autogroup:member", "accept": ["tag:web:22"], "deny": ["tag:web:23"]}
    policy = {
        "tagOwners": {"tag:web": []},
        "acls": [acl(["autogroup:member"], "tag:web:22")],
        "tests": [test] * 500,
    }
    assert not run_tests(answered(policy))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"acls":' * 100_000, '{"groups": {"group:a": ' + "[" * 100_000]
)
def test_a_hundred_thousand_levels(text: str) -> None:
    """Nesting that no policy has is refused by its limit, not by a stack that overflows."""
    with pytest.raises(PolicyRefused, match="128"):
        parse_policy(text)


def test_more_than_ten_mebibytes() -> None:
    """The limit on size says itself."""
    with pytest.raises(PolicyRefused, match="10,485,760"):
        parse_policy('{"acls": []} //' + "x" * 10 * 1024 * 1024)


def test_a_million_comments() -> None:
    """Comments cost nothing but their reading."""
    assert parse_policy("{\n" + "//\n" * 1_000_000 + '"acls": []}').restricts


def test_groups_and_tags_in_circles() -> None:
    """Groups do not nest, so no circle of them is taken; tags may own each other, and own no more by it."""
    with pytest.raises(PolicyRefused, match="group members cannot be recursive"):
        parse_policy('{"groups": {"group:a": ["group:b"], "group:b": ["group:a"]}}')
    owners = {f"tag:t{n}": [f"tag:t{(n + 1) % 1000}"] for n in range(1000)}
    engine = answered({"tagOwners": owners, "acls": []})
    assert not engine.owns_tag("tag:t0", person_id=1)


def test_unknown_names_by_the_thousand() -> None:
    """The first hundred complaints are given, and the number of the rest."""
    hosts = {f"host{n}": "10.0.0.1" for n in range(900)}
    rules = [acl([f"hoost{n}"], "*:*") for n in range(20_000)]
    with pytest.raises(PolicyRefused, match="and 19900 more"):
        parse_policy(json.dumps({"hosts": hosts, "acls": rules}))


def test_ranges_that_have_every_node() -> None:
    """Thousands of ranges, each with all nodes in it: nobody is compared with them one by one."""
    ranges = [f"100.64.0.0-100.64.1.{n % 250}" for n in range(2_000)]
    rules = [acl([text], f"{text}:{n + 1}") for n, text in enumerate(ranges)]
    engine = answered({"acls": rules})
    assert len(engine.filter_of(1)[0].dst_ports) == 8
    assert engine.filter_key(1) == engine.filter_key(2)


def test_thousands_of_tests_of_thousands_of_rules() -> None:
    """Each is answered by the few rules that carry its packet."""
    ports = range(1, 5_001)
    policy = {
        "tagOwners": {"tag:web": []},
        "acls": [acl(["autogroup:member"], f"tag:web:{port}") for port in ports],
        "tests": [{"src": f"u{port % 200 + 1}@example.com", "accept": [f"tag:web:{port}"]} for port in ports],
    }
    assert not run_tests(answered(policy))
