"""The tailnet at one moment: records with the indexes that questions need.

A snapshot never changes; a step derives the next one. Maps are persistent (HAMT), so deriving one costs the
logarithm of what is there, and an old one that a slow stream still compares with shares almost all of it.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from immutables import Map

from headscale.keys import MachineKey, NodeKey
from headscale.records import Address, Node, PreAuthKey, TailnetSettings, User
from headscale.tailcfg.derpmap import DERPMap

LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All of it. `epoch` grows with every published change; `started_at` is when this process began."""

    settings: TailnetSettings
    derp_map: DERPMap
    epoch: int = 0
    started_at: datetime = LONG_AGO
    users: Map[int, User] = field(default_factory=Map)
    nodes: Map[int, Node] = field(default_factory=Map)
    pre_auth_keys: Map[int, PreAuthKey] = field(default_factory=Map)
    node_by_key: Map[NodeKey, int] = field(default_factory=Map)
    nodes_by_machine: Map[MachineKey, frozenset[int]] = field(default_factory=Map)
    node_by_name: Map[str, int] = field(default_factory=Map)
    node_by_address: Map[Address, int] = field(default_factory=Map)
    key_by_prefix: Map[str, int] = field(default_factory=Map)
    released: Map[Address, datetime] = field(default_factory=Map)
    last_ipv4: IPv4Address | None = None
    last_ipv6: IPv6Address | None = None
    last_user_id: int = 0
    last_node_id: int = 0
    last_key_id: int = 0

    def node_of(self, node_key: NodeKey, machine_key: MachineKey) -> Node | None:
        """The node with this node key on this machine; there is no other way from a request to a node."""
        node_id = self.node_by_key.get(node_key)
        if node_id is None:
            return None
        node = self.nodes[node_id]
        return node if node.machine_key == machine_key else None

    def nodes_on(self, machine_key: MachineKey) -> list[Node]:
        """Every node of a machine (one a user, or a tagged one), oldest first."""
        return [self.nodes[i] for i in sorted(self.nodes_by_machine.get(machine_key, frozenset()))]

    def nodes_owned_by(self, user_id: int) -> list[Node]:
        """The user's own nodes by id; tagged ones are nobody's."""
        return sorted((n for n in self.nodes.values() if n.user_id == user_id), key=lambda n: n.id)


def put_node(snapshot: Snapshot, node: Node) -> Snapshot:
    """The snapshot with this node new or in place of its older self."""
    old = snapshot.nodes.get(node.id)
    if old is None or _indexed(old) != _indexed(node):
        snapshot = _index(_unindex(snapshot, old) if old else snapshot, node)
    return replace(
        snapshot,
        nodes=snapshot.nodes.set(node.id, node),
        last_node_id=max(snapshot.last_node_id, node.id),
    )


def drop_node(snapshot: Snapshot, node: Node, now: datetime) -> Snapshot:
    """The snapshot without this node; its addresses rest from now on."""
    released = snapshot.released
    for address in node.addresses:
        released = released.set(address, now)
    without = _unindex(snapshot, node)
    return replace(without, nodes=without.nodes.delete(node.id), released=released)


def put_user(snapshot: Snapshot, user: User) -> Snapshot:
    """The snapshot with this user new or changed."""
    return replace(
        snapshot,
        users=snapshot.users.set(user.id, user),
        last_user_id=max(snapshot.last_user_id, user.id),
    )


def put_key(snapshot: Snapshot, key: PreAuthKey) -> Snapshot:
    """The snapshot with this pre-auth key new or changed; a prefix never changes."""
    return replace(
        snapshot,
        pre_auth_keys=snapshot.pre_auth_keys.set(key.id, key),
        key_by_prefix=snapshot.key_by_prefix.set(key.prefix, key.id),
        last_key_id=max(snapshot.last_key_id, key.id),
    )


def drop_key(snapshot: Snapshot, key: PreAuthKey) -> Snapshot:
    """The snapshot without this pre-auth key."""
    return replace(
        snapshot,
        pre_auth_keys=snapshot.pre_auth_keys.delete(key.id),
        key_by_prefix=snapshot.key_by_prefix.delete(key.prefix),
    )


def _indexed(node: Node) -> tuple[object, ...]:
    return (node.node_key, node.machine_key, node.given_name, node.ipv4, node.ipv6)


def _index(snapshot: Snapshot, node: Node) -> Snapshot:
    machine = snapshot.nodes_by_machine.get(node.machine_key, frozenset())
    addresses = snapshot.node_by_address
    for address in node.addresses:
        addresses = addresses.set(address, node.id)
    return replace(
        snapshot,
        node_by_key=snapshot.node_by_key.set(node.node_key, node.id),
        nodes_by_machine=snapshot.nodes_by_machine.set(node.machine_key, machine | {node.id}),
        node_by_name=snapshot.node_by_name.set(node.given_name, node.id),
        node_by_address=addresses,
    )


def _unindex(snapshot: Snapshot, node: Node) -> Snapshot:
    rest = snapshot.nodes_by_machine[node.machine_key] - {node.id}
    by_machine = snapshot.nodes_by_machine
    addresses = snapshot.node_by_address
    for address in node.addresses:
        addresses = addresses.delete(address)
    return replace(
        snapshot,
        node_by_key=snapshot.node_by_key.delete(node.node_key),
        nodes_by_machine=by_machine.set(node.machine_key, rest)
        if rest
        else by_machine.delete(node.machine_key),
        node_by_name=snapshot.node_by_name.delete(node.given_name),
        node_by_address=addresses,
    )
