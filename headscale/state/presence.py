"""Online truth: a node is online while a map stream of its own lives, plus a short grace.

Counting streams and waiting out the grace is the shell's; here is only what the two ends mean. After a restart of the
server who was online still is, for as long as clients take to come back: they were away no longer than the server was.
"""

from dataclasses import replace

from headscale.records import Node, Update
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot, put_node, with_silent


def arrive(snapshot: Snapshot, moment: Moment, *, node_id: int) -> Effect[Node | None]:
    """The node has a live stream, and is heard of again. None when it was deleted meanwhile."""
    return _presence(with_silent(snapshot, snapshot.silent - {node_id}), moment, node_id, here=True)


def leave(snapshot: Snapshot, moment: Moment, *, node_id: int) -> Effect[Node | None]:
    """The node's last stream ended, and the grace with it; it was seen until now."""
    return _presence(snapshot, moment, node_id, here=False)


def stay_away(snapshot: Snapshot, moment: Moment, *, node_ids: frozenset[int]) -> Effect[tuple[Node, ...]]:
    """These nodes did not come back after a restart; they were seen until the server went, or so it is taken."""
    known = (snapshot.nodes.get(node_id) for node_id in sorted(node_ids))
    gone = tuple(
        replace(node, online=False, last_seen=max(node.last_seen or node.created_at, snapshot.started_at))
        for node in known
        if node is not None and node.online and not node.is_wireguard_only
    )
    after = snapshot
    for node in gone:
        after = put_node(after, node)
    return Effect(after, gone, tuple(map(Update, gone)), frozenset(node.id for node in gone))


def asked(
    snapshot: Snapshot, moment: Moment, *, answered: frozenset[int], missed: frozenset[int]
) -> Effect[frozenset[int]]:
    """Of the nodes that were asked, these answered and those did not; the nodes that are silent now.

    All that were asked at the same time are told in one step, so that no route goes from one silent router to another.
    """
    known = {node_id for node_id in missed if (node := snapshot.nodes.get(node_id)) and node.online}
    silent = (snapshot.silent | known) - answered
    return Effect(with_silent(snapshot, silent), silent)


def _presence(snapshot: Snapshot, moment: Moment, node_id: int, *, here: bool) -> Effect[Node | None]:
    node = snapshot.nodes.get(node_id)
    if node is None or node.online == here:
        return Effect(snapshot, node)
    moved = replace(node, online=here, last_seen=moment.now)
    return Effect(put_node(snapshot, moved), moved, (Update(moved),), frozenset({node_id}))
