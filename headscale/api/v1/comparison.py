"""What another policy would change: access, attributes of nodes, and routes that are approved without being asked."""

from collections.abc import Callable, Collection

import msgspec

from headscale.policy.compiled import Compiled
from headscale.policy.difference import Difference, differences
from headscale.state.routes import network_of
from headscale.state.snapshot import Snapshot


class Pair(msgspec.Struct, frozen=True):
    """The body of a comparison: two policies' texts; without `old` it is the one in force."""

    new: str = ""
    old: str | None = None


class Access(msgspec.Struct, frozen=True):
    """What these sources may do at this target that they could not before, or the other way round."""

    sources: tuple[str, ...]
    target: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


class Having(msgspec.Struct, frozen=True):
    """What these nodes have that they had not, or the other way round."""

    nodes: tuple[str, ...]
    gained: tuple[str, ...]
    lost: tuple[str, ...]


class Compared(msgspec.Struct, frozen=True, rename="camel"):
    """All differences; `changed` when there is any. `auto_approvals` are of routes that nodes advertise."""

    changed: bool
    access: tuple[Access, ...]
    attributes: tuple[Having, ...]
    auto_approvals: tuple[Having, ...]


def compared(snapshot: Snapshot, old: Compiled, new: Compiled) -> Compared:
    """What changes for the nodes and users of the snapshot. Raises Malformed for too many kinds of them."""
    names = {node.id: node.given_name for node in snapshot.nodes.values()}
    access = tuple(map(_access, differences(old, new, names)))
    attributes = _having(snapshot, lambda node_id: (_attributes(old, node_id), _attributes(new, node_id)))
    approvals = _having(
        snapshot, lambda node_id: (_approved(snapshot, old, node_id), _approved(snapshot, new, node_id))
    )
    return Compared(bool(access or attributes or approvals), access, attributes, approvals)


def _access(difference: Difference) -> Access:
    return Access(difference.sources, difference.target, difference.gained, difference.lost)


def _having(
    snapshot: Snapshot, both: Callable[[int], tuple[Collection[str], Collection[str]]]
) -> tuple[Having, ...]:
    """The nodes that have something else afterwards, those with the same change together."""
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for node_id in sorted(snapshot.nodes):
        before, after = both(node_id)
        gained = tuple(each for each in after if each not in before)
        lost = tuple(each for each in before if each not in after)
        if gained or lost:
            found.setdefault((gained, lost), []).append(snapshot.nodes[node_id].given_name)
    return tuple(Having(tuple(nodes), *change) for change, nodes in found.items())


def _attributes(compiled: Compiled, node_id: int) -> list[str]:
    """The node's attributes; one with values is another when these are."""
    return sorted(
        f"{name} {msgspec.json.encode(values).decode()}" if values else name
        for name, values in compiled.caps_of(node_id).items()
    )


def _approved(snapshot: Snapshot, compiled: Compiled, node_id: int) -> list[str]:
    """The routes of those that the node advertises."""
    subject = compiled.nodes[node_id].subject
    routes = map(network_of, snapshot.nodes[node_id].hostinfo.routable_ips)
    return [str(route) for route in routes if route is not None and compiled.approves(subject, route)]
