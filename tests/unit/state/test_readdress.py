"""Another IPv4 address for a node."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network

import pytest

from headscale.errors import Conflict, Malformed, NotFound
from headscale.state.addresses import REST
from headscale.state.nodes import delete_node
from headscale.state.readdress import set_ipv4
from headscale.state.snapshot import Snapshot
from tests.builders import NOW, moment, node, tailnet, with_nodes

FREE = IPv4Address("100.64.9.9")


def here() -> Snapshot:
    return with_nodes(tailnet("alice"), node(1), node(2))


def test_a_node_gets_the_address_and_its_old_one_rests() -> None:
    snapshot = here()
    old = snapshot.nodes[1].ipv4
    assert old is not None
    effect = set_ipv4(snapshot, moment(), node_id=1, address=FREE)
    after = effect.snapshot
    assert (effect.result.ipv4, effect.touched) == (FREE, {1})
    assert after.node_by_address[FREE] == 1
    assert old not in after.node_by_address
    assert after.policy.subjects[1].ipv4 == FREE
    with pytest.raises(Conflict, match="rests until"):
        set_ipv4(after, moment(NOW + REST - timedelta(seconds=1)), node_id=2, address=old)
    assert set_ipv4(after, moment(NOW + REST), node_id=2, address=old).result.ipv4 == old


def test_the_address_that_it_has_changes_nothing() -> None:
    snapshot = here()
    address = snapshot.nodes[1].ipv4
    assert address is not None
    assert set_ipv4(snapshot, moment(), node_id=1, address=address).writes == ()


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.1",
        "100.128.0.1",
        "100.64.0.0",
        "100.127.255.255",
        "100.100.100.100",
        "100.115.92.7",
        "0.0.0.0",
    ],
)
def test_an_address_that_no_node_may_have(address: str) -> None:
    with pytest.raises(Malformed, match="no address for a node"):
        set_ipv4(here(), moment(), node_id=1, address=IPv4Address(address))


def test_an_address_that_is_anothers() -> None:
    snapshot = here()
    taken = snapshot.nodes[2].ipv4
    assert taken is not None
    with pytest.raises(Conflict, match="node 2"):
        set_ipv4(snapshot, moment(), node_id=1, address=taken)
    gone = delete_node(snapshot, moment(), node_id=2).snapshot
    with pytest.raises(Conflict, match="rests"):
        set_ipv4(gone, moment(), node_id=1, address=taken)


def test_without_a_node_or_a_prefix_there_is_none() -> None:
    snapshot = here()
    with pytest.raises(NotFound):
        set_ipv4(snapshot, moment(), node_id=9, address=FREE)
    only_v6 = replace(snapshot, settings=replace(snapshot.settings, prefix_v4=None))
    with pytest.raises(Malformed, match="no IPv4 prefix"):
        set_ipv4(only_v6, moment(), node_id=1, address=FREE)
    small = replace(snapshot, settings=replace(snapshot.settings, prefix_v4=IPv4Network("100.64.0.0/24")))
    with pytest.raises(Malformed):
        set_ipv4(small, moment(), node_id=1, address=FREE)
