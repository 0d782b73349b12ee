"""Which connection gets a key's packets, and who hears of its end."""

from headscale.derp.routing import ConnectionId, RoutingTable
from headscale.keys import node_key

A = node_key(b"a" * 32)
B = node_key(b"b" * 32)
ONE, TWO, THREE = ConnectionId(1), ConnectionId(2), ConnectionId(3)


def table(*pairs: tuple[str, ConnectionId]) -> RoutingTable:
    routing = RoutingTable()
    for key, connection in pairs:
        routing.add(node_key(key.encode() * 32), connection)
    return routing


def test_a_key_that_is_not_connected_has_no_destination() -> None:
    """Neither before it comes nor after it left."""
    routing = table(("a", ONE))
    assert routing.destination(B) is None
    routing.remove(A, ONE)
    assert routing.destination(A) is None


def test_removing_falls_back_in_order_of_activity() -> None:
    """Added 1, 2, 3; then 1 was active: 1, then 3, then 2."""
    routing = table(("a", ONE), ("a", TWO), ("a", THREE))
    routing.note_active(A, ONE)
    order = []
    while (destination := routing.destination(A)) is not None:
        order.append(destination)
        routing.remove(A, destination)
    assert order == [ONE, THREE, TWO]


def test_a_listener_that_left_is_not_told() -> None:
    """Its own end comes first."""
    routing = table(("a", ONE), ("b", TWO))
    routing.note_sent(TWO, [A])
    routing.remove(B, TWO)
    assert routing.remove(A, ONE) == frozenset()


def test_a_packet_of_a_key_that_left_registers_nobody() -> None:
    """A packet can wait longer than its sender stays; nothing is kept for it."""
    routing = table(("a", ONE), ("b", TWO))
    routing.remove(A, ONE)
    routing.note_sent(TWO, [A])
    routing.add(A, THREE)
    assert routing.remove(A, THREE) == frozenset()


def test_a_client_that_sent_to_itself_leaves_cleanly() -> None:
    """It would be its own listener."""
    routing = table(("a", ONE))
    routing.note_sent(ONE, [A])
    assert routing.remove(A, ONE) == frozenset()
