"""What should be: the server's list in the oracle's words, and the matrix that follows for these clients."""

import json
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any, cast

import pytest

from harness.clients.base import Ability, Client
from harness.errors import HarnessError
from harness.expected import look, matrix
from harness.policies import ALLOW_ALL, NOBODY, acl, policy
from harness.servers.base import ControlServer
from harness.services import Service
from tests.unit.harness.members import Listing, client, node

ALICES, BOBS = node(1, "a", "1"), node(2, "b", "2")


async def expected(text: str, clients: Sequence[Client]) -> dict[str, bool]:
    """The matrix by its text: `a b tcp 100.64.0.2:80`."""
    web = Service("web", range(80, 81))
    for each in clients:
        await web.offer(each)
    world = await look(cast(ControlServer, Listing(ALICES, BOBS)))
    found = matrix(json.loads(text), world, clients, services=[web])
    return {f"{prober.name} {target}": want for (prober, target), want in found.items()}


async def test_every_pair_is_there_in_both_families_and_every_protocol() -> None:
    """TCP, UDP and ICMP, there and back."""
    found = await expected(ALLOW_ALL, [client(1, "a"), client(2, "b")])
    assert len(found) == 2 * 2 * 3
    assert all(found.values())


async def test_a_rule_for_one_direction_and_port_is_just_that() -> None:
    """Who may reach anything may ping it."""
    found = await expected(policy(acl("alice@", "bob@:80", proto="tcp")), [client(1, "a"), client(2, "b")])
    assert {way for way, want in found.items() if want} == {
        "a b tcp 100.64.0.2:80",
        "a b tcp [fd7a:115c:a1e0::2]:80",
        "a b icmp 100.64.0.2",
        "a b icmp fd7a:115c:a1e0::2",
    }


async def test_a_filter_that_takes_rules_at_their_word_lets_no_ping_in_by_another_rule() -> None:
    """tailscale-rs wants ICMP named."""
    rules = policy(acl("alice@", "bob@:80", proto="tcp"))
    found = await expected(rules, [client(1, "a"), client(2, "b", Ability.FILTER)])
    assert found["a b icmp 100.64.0.2"] is False


async def test_a_client_that_would_not_hear_the_answer_is_left_out() -> None:
    """Neither yes nor no would be the policy's doing; with a rule for the way back it is a yes."""
    one_way, both_ways = policy(acl("alice@", "bob@:*")), ALLOW_ALL
    clients = [client(1, "a", Ability.FILTER, Ability.UDP_FLOWS), client(2, "b")]
    assert "a b tcp 100.64.0.2:80" not in await expected(one_way, clients)
    assert (await expected(both_ways, clients))["a b tcp 100.64.0.2:80"] is True


async def test_only_udp_is_left_out_for_a_client_without_udp_flows() -> None:
    """tailscaled's own network stack before 1.102."""
    clients = [client(1, "a", Ability.UDP_FLOWS), client(2, "b")]
    found = await expected(policy(acl("alice@", "bob@:*")), clients)
    assert found["a b tcp 100.64.0.2:80"] is True
    assert "a b udp 100.64.0.2:80" not in found


async def test_denied_udp_is_left_out_for_a_client_with_one_port() -> None:
    """Its old flow goes on: that shows nothing."""
    clients = [client(1, "a", Ability.UDP_PORTS), client(2, "b")]
    found = await expected(NOBODY, clients)
    assert "a b udp 100.64.0.2:80" not in found
    assert found["a b tcp 100.64.0.2:80"] is False
    assert found["b a udp 100.64.0.1:80"] is False


async def test_icmp_needs_both_ends() -> None:
    """A client that cannot ping is not asked to."""
    found = await expected(ALLOW_ALL, [client(1, "a", Ability.ICMP), client(2, "b")])
    assert not [way for way in found if " icmp " in way]


async def test_a_tagged_node_is_nobodys() -> None:
    """Whatever user the server names for it."""
    world = await look(cast(ControlServer, Listing(node(1, "a", "2147455555", "tag:web"))))
    assert (world.nodes[0].user_id, world.nodes[0].tags) == (None, ("tag:web",))


async def test_routes_in_force_are_the_oracles_approved_ones() -> None:
    """Subnets and exit routes alike."""
    listed = node(1, "a", "1", routes=("10.0.0.0/8", "0.0.0.0/0"))
    world = await look(cast(ControlServer, Listing(listed)))
    assert world.nodes[0].subnets == (ip_network("10.0.0.0/8"),)
    assert world.nodes[0].is_exit_node


async def test_a_client_that_the_server_does_not_list_is_an_error() -> None:
    """It has no place in a prediction."""
    world = await look(cast(ControlServer, Listing(ALICES)))
    with pytest.raises(HarnessError, match="no node with an address of b"):
        world.node_of(client(2, "b"))


async def test_peers_are_named_as_clients_name_them() -> None:
    """By the given name, in both directions of a rule."""
    world = await look(cast(ControlServer, Listing(ALICES, BOBS, node(3, "c", "2"))))
    rules: Any = json.loads(policy(acl("alice@", "bob@:80")))
    assert world.peers_of(rules, world.nodes[0]) == ["b", "c"]
    assert world.peers_of(rules, world.nodes[1]) == ["a"]
