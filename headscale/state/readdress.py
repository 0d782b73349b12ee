"""An administrator gives a node another IPv4 address."""

from dataclasses import replace
from ipaddress import IPv4Address

from headscale.errors import Conflict, Malformed
from headscale.records import Node, Update
from headscale.state.addresses import REST, is_given
from headscale.state.effect import Effect, Moment
from headscale.state.nodes import own_node
from headscale.state.snapshot import Snapshot, put_node


def set_ipv4(snapshot: Snapshot, moment: Moment, *, node_id: int, address: IPv4Address) -> Effect[Node]:
    """The node has this address from now on, and its old one rests.

    Raises Malformed for one that no node may have, Conflict for one that is another's, or was until just now.
    """
    node = own_node(snapshot, node_id)
    if node.ipv4 == address:
        return Effect(snapshot, node)
    prefix = snapshot.settings.prefix_v4
    if prefix is None:
        raise Malformed("this tailnet has no IPv4 prefix: configure prefixes.v4 first")
    if address not in prefix or not is_given(address, prefix):
        raise Malformed(f"{address} is no address for a node: expected one of {prefix} that is not reserved")
    holder = snapshot.node_by_address.get(address)
    if holder is not None:
        raise Conflict(f"{address} is node {holder}'s")
    released = snapshot.released.get(address)
    if released is not None and moment.now - released < REST:
        free = released + REST
        raise Conflict(f"{address} was a node's until just now: it rests until {free:%Y-%m-%d %H:%M:%S} UTC")
    changed = replace(node, ipv4=address)
    after = put_node(snapshot, changed)
    if node.ipv4 is not None:
        after = replace(after, released=after.released.set(node.ipv4, moment.now))
    return Effect(after, changed, (Update(changed),), frozenset({node_id}))
