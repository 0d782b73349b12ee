"""Addresses for nodes that were there before a prefix was, and none of a family that has no prefix any more."""

from dataclasses import replace

from headscale.records import Node, Update
from headscale.state.addresses import allocate
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot, put_record
from headscale.state.subjects import admitted


def backfill_addresses(snapshot: Snapshot, moment: Moment) -> Effect[tuple[str, ...]]:
    """Every node with an address of each family that the tailnet has. The result says what changed, as the peer does.

    Raises Unavailable when a prefix is full, and then nothing has changed.
    """
    after, changes, changed = snapshot, list[str](), list[Node]()
    for node_id in sorted(snapshot.nodes):
        node = snapshot.nodes[node_id]
        filled = _filled(after, moment, node)
        if filled == node:
            continue
        changes += _changes(node, filled)
        after = _put(after, moment, node, filled)
        changed.append(filled)
    # The policy is told once of all of them: once for each would hold a large tailnet up.
    subjects = [subject for node in changed if (subject := admitted(node)) is not None]
    after = replace(after, policy=after.policy.updated(subjects)) if subjects else after
    return Effect(after, tuple(changes), tuple(map(Update, changed)), frozenset(node.id for node in changed))


def _filled(snapshot: Snapshot, moment: Moment, node: Node) -> Node:
    settings = snapshot.settings
    lacks_v4 = settings.prefix_v4 is not None and node.ipv4 is None
    lacks_v6 = settings.prefix_v6 is not None and node.ipv6 is None
    ipv4, ipv6 = node.ipv4, node.ipv6
    if lacks_v4 or lacks_v6:
        pools = snapshot.policy.pools_of(_kind(node))
        new_v4, new_v6 = allocate(snapshot, moment, pools=pools if lacks_v4 else ())
        ipv4, ipv6 = new_v4 if lacks_v4 else ipv4, new_v6 if lacks_v6 else ipv6
    return replace(
        node,
        ipv4=ipv4 if settings.prefix_v4 is not None else None,
        ipv6=ipv6 if settings.prefix_v6 is not None else None,
    )


def _put(snapshot: Snapshot, moment: Moment, old: Node, new: Node) -> Snapshot:
    """The snapshot with the node at its new addresses; those that it lost rest, and the next one's come behind."""
    released = snapshot.released
    for address in set(old.addresses) - set(new.addresses):
        released = released.set(address, moment.now)
    in_pool = snapshot.policy.pools_of(_kind(new))
    return replace(
        put_record(snapshot, new),
        released=released,
        last_ipv4=new.ipv4 if new.ipv4 != old.ipv4 and not in_pool else snapshot.last_ipv4,
        last_ipv6=new.ipv6 if new.ipv6 != old.ipv6 else snapshot.last_ipv6,
    )


def _kind(node: Node) -> int | tuple[str, ...]:
    return node.user_id if node.user_id is not None else node.tags


def _changes(old: Node, new: Node) -> list[str]:
    said = []
    for family, was, now in (("IPv4", old.ipv4, new.ipv4), ("IPv6", old.ipv6, new.ipv6)):
        whose = f'Node({old.id}) "{old.hostname}"'
        if was is None and now is not None:
            said.append(f'assigned {family} "{now}" to {whose}')
        elif was is not None and now is None:
            said.append(f'removing {family} "{was}" from {whose}')
    return said
