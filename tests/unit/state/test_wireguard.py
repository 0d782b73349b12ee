"""Plain WireGuard servers as nodes of the tailnet."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from msgspec import structs

from headscale.errors import Conflict
from headscale.keys import NodeKey
from headscale.mapper.render import peer_node
from headscale.records import Advance, Delete, Insert, Update, WireGuardPeer
from headscale.state.approvals import approve_routes
from headscale.state.attributes import set_attributes
from headscale.state.nodes import delete_node, expire_node, rename_node
from headscale.state.preferences import authorize_node
from headscale.state.presence import stay_away
from headscale.state.readdress import set_ipv4
from headscale.state.snapshot import Snapshot
from headscale.state.tags import set_tags
from headscale.state.wireguard import provide
from headscale.tailcfg.hostinfo import Location
from tests.builders import SETTINGS, moment, nkey, node, tailnet, with_nodes, with_policy_text

STO = WireGuardPeer(
    name="sto1",
    public_key=NodeKey("nodekey:" + "ab" * 32),
    endpoints=("192.0.2.1:51820",),
    tags=("tag:vpn",),
    routes=("0.0.0.0/0", "::/0"),
    dns=("10.64.0.1",),
    location=Location("Sweden", "SE", "Stockholm", "STO"),
)
POLICY = """{
    "tagOwners": {"tag:vpn": []},
    "grants": [{"src": ["alice@"], "dst": ["autogroup:internet"], "ip": ["*"]}],
}"""


def world() -> Snapshot:
    nodes = (node(1, online=True), node(2, user_id=2, online=True))
    return with_policy_text(with_nodes(tailnet("alice", "bob"), *nodes), POLICY)


def provided(snapshot: Snapshot, *peers: WireGuardPeer) -> Snapshot:
    return provide(snapshot, moment(), peers=peers).snapshot


def test_a_peer_is_a_tagged_node_with_its_routes_in_force() -> None:
    effect = provide(world(), moment(), peers=[STO])
    made = effect.snapshot.nodes[3]
    assert effect.writes == (Insert(made), Advance(effect.writes[1].counter, 3))  # type: ignore[union-attr]
    assert (made.given_name, made.user_id, made.tags, made.online) == ("sto1", None, ("tag:vpn",), True)
    assert len(made.addresses) == 2
    assert effect.touched == effect.snapshot.gateways == {3}


def test_clients_learn_what_it_is() -> None:
    wire = peer_node(SETTINGS, provided(world(), STO).nodes[3])
    assert wire.is_wireguard_only
    assert [resolver.addr for resolver in wire.exit_node_dns_resolvers] == ["10.64.0.1"]
    assert (wire.endpoints, wire.disco_key, wire.home_derp) == (("192.0.2.1:51820",), "", 0)
    assert wire.hostinfo.location == {
        "Country": "Sweden",
        "CountryCode": "SE",
        "City": "Stockholm",
        "CityCode": "STO",
    }


def test_what_a_client_says_of_its_place_is_not_passed_on() -> None:
    liar = node(1, hostinfo=structs.replace(node(1).hostinfo, location={"Country": "Nowhere"}))
    assert peer_node(SETTINGS, liar).hostinfo.location is None


def test_the_policy_says_who_uses_it() -> None:
    snapshot = provided(world(), STO)
    assert (snapshot.policy.sees(1, 3), snapshot.policy.sees(2, 3)) == (True, False)
    assert len(snapshot.policy.routes_for(1, 3, snapshot.primaries)) == 2


def test_the_same_again_changes_nothing() -> None:
    snapshot = provided(world(), STO)
    again = provide(snapshot, moment(), peers=[STO])
    assert (again.snapshot, again.writes, again.result) == (snapshot, (), 0)


def test_another_key_or_address_is_the_same_node() -> None:
    snapshot = provided(world(), STO)
    moved = replace(STO, public_key=NodeKey("nodekey:" + "cd" * 32), endpoints=("192.0.2.2:51820",))
    effect = provide(snapshot, moment(), peers=[moved])
    assert effect.writes == (Update(effect.snapshot.nodes[3]),)
    assert effect.snapshot.nodes[3].addresses == snapshot.nodes[3].addresses
    assert effect.snapshot.node_by_key[moved.public_key] == 3


def test_one_that_is_named_no_longer_is_gone() -> None:
    snapshot = provided(world(), STO)
    effect = provide(snapshot, moment(), peers=[])
    assert effect.writes == (Delete(snapshot.nodes[3]),)
    assert (len(effect.snapshot.nodes), effect.snapshot.gateways) == (2, frozenset())


def test_a_key_that_a_node_has_is_refused_and_nothing_changes() -> None:
    with pytest.raises(Conflict, match="sto1 has the key of node 1"):
        provide(world(), moment(), peers=[replace(STO, public_key=nkey(1))])


def test_two_may_change_keys_with_each_other() -> None:
    other = replace(STO, name="sto2", public_key=NodeKey("nodekey:" + "cd" * 32))
    snapshot = provided(world(), STO, other)
    with pytest.raises(Conflict, match="has the key of node"):
        provided(
            snapshot, replace(STO, public_key=other.public_key), replace(other, public_key=STO.public_key)
        )


def test_a_restart_does_not_take_it_away() -> None:
    snapshot = provided(world(), STO)
    assert stay_away(snapshot, moment(), node_ids=frozenset({1, 3})).snapshot.nodes[3].online


def test_only_the_configuration_changes_it() -> None:
    snapshot, now = provided(world(), STO), moment()
    for act in (
        lambda: rename_node(snapshot, now, node_id=3, name="x"),
        lambda: expire_node(snapshot, now, node_id=3, expiry=None),
        lambda: delete_node(snapshot, now, node_id=3),
        lambda: approve_routes(snapshot, now, node_id=3, routes=()),
        lambda: set_tags(snapshot, now, node_id=3, tags=("tag:vpn",)),
        lambda: authorize_node(snapshot, now, node_id=3),
        lambda: set_ipv4(snapshot, now, node_id=3, address=IPv4Address("100.64.9.9")),
        lambda: set_attributes(snapshot, now, node_id=3, update={"custom:x": 1}),
    ):
        with pytest.raises(Conflict, match="stands under wireguard_peers in the configuration"):
            act()
