"""Every recorded answer of the hosted control plane, and a few cases of our own, against the policy engine.

One test a recording. The corpus is not part of the repository (see tests/conformance.py); tests/data/policy has cases
of our own making in the same form, so that this says something anywhere.
"""

import json
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headscale.policy.checks import run_tests
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.parse import PolicyRefused, parse_policy
from headscale.policy.subjects import EXIT_ROUTES, Network, Person, Subject
from headscale.state.routes import elect
from tests.builders import node
from tests.conformance import CATEGORIES, Case, params, same_caps, same_rules, same_ssh

OWN_CASES = Path(__file__).parents[2] / "data" / "policy" / "cases.jsonl"
# The login domains of the tailnet that was recorded.
DOMAINS = frozenset({"example.com"})
# Cases in which we choose to answer otherwise, with the reason. Strict: one that agrees after all fails.
DIFFERENCES: dict[str, str] = {}


def own_cases() -> list[Any]:
    """The cases of our own, one a line."""
    cases = [json.loads(line) for line in OWN_CASES.read_text(encoding="utf-8").splitlines()]
    return [pytest.param(case, id=case["id"]) for case in cases]


@pytest.mark.parametrize("case", [*params(*CATEGORIES), *own_cases()])
def test_answers_as_recorded(case: Case) -> None:
    """The engine takes, refuses and answers what was recorded."""
    found = disagreements(case)
    reason = DIFFERENCES.get(case["id"])
    if reason is not None:
        assert found, f"{case['id']} agrees by now: take it off the list ({reason})"
        pytest.xfail(reason)
    assert not found, "\n".join(found)


def disagreements(case: Case) -> list[str]:
    """In what the engine answers this case otherwise than was recorded."""
    expected = case["expected"]
    try:
        compiled = submitted(case)
    except PolicyRefused as refusal:
        if expected["accepted"]:
            return [f"refused: {refusal}"]
        error = expected["error"]
        if error["match"] == "substring" and error["message"] not in str(refusal):
            return [f"the refusal {str(refusal)!r} does not say {error['message']!r}"]
        return []
    if not expected["accepted"]:
        return [f"accepted; recorded was the refusal {expected['error']['message']!r}"]
    primaries = _primaries(case)
    found = []
    for check in (_filters, _ssh_rules, _caps, _addresses):
        found += check(case, compiled)
    return [
        *found,
        *_peers(case, compiled, primaries),
        *_primary(case, primaries),
        *_approvals(case, compiled),
    ]


def submitted(case: Case) -> Compiled:
    """The case's policy after all steps that the hosted service makes of a submission. Raises PolicyRefused."""
    people = {
        user["id"]: Person(user["id"], user["name"], user["email"], roles=frozenset(user["roles"]))
        for user in case["users"]
    }
    document = parse_policy(case["policy"], domains=DOMAINS)
    compiled = compile_policy(
        document, people=people, subjects=_subjects(case).values(), base_url="https://unused"
    )
    if complaints := run_tests(compiled):
        raise PolicyRefused(complaints)
    return compiled


def _subjects(case: Case) -> dict[str, Subject]:
    ids = {user["name"]: user["id"] for user in case["users"]}
    return {
        node["name"]: Subject(
            node["id"],
            ids[node["user"]] if "user" in node else None,
            tuple(node.get("tags", ())),
            ip_address(node["ipv4"]),  # type: ignore[arg-type]
            ip_address(node["ipv6"]),  # type: ignore[arg-type]
            tuple(map(ip_network, node.get("approved_routes", ()))),
        )
        for node in case["nodes"]
    }


def _wire(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


def _each(case: Case, check: Callable[[int, dict[str, Any]], str | None]) -> list[str]:
    """What the check says of each recorded node."""
    ids = {node["name"]: node["id"] for node in case["nodes"]}
    said = [
        (name, check(ids[name], recorded)) for name, recorded in case["expected"].get("nodes", {}).items()
    ]
    return [f"{name}: {problem}" for name, problem in said if problem]


def _filters(case: Case, compiled: Compiled) -> list[str]:
    def check(node_id: int, recorded: dict[str, Any]) -> str | None:
        want, got = recorded["filter_rules"], _wire(compiled.filter_of(node_id))
        return None if same_rules(want, got) else f"filter {got}, recorded {want}"

    return _each(case, check)


def _ssh_rules(case: Case, compiled: Compiled) -> list[str]:
    def check(node_id: int, recorded: dict[str, Any]) -> str | None:
        policy = compiled.ssh_of(node_id)
        want, got = recorded["ssh_rules"], _wire(policy.rules) if policy else []
        return None if same_ssh(want, got) else f"SSH rules {got}, recorded {want}"

    return _each(case, check) if case["category"] in ("ssh", "sshtest") else []


def _caps(case: Case, compiled: Compiled) -> list[str]:
    updates = bool((case.get("settings") or {}).get("devices_auto_updates_on"))
    baseline: dict[str, Any] = {
        "https://tailscale.com/cap/file-sharing": [],
        "https://tailscale.com/cap/ssh": [],
        "default-auto-update": [updates],
    }

    def check(node_id: int, recorded: dict[str, Any]) -> str | None:
        want, got = recorded["cap_map"], {**baseline, **_wire(compiled.caps_of(node_id))}
        return None if same_caps(want, got) else f"capabilities {got}, recorded {want}"

    return _each(case, check) if case["category"] == "nodeattrs" else []


def _addresses(case: Case, compiled: Compiled) -> list[str]:
    nodes = {node["id"]: node for node in case["nodes"]}

    def check(node_id: int, recorded: dict[str, Any]) -> str | None:
        node, hidden = nodes[node_id], compiled.hides_ipv4(node_id)
        shown = [f"{node['ipv6']}/128"] if hidden else [f"{node['ipv4']}/32", f"{node['ipv6']}/128"]
        want = recorded.get("addresses", [f"{node['ipv4']}/32", f"{node['ipv6']}/128"])
        return None if set(want) == set(shown) else f"addresses {shown}, recorded {want}"

    return _each(case, check) if case["category"] == "nodeattrs" else []


def _peers(case: Case, compiled: Compiled, primaries: dict[Network, int]) -> list[str]:
    ids = {node["name"]: node["id"] for node in case["nodes"]}
    names = {node_id: name for name, node_id in ids.items()}

    def check(node_id: int, recorded: dict[str, Any]) -> str | None:
        want = recorded["peers"]
        got = {names[peer] for peer in compiled.peers_of(node_id)}
        one_by_one = {name for name, peer in ids.items() if compiled.sees(node_id, peer)}
        if not got == one_by_one == set(want):
            return f"peers {sorted(got)} ({sorted(one_by_one)}), recorded {sorted(want)}"
        for name in want.keys() - set(case.get("unsettled", ())):
            shown = {str(route) for route in compiled.routes_for(node_id, ids[name], primaries)}
            if shown != set(want[name].get("routes", ())):
                return f"routes of {name} {sorted(shown)}, recorded {want[name].get('routes', [])}"
            caps = _wire(compiled.peer_caps_of(ids[name]))
            if case["category"] == "nodeattrs" and not same_caps(want[name].get("cap_map"), caps):
                return f"capabilities of {name} {caps}, recorded {want[name].get('cap_map')}"
        return None

    return _each(case, check)


def _primaries(case: Case) -> dict[Network, int]:
    """Which router each subnet route goes through, when all nodes are online and registered in order."""
    routers: dict[Network, list[int]] = {}
    for subject in _subjects(case).values():
        for route in subject.routes:
            if route not in EXIT_ROUTES:
                routers.setdefault(route, []).append(subject.id)
    elected = {route: elect([node(i, online=True) for i in ids], None) for route, ids in routers.items()}
    return {route: primary for route, primary in elected.items() if primary is not None}


def _primary(case: Case, primaries: dict[Network, int]) -> list[str]:
    def check(node_id: int, recorded: dict[str, Any]) -> str | None:
        want = set(recorded.get("primary_routes", ()))
        got = {str(route) for route, primary in primaries.items() if primary == node_id}
        settled = next(n["name"] for n in case["nodes"] if n["id"] == node_id) not in case.get(
            "unsettled", ()
        )
        return f"primary for {sorted(got)}, recorded {sorted(want)}" if settled and got != want else None

    return _each(case, check)


def _approvals(case: Case, compiled: Compiled) -> list[str]:
    subjects = _subjects(case)
    return [
        f"{node['name']}: approves {route}: {not approved}, recorded {approved}"
        for node in case["nodes"]
        for route in node.get("routable_ips", ())
        for approved in [route in node.get("approved_routes", ())]
        if compiled.approves(subjects[node["name"]], ip_network(route)) != approved
    ]
