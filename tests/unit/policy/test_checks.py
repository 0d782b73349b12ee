"""The tests that a policy carries about itself, and what is said when they fail."""

from typing import Any

import pytest

from headscale.policy.checks import FAILED, run_tests
from headscale.policy.compiled import compile_policy
from tests.unit.policy.small import ANN, BOB, acl, device, engine, tagged

RULES: dict[str, Any] = {
    "groups": {"group:g": ["bob@"], "group:empty": []},
    "hosts": {"lab": "10.0.0.0/24", "box": "100.64.0.4"},
    "acls": [
        acl("ann@", "tag:web:22", proto="tcp"),
        acl("ann@", "10.0.0.0/24:80"),
        acl("group:g", "tag:web:53", proto="udp"),
        acl("autogroup:member", "autogroup:self:5900"),
    ],
    "ssh": [
        {"action": "accept", "src": ["ann@"], "dst": ["tag:web"], "users": ["pi", "autogroup:nonroot"]},
        {"action": "check", "src": ["ann@"], "dst": ["tag:web"], "users": ["root"]},
        {"action": "accept", "src": ["ann@"], "dst": ["ann@"], "users": ["root"]},
    ],
}
NODES = (device(1, ANN), device(2, ANN), device(3, BOB), tagged(4, "tag:web"))


def failures(section: str, test: dict[str, Any]) -> list[str]:
    """What is wrong, without the words that stand before each."""
    found = run_tests(engine({**RULES, section: [test]}, *NODES))
    assert all(complaint.path == f"{section}[0]" and complaint.line for complaint in found)
    assert all(complaint.message.startswith(f"{FAILED}: ") for complaint in found)
    return [complaint.message.removeprefix(f"{FAILED}: ") for complaint in found]


@pytest.mark.parametrize(
    "test",
    [
        {"src": "ann@", "accept": ["tag:web:22", "10.0.0.9:80", "lab:80", "box:22", "autogroup:self:5900"]},
        {"src": "ann@", "proto": "tcp", "accept": ["tag:web:22"], "deny": ["tag:web:23", "bob@:22"]},
        {"src": "ann@", "proto": "udp", "deny": ["tag:web:22"]},
        {"src": "group:g", "accept": ["tag:web:53"], "deny": ["10.0.0.9:80", "ann@:5900"]},
        {"src": "100.64.0.1", "accept": ["tag:web:22"]},
        {"src": "eve@", "deny": ["tag:web:22"], "accept": ["autogroup:self:5900"]},
        {"src": "tag:db", "deny": ["tag:web:22"]},
        {"src": "ann@", "deny": ["tag:db:22"]},
        {"src": "autogroup:member", "accept": ["autogroup:self:5900"]},
    ],
)
def test_tests_that_pass(test: dict[str, Any]) -> None:
    """Users, groups, tags and addresses, with nodes or without yet; without a protocol TCP or UDP will do."""
    assert failures("tests", test) == []


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"src": "ann@", "accept": ["tag:web:23"]}, ["node 1 cannot reach tag:web:23 (node 4)"]),
        ({"src": "ann@", "deny": ["tag:web:22"]}, ["node 1 can reach tag:web:22 (node 4)"]),
        (
            {"src": "ann@", "proto": "udp", "accept": ["tag:web:22"]},
            ["node 1 cannot reach tag:web:22 (node 4)"],
        ),
        ({"src": "ann@", "accept": ["10.0.0.9:81"]}, ["node 1 cannot reach 10.0.0.9:81"]),
        ({"src": "eve@", "accept": ["box:22"]}, ["eve@ cannot reach box:22"]),
        ({"src": "eve@", "accept": ["tag:db:22"]}, ["eve@ cannot reach tag:db:22"]),
        (
            {"src": "autogroup:member", "accept": ["tag:web:22"], "deny": ["tag:web:53"]},
            ["node 3 cannot reach tag:web:22 (node 4)", "node 3 can reach tag:web:53 (node 4)"],
        ),
        ({"src": "ann@"}, ["neither accept nor deny says what to expect"]),
        ({"src": "ann@", "accept": [], "deny": []}, ["neither accept nor deny says what to expect"]),
        ({"src": "", "accept": ["*:1"]}, ["src=a name must not be empty"]),
        ({"src": "tag:nope", "accept": ["*:1"]}, ['src=tag not found: "tag:nope"']),
        (
            {"src": "autogroup:self", "accept": ["*:1"]},
            ['"autogroup:self" not valid on the src side of a rule'],
        ),
        ({"src": "ghost@", "accept": ["*:1"]}, ['"ghost@" stands for nobody']),
        ({"src": "group:empty", "deny": ["*:1"]}, ['"group:empty" stands for nobody']),
        (
            {"src": "ann@", "deny": ["ghost@:1"]},
            ['"ghost@" stands for nobody, seen from node 1'],
        ),
        (
            {"src": "tag:web", "deny": ["autogroup:self:1"]},
            ['"autogroup:self" stands for nobody, seen from node 4'],
        ),
        ({"src": "ann@", "accept": ["tag:web"]}, ['port range "web": invalid first integer']),
        ({"src": "ann@", "accept": ["box"]}, ['"box": expected a port after a colon']),
        ({"src": "ann@", "accept": ["tag:nope:1"]}, ['dst=tag not found: "tag:nope"']),
        ({"src": "ann@", "accept": ["tag:web:*"]}, ['"tag:web:*": a test is about one port']),
        ({"src": "ann@", "accept": ["tag:web:1-2"]}, ['"tag:web:1-2": a test is about one port']),
        ({"src": "ann@", "accept": ["tag:web:1,2"]}, ['"tag:web:1,2": a test is about one port']),
        (
            {"src": "ann@", "deny": ["10.0.0.0/8:1"]},
            ['"10.0.0.0/8:1": a test is about one address, not a network'],
        ),
        (
            {"src": "ann@", "deny": ["10.0.0.1-10.0.0.2:1"]},
            ['"10.0.0.1-10.0.0.2:1": a test is about one address, not a network'],
        ),
        (
            {"src": "ann@", "deny": ["autogroup:internet:1"]},
            ['"autogroup:internet:1": autogroup:internet cannot be tested'],
        ),
        (
            {"src": "ann@", "deny": ["autogroup:danger-all:1"]},
            ['"autogroup:danger-all" not valid on the dst side of a rule'],
        ),
        (
            {"src": "ann@", "proto": "icmp", "accept": ["*:1"]},
            ['proto="icmp": only tcp, udp and sctp can be tested'],
        ),
    ],
)
def test_tests_that_fail(test: dict[str, Any], said: list[str]) -> None:
    """Each expectation that does not hold, once for nodes that are alike, and each word that names nothing."""
    assert failures("tests", test) == said


@pytest.mark.parametrize(
    "test",
    [
        {"src": "ann@", "dst": ["tag:web"], "accept": ["pi", "anybody"], "check": ["root"]},
        {"src": "ann@", "dst": ["ann@", "100.64.0.2"], "accept": ["root"], "deny": ["pi"]},
        {"src": "bob@", "dst": ["tag:web", "box"], "deny": ["root", "pi"]},
        {"src": "ann@", "dst": ["autogroup:self"], "accept": ["root"]},
        {"src": "eve@", "dst": ["tag:web"], "deny": ["pi"]},
        {"src": "100.64.0.1", "dst": ["tag:web"], "accept": ["pi"]},
        {"src": "ann@", "dst": ["tag:web"], "deny": [""]},
    ],
)
def test_ssh_tests_that_pass(test: dict[str, Any]) -> None:
    """The first rule with the address and the user decides, as at the client."""
    assert failures("sshTests", test) == []


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (
            {"src": "ann@", "dst": ["tag:web"], "deny": ["pi"], "check": ["pi"], "accept": ["root"]},
            [
                f'node 1 as "{user}" at tag:web: {found}, not {wanted}'
                for user, found, wanted in (
                    ("root", "check", "accept"),
                    ("pi", "accept", "deny"),
                    ("pi", "accept", "check"),
                )
            ],
        ),
        (
            {"src": "eve@", "dst": ["tag:web"], "accept": ["pi"]},
            ['eve@ as "pi" at tag:web: deny, not accept'],
        ),
        (
            {"src": "bob@", "dst": ["autogroup:self"], "accept": ["x"]},
            ['node 3 as "x" at autogroup:self: deny, not accept'],
        ),
        (
            {"src": "bob@", "dst": ["tag:db"], "deny": ["x"]},
            ['"tag:db" stands for no node, seen from node 3'],
        ),
        (
            {"src": "eve@", "dst": ["autogroup:self"], "deny": ["x"]},
            ['"autogroup:self" stands for no node, seen from eve@'],
        ),
        ({"src": "bob@", "dst": ["tag:nope"], "deny": ["x"]}, ['tag not found: "tag:nope"']),
        ({"src": "ghost@", "dst": ["tag:web"], "deny": ["x"]}, ['"ghost@" stands for nobody']),
        ({"src": "tag:nope", "dst": ["tag:web"], "deny": ["x"]}, ['src=tag not found: "tag:nope"']),
        ({"src": "bob@", "dst": ["tag:web"]}, ["an SSH test needs dst, and accept, deny or check"]),
        ({"src": "bob@", "dst": [], "deny": ["x"]}, ["an SSH test needs dst, and accept, deny or check"]),
    ],
)
def test_ssh_tests_that_fail(test: dict[str, Any], said: list[str]) -> None:
    """Each session that ends otherwise than expected, once for nodes of a kind, and each word that names nothing."""
    assert failures("sshTests", test) == said


def test_an_ssh_test_of_a_named_network() -> None:
    """A name from `hosts` may be a whole network: all nodes in it are entered."""
    test = {"src": "ann@", "dst": ["net"], "accept": ["pi"]}
    policy = {**RULES, "hosts": {"net": "100.64.0.0/24"}, "sshTests": [test]}
    named = {complaint.message.partition("at net: ")[2] for complaint in run_tests(engine(policy, *NODES))}
    assert named == {"deny, not accept"}  # the tagged ones let ann in, people's devices do not


def test_a_failure_says_where_the_test_stands() -> None:
    """Every failing test is told of, each with its own place."""
    test = {"src": "ann@", "accept": ["tag:web:23"]}
    found = run_tests(
        engine({**RULES, "tests": [test, {"src": "ann@", "accept": ["tag:web:22"]}, test]}, *NODES)
    )
    assert [complaint.path for complaint in found] == ["tests[0]", "tests[2]"]


def test_no_policy_has_no_tests() -> None:
    """Nothing fails where nothing was written."""
    assert run_tests(compile_policy(None, people={}, subjects=NODES)) == ()
