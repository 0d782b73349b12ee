"""Plain WireGuard servers of the configuration as nodes: they have addresses and tags, and the policy says who uses
them.

No client stands behind such a node. It never registers or polls, is taken to be online, and nobody can act as it: its
machine key is one that nobody has the private half of. An administrator changes it in the configuration alone.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import msgspec

from headscale.errors import Conflict
from headscale.keys import ZERO_DISCO_KEY, MachineKey
from headscale.records import (
    Advance,
    Counter,
    Delete,
    Insert,
    Node,
    RegisterMethod,
    Update,
    WireGuardPeer,
    Write,
)
from headscale.state.addresses import allocate
from headscale.state.effect import Effect, Moment
from headscale.state.names import unique_label
from headscale.state.snapshot import Snapshot, drop_node, put_node
from headscale.tailcfg.hostinfo import Hostinfo

OS: Final = "WireGuard"


def provide(snapshot: Snapshot, moment: Moment, *, peers: Iterable[WireGuardPeer]) -> Effect[int]:
    """These peers, and no others of their kind, are nodes; how many changed.

    One that is known by its name keeps its number and addresses. Raises Conflict when a node of somebody's has its key.
    """
    wanted = {peer.name: peer for peer in peers}
    known = {node.hostname: node for node in snapshot.nodes.values() if node.is_wireguard_only}
    after, writes, touched = snapshot, list[Write](), set[int]()
    for name in sorted(known.keys() - wanted.keys()):
        after = drop_node(after, known[name], moment.now)
        writes.append(Delete(known[name]))
        touched.add(known[name].id)
    for name, peer in sorted(wanted.items()):
        before = known.get(name)
        holder = after.node_by_key.get(peer.public_key)
        if holder is not None and (before is None or holder != before.id):
            raise Conflict(f"wireguard_peers: {name} has the key of node {holder}")
        node = _described(before if before is not None else _fresh(after, moment, name, peer), peer)
        if node == before:
            continue
        after = put_node(after, node)
        touched.add(node.id)
        if before is not None:
            writes.append(Update(node))
        else:
            after = replace(after, last_ipv4=node.ipv4, last_ipv6=node.ipv6)
            writes += (Insert(node), Advance(Counter.NODE, node.id))
    return Effect(after, len(touched), tuple(writes), frozenset(touched))


def _fresh(snapshot: Snapshot, moment: Moment, name: str, peer: WireGuardPeer) -> Node:
    ipv4, ipv6 = allocate(snapshot, moment)
    return Node(
        id=snapshot.last_node_id + 1,
        machine_key=MachineKey(f"mkey:{hashlib.sha256(f'wireguard peer {name}'.encode()).hexdigest()}"),
        node_key=peer.public_key,
        disco_key=ZERO_DISCO_KEY,
        hostname=name,
        given_name=unique_label(name, snapshot.node_by_name),
        ipv4=ipv4,
        ipv6=ipv6,
        user_id=None,
        register_method=RegisterMethod.CONFIG,
        last_seen=moment.now,
        created_at=moment.now,
        online=True,
    )


def _described(node: Node, peer: WireGuardPeer) -> Node:
    return replace(
        node,
        node_key=peer.public_key,
        tags=peer.tags,
        hostinfo=Hostinfo(os=OS, hostname=peer.name, routable_ips=peer.routes, location=_place(peer)),
        endpoints=peer.endpoints,
        approved_routes=peer.routes,
        exit_dns=peer.dns,
        online=True,
    )


def _place(peer: WireGuardPeer) -> dict[str, Any] | None:
    return msgspec.to_builtins(peer.location) if peer.location is not None else None
