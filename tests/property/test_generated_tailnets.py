"""Drawn tailnets on fakes: what clients are told adds up to what the policy says. And an engine that says otherwise is
found out, by a tailnet so small that a person sees why.

The same tailnets are built on real clients in scenarios/test_generated.py.
"""

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from harness.clients.netmap import NetMap
from harness.expected import World
from harness.generated.plans import NodePlan, Plan, plans
from harness.generated.twin import Told, twin
from harness.generated.verdicts import Outcome, predict
from harness.oracle import OracleNode, OracleUser
from harness.oracle.values import single
from headscale.policy.compiled import Compiled, compile_policy
from headscale.policy.parse import parse_policy
from headscale.policy.subjects import Person, Subject
from headscale.tailcfg.filters import ANY_PORT, FilterRule, NetPortRange

CAPABILITIES = (113, 131, 142)
EXAMPLES = {50: 5, 200: 10, 5000: 400}
"""By the profile's number for laws without servers; each of these takes a server's start."""

HARD = settings(
    max_examples=EXAMPLES.get(settings().max_examples, 5),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all examples of a test."""
    with asyncio.Runner() as made:
        yield made


def test_what_clients_are_told_is_what_the_policy_says(runner: asyncio.Runner) -> None:
    """Netmaps and packet filters let every packet through that the policy allows, and no other."""

    @HARD
    @given(plan=plans(releases=len(CAPABILITIES)))
    def every(plan: Plan) -> None:
        outcome = runner.run(twin(plan, CAPABILITIES))
        assert not outcome.wrong, outcome.told()

    every()


def on_paper(plan: Plan) -> Outcome:
    """The plan's twin without a server: fakes' netmaps, straight from the engine, a thousand times faster."""
    users = tuple(OracleUser(number, name, "") for number, name in enumerate(plan.users, start=1))
    owners = {user.name: user.id for user in users}
    world = World(
        users, tuple(_node(number, node, owners) for number, node in enumerate(plan.nodes, start=1))
    )
    addresses = {node.name: [str(address) for address in node.addresses] for node in world.nodes}
    engine = compile_policy(
        parse_policy(plan.text),
        people={user.id: Person(user.id, user.name, user.email, user.provider_id) for user in users},
        subjects=[
            Subject(node.id, node.user_id, node.tags, node.ipv4, node.ipv6, node.approved)
            for node in world.nodes
        ],
    )
    netmaps = {node.name: _netmap(engine, world, node.id) for node in world.nodes}
    expected, told = predict(plan, world, addresses), Told(plan, netmaps, addresses)
    seen = {question: told.probe(question) for question in expected.reach}
    return Outcome(plan, expected, seen, {name: told.peers(name) for name in netmaps})


def _node(number: int, plan: NodePlan, owners: dict[str, int]) -> OracleNode:
    approved = tuple(map(ip_network, plan.advertised)) if plan.approved else ()
    return OracleNode(
        id=number,
        name=plan.name,
        user_id=None if plan.tags else owners[plan.owner],
        tags=plan.tags,
        ipv4=IPv4Address(f"100.64.0.{number}"),
        ipv6=IPv6Address(f"fd7a:115c:a1e0::{number:x}"),
        approved=approved,
    )


def _netmap(engine: Compiled, world: World, viewer: int) -> NetMap:
    primaries = {route: node.id for node in world.nodes for route in node.subnets}
    netmap = NetMap(version=CAPABILITIES[-1])
    netmap.packet_filters["base"] = msgspec.json.decode(msgspec.json.encode(engine.filter_of(viewer)))
    for peer in (node for node in world.nodes if node.id in engine.peers_of(viewer)):
        own = [str(single(address)) for address in peer.addresses]
        routes = [str(route) for route in engine.routes_for(viewer, peer.id, primaries)]
        netmap.peers[peer.id] = {"Name": peer.name, "Addresses": own, "AllowedIPs": own + routes}
    return netmap


def shortest(most: int = 300) -> Outcome:
    """Of the shortest plan that is wrong. Fails when none is among so many."""
    found: list[Outcome] = []

    @settings(
        max_examples=most,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(plan=plans(most=2))
    def every(plan: Plan) -> None:
        outcome = on_paper(plan)
        if outcome.wrong:
            found.append(outcome)
            raise AssertionError("wrong")

    with pytest.raises(AssertionError, match="wrong"):
        every()
    return found[-1]


@settings(max_examples=HARD.max_examples * 4, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans())
def test_the_engine_says_what_the_policy_says(plan: Plan) -> None:
    """The same, straight from the engine."""
    outcome = on_paper(plan)
    assert not outcome.wrong, outcome.told()


def test_a_filter_that_ignores_ports_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rule with a port is left, and the table says which pair was let in."""
    honest = Compiled.filter_of

    def careless(self: Compiled, node_id: int) -> tuple[FilterRule, ...]:
        return tuple(
            FilterRule(
                rule.src_ips,
                tuple(NetPortRange(to.ip, ANY_PORT) for to in rule.dst_ports),
                rule.ip_proto,
                rule.cap_grant,
            )
            for rule in honest(self, node_id)
        )

    monkeypatch.setattr(Compiled, "filter_of", careless)
    outcome = shortest()
    rules = [*outcome.plan.policy.get("acls", ()), *outcome.plan.policy.get("grants", ())]
    assert len(rules) <= 2
    assert all(outcome.surprises.values())
    assert {target.transport for _, target in outcome.surprises} <= {"tcp", "udp"}
    assert "expected no, was answered" in outcome.told()


def test_a_peer_that_leaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that shows nobody to anybody is left, and the sentence says who sees whom."""
    monkeypatch.setattr(Compiled, "peers_of", lambda self, viewer: frozenset(self.subjects) - {viewer})
    outcome = shortest()
    assert not outcome.surprises
    assert "n1 sees ['n2'], and is to see []" in outcome.told()


def test_a_server_that_leaks_is_found_on_fakes(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole of it once: such an engine in a server, and fakes who are told of a peer."""
    plan = Plan((NodePlan("n1", 0, "alice"), NodePlan("n2", 1, "bob")), {"acls": []}, opened_first=True)
    assert not runner.run(twin(plan, CAPABILITIES)).wrong
    monkeypatch.setattr(Compiled, "peers_of", lambda self, viewer: frozenset(self.subjects) - {viewer})
    assert len(runner.run(twin(plan, CAPABILITIES)).strangers) == 2
