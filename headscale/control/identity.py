"""Whose request it is: the one way from a request inside a session to a node."""

from headscale import logs
from headscale.control.exchange import Exchange
from headscale.errors import NotFound
from headscale.keys import NodeKey
from headscale.records import Node
from headscale.state.snapshot import Snapshot


def asking_node(snapshot: Snapshot, exchange: Exchange, node_key: str) -> Node:
    """The node with the key that the request names, on the machine whose key the handshake proved.

    Raises NotFound with the same words for a key that nobody has and for one of another machine.
    """
    node = snapshot.node_of(NodeKey(node_key.lower()), exchange.machine_key)
    if node is None:
        raise NotFound("node not found: this node key is not registered for this machine")
    logs.note(node=node.id)
    return node
