"""Who sees whom, and what a node may receive.

There is no policy yet, which means: everybody in the tailnet sees and reaches everybody. All that builds a
message asks here and nowhere else, so that a policy has one place to come in.
"""

from collections.abc import Iterator

from headscale.records import Node
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.filters import ALLOW_ALL, FilterRule


def peers_of(snapshot: Snapshot, viewer_id: int) -> Iterator[Node]:
    """The nodes that this one sees, by id."""
    return (snapshot.nodes[i] for i in sorted(snapshot.nodes) if i != viewer_id)


def packet_filter(snapshot: Snapshot, node: Node) -> tuple[FilterRule, ...]:
    """What the node lets in."""
    return ALLOW_ALL
