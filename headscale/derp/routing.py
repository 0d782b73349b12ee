"""Which connection a key's packets go to, and who must hear when a key is gone; for the relay, no I/O.

Source: tailscale v1.102.4, derp/derpserver/derpserver.go (clientSet, dupClientSet, sawSrc).
"""

from collections.abc import Iterable
from typing import NewType

from headscale.keys import NodeKey

ConnectionId = NewType("ConnectionId", int)


class RoutingTable:
    """The admitted connections by key, and for each key the connections that were sent a packet of it.

    A key may be connected more than once; its packets go to the connection that was added or active last, and
    to the one before it when that is removed.
    """

    def __init__(self) -> None:
        self._routes: dict[NodeKey, dict[ConnectionId, None]] = {}  # in order of activity
        self._listeners: dict[NodeKey, set[ConnectionId]] = {}
        self._heard: dict[ConnectionId, set[NodeKey]] = {}

    def add(self, key: NodeKey, connection: ConnectionId) -> None:
        """A connection proved this key and was admitted."""
        self._routes.setdefault(key, {})[connection] = None

    def note_active(self, key: NodeKey, connection: ConnectionId) -> None:
        """The connection sent something, so it gets the packets from now on."""
        connections = self._routes[key]
        if len(connections) > 1:
            del connections[connection]
            connections[connection] = None

    def destination(self, key: NodeKey) -> ConnectionId | None:
        """Where packets for this key go; None when it is not connected."""
        connections = self._routes.get(key)
        return next(reversed(connections)) if connections else None

    def connections(self, key: NodeKey) -> tuple[ConnectionId, ...]:
        """Every connection of this key."""
        return tuple(self._routes.get(key, ()))

    def note_sent(self, connection: ConnectionId, sources: Iterable[NodeKey]) -> None:
        """The connection was sent packets of these keys; those still connected owe it a notice at their end."""
        for source in sources:
            if source in self._routes:
                self._listeners.setdefault(source, set()).add(connection)
                self._heard.setdefault(connection, set()).add(source)

    def remove(self, key: NodeKey, connection: ConnectionId) -> frozenset[ConnectionId]:
        """The connection ended; who must hear that the key is gone (nobody while it is connected elsewhere)."""
        for source in self._heard.pop(connection, set()):
            self._listeners[source].discard(connection)
        del self._routes[key][connection]
        if self._routes[key]:
            return frozenset()
        del self._routes[key]
        listeners = frozenset(self._listeners.pop(key, set()))
        for listener in listeners:
            self._heard[listener].discard(key)
        return listeners
