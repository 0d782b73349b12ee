"""What an administrator does to a node: find, rename, expire, delete."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from headscale.errors import Conflict, NotFound
from headscale.records import Delete, Node, Update
from headscale.state.effect import Effect, Moment
from headscale.state.names import check_label
from headscale.state.snapshot import Snapshot, drop_node, put_node

# How long clients have to find a server that was away: their back-off reaches 45 s.
COMING_BACK: Final = timedelta(minutes=2)


def find_node(snapshot: Snapshot, node_id: int) -> Node:
    """The node with this id; raises NotFound."""
    node = snapshot.nodes.get(node_id)
    if node is None:
        raise NotFound(f"no node has the id {node_id}")
    return node


def own_node(snapshot: Snapshot, node_id: int) -> Node:
    """The node with this id, to be changed; raises NotFound, and Conflict for one that the configuration describes."""
    node = find_node(snapshot, node_id)
    if node.is_wireguard_only:
        raise Conflict(f"node {node_id} stands under wireguard_peers in the configuration: change it there")
    return node


def rename_node(snapshot: Snapshot, moment: Moment, *, node_id: int, name: str) -> Effect[Node]:
    """Another given name, exactly as asked: an administrator's choice is refused rather than mended."""
    node = own_node(snapshot, node_id)
    label = check_label(name)
    holder = snapshot.node_by_name.get(label)
    if holder == node_id:
        return Effect(snapshot, node)
    if holder is not None:
        raise Conflict(f"node name is not unique: {label!r} is node {holder}")
    return _changed(snapshot, replace(node, given_name=label))


def expire_node(snapshot: Snapshot, moment: Moment, *, node_id: int, expiry: datetime | None) -> Effect[Node]:
    """The node's key ends at `expiry`, past or future; None means that it never ends."""
    node = own_node(snapshot, node_id)
    return _changed(
        snapshot,
        replace(node, expiry=expiry, expired=expiry is not None and expiry <= moment.now),
    )


def delete_node(snapshot: Snapshot, moment: Moment, *, node_id: int) -> Effect[Node]:
    """The node is gone for everyone; its addresses rest before they are given out again."""
    node = own_node(snapshot, node_id)
    return Effect(drop_node(snapshot, node, moment.now), node, (Delete(node),), frozenset({node.id}))


def expire_due(snapshot: Snapshot, moment: Moment) -> Effect[tuple[Node, ...]]:
    """Flag the nodes whose key has ended since the last look, so that they and their peers are told."""
    due = [
        replace(node, expired=True)
        for node in snapshot.nodes.values()
        if not node.expired and node.expiry is not None and node.expiry <= moment.now
    ]
    after = snapshot
    for node in due:
        after = put_node(after, node)
    return Effect(after, tuple(due), (), frozenset(node.id for node in due))


def mark_ending(snapshot: Snapshot, moment: Moment) -> Effect[None]:
    """Flag the nodes whose key ends soon, and no others, so that their users are told."""
    soon = moment.now + snapshot.settings.expiry_warning
    after, touched = snapshot, set()
    for node in snapshot.nodes.values():
        ending = node.expiry is not None and not node.expired and node.expiry <= soon
        if ending != node.ending:
            after = put_node(after, replace(node, ending=ending))
            touched.add(node.id)
    return Effect(after, None, (), frozenset(touched))


def delete_idle_ephemeral(snapshot: Snapshot, moment: Moment) -> Effect[tuple[Node, ...]]:
    """Delete the ephemeral nodes that have been away for longer than the tailnet allows.

    However often the server is restarted meanwhile; but right after a start nobody is deleted, because who was kept
    away by that alone is about to come back.
    """
    timeout = snapshot.settings.ephemeral_timeout
    if moment.now - snapshot.started_at < min(timeout, COMING_BACK):
        return Effect(snapshot, ())
    idle = [
        node
        for node in snapshot.nodes.values()
        if node.ephemeral and not node.online and moment.now - (node.last_seen or node.created_at) >= timeout
    ]
    after = snapshot
    for node in idle:
        after = drop_node(after, node, moment.now)
    return Effect(
        after, tuple(idle), tuple(Delete(node) for node in idle), frozenset(node.id for node in idle)
    )


def _changed(snapshot: Snapshot, node: Node) -> Effect[Node]:
    return Effect(put_node(snapshot, node), node, (Update(node),), frozenset({node.id}))
