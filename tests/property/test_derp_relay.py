"""The relay's routing against a slow and obvious model of it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headscale.derp.routing import ConnectionId, RoutingTable
from headscale.keys import NodeKey, node_key

KEYS = [node_key(bytes([number] * 32)) for number in range(1, 5)]


class Routing(RuleBasedStateMachine):
    """The model: connections in order of activity, and every (listener, source) pair that is still owed."""

    def __init__(self) -> None:
        super().__init__()
        self.table = RoutingTable()
        self.last = 0
        self.alive: list[tuple[NodeKey, ConnectionId]] = []
        self.owed: set[tuple[ConnectionId, NodeKey]] = set()

    def pick(self, data: st.DataObject) -> tuple[NodeKey, ConnectionId]:
        return data.draw(st.sampled_from(self.alive))

    @rule(key=st.sampled_from(KEYS))
    def connect(self, key: NodeKey) -> None:
        self.last += 1
        self.table.add(key, ConnectionId(self.last))
        self.alive.append((key, ConnectionId(self.last)))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        key, connection = self.pick(data)
        self.table.note_active(key, connection)
        self.alive.remove((key, connection))
        self.alive.append((key, connection))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), sources=st.lists(st.sampled_from(KEYS)))
    def deliver(self, data: st.DataObject, sources: list[NodeKey]) -> None:
        _, connection = self.pick(data)
        self.table.note_sent(connection, sources)
        self.owed |= {
            (connection, source) for source in sources if any(key == source for key, _ in self.alive)
        }

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        key, connection = self.pick(data)
        told = self.table.remove(key, connection)
        self.alive.remove((key, connection))
        self.owed = {pair for pair in self.owed if pair[0] != connection}
        if any(other == key for other, _ in self.alive):
            assert told == frozenset()
        else:
            assert told == {listener for listener, source in self.owed if source == key}
            self.owed = {pair for pair in self.owed if pair[1] != key}

    @invariant()
    def packets_go_to_the_last_active(self) -> None:
        for key in KEYS:
            connections = [connection for other, connection in self.alive if other == key]
            assert self.table.destination(key) == (connections[-1] if connections else None)
            assert set(self.table.connections(key)) == set(connections)


TestRouting = Routing.TestCase
TestRouting.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
