"""The relay as a dialogue: what a client sends, what the relay does and sends."""

from collections.abc import Iterable

import pytest

from harness.clients.derp import DerpSession, LoggedIn, Other, PeerGone, Received
from harness.clients.derp import Event as ClientEvent
from headscale.derp import relay as core
from headscale.derp.frames import DISCO_MAGIC, HEADER, Frame, FrameType, encode
from headscale.derp.outbox import QUEUE_PACKETS
from headscale.derp.relay import AdmissionAsked, Finished, Output, Relay
from headscale.derp.routing import ConnectionId
from headscale.keys import NodeKey, PrivateKey, node_key

SERVER = PrivateKey(b"\x50" * 31 + b"\x41")
DISCO = DISCO_MAGIC + bytes(60)
STRANGER = node_key(b"\x77" * 32)
EVERYTHING = 1 << 30


def private_key(number: int) -> PrivateKey:
    return PrivateKey(bytes([8, number]) + bytes(29) + b"\x40")


class World:
    """A relay, its clients, and the time; applies events as a shell does."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.relay = Relay(SERVER, random_bytes=lambda count: bytes(count), jitter=lambda: 0.5)
        self.sessions: dict[ConnectionId, DerpSession] = {}
        self.seen: dict[ConnectionId, list[ClientEvent]] = {}
        self.finished: dict[ConnectionId, str] = {}
        self.asked: list[AdmissionAsked] = []

    def connect(self, number: int) -> ConnectionId:
        """A client that has received the greeting."""
        connection = self.relay.open(now=self.now)
        self.sessions[connection] = DerpSession(private_key(number))
        self.seen[connection] = []
        self.apply([Output(connection)])
        return connection

    def join(self, number: int) -> ConnectionId:
        """A client that is logged in."""
        connection = self.connect(number)
        self.push(connection)
        self.apply(self.relay.admit(connection, now=self.now))
        assert self.read(connection) == [LoggedIn(2)]
        return connection

    def push(self, connection: ConnectionId) -> None:
        """Give the relay what the client has to send."""
        self.raw(connection, self.sessions[connection].to_send())

    def raw(self, connection: ConnectionId, data: bytes) -> None:
        self.apply(self.relay.receive(connection, data, now=self.now))

    def send(self, connection: ConnectionId, peer: NodeKey, packet: bytes) -> None:
        self.sessions[connection].send(peer, packet)
        self.push(connection)

    def read(self, connection: ConnectionId) -> list[ClientEvent]:
        """What the client has seen since the last call."""
        seen, self.seen[connection] = self.seen[connection], []
        return seen

    def leave(self, connection: ConnectionId) -> None:
        self.apply(self.relay.close(connection))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.relay.tick(now=self.now))

    def apply(self, events: Iterable[core.Event]) -> None:
        for event in events:
            match event:
                case Output(connection):
                    data = self.relay.take(connection, EVERYTHING)
                    self.seen[connection] += self.sessions[connection].receive(data)
                case AdmissionAsked():
                    self.asked.append(event)
                case Finished(connection, reason):
                    self.finished[connection] = reason
                    self.apply(self.relay.close(connection))

    def key(self, connection: ConnectionId) -> NodeKey:
        return self.sessions[connection].key


@pytest.fixture
def world() -> World:
    return World()


def test_login_asks_for_admission_with_the_proved_key(world: World) -> None:
    """After ClientInfo the shell decides; until then nothing but the greeting is sent."""
    a = world.connect(1)
    world.push(a)
    assert world.asked == [AdmissionAsked(a, world.key(a))]
    assert world.read(a) == []
    assert world.relay.take(a, EVERYTHING) == b""


def test_server_info_is_all_that_follows_admission(world: World) -> None:
    """tailscale-rs demands it as the very next frame."""
    a = world.connect(1)
    world.push(a)
    world.apply(world.relay.admit(a, now=world.now))
    assert world.read(a) == [LoggedIn(2)]


def test_packets_sent_before_admission_are_served_after_it(world: World) -> None:
    """Go clients do not wait for ServerInfo."""
    b = world.join(2)
    a = world.connect(1)
    world.sessions[a].send(world.key(b), b"early")
    world.push(a)
    assert world.read(b) == []
    world.apply(world.relay.admit(a, now=world.now))
    assert world.read(b) == [Received(world.key(a), b"early")]


def test_too_much_before_admission_ends_the_connection(world: World) -> None:
    """One byte past MAX_BUFFERED_BYTES."""
    a = world.connect(1)
    world.push(a)
    world.raw(a, bytes(core.MAX_BUFFERED_BYTES))
    assert a not in world.finished
    world.raw(a, b"x")
    assert a in world.finished


def test_a_box_that_does_not_open_ends_the_connection(world: World) -> None:
    """And nobody is asked about it."""
    a = world.connect(1)
    world.raw(a, encode(FrameType.CLIENT_INFO, bytes(range(100))))
    assert a in world.finished
    assert world.asked == []


def test_login_has_ten_seconds(world: World) -> None:
    """Silent clients and those whose admission takes long are dropped; one that got in stays."""
    inside = world.join(3)
    silent, waiting = world.connect(1), world.connect(2)
    world.push(waiting)
    world.tick(core.LOGIN_LIMIT - 0.1)
    assert world.finished == {}
    world.tick(0.1)
    assert world.finished.keys() == {silent, waiting}
    assert inside not in world.finished


def test_admission_after_the_end_does_nothing(world: World) -> None:
    """The client left while we asked."""
    a = world.connect(1)
    world.push(a)
    world.leave(a)
    assert list(world.relay.admit(a, now=world.now)) == []
    b = world.join(2)
    world.send(b, world.key(a), DISCO)
    assert world.read(b) == [PeerGone(world.key(a), 1)]


def test_admitting_twice_greets_once(world: World) -> None:
    """The second call is a no-op."""
    a = world.join(1)
    assert list(world.relay.admit(a, now=world.now)) == []


def test_a_packet_reaches_its_peer(world: World) -> None:
    """With the sender's key on it, and nobody else hears of it."""
    a, b, c = world.join(1), world.join(2), world.join(3)
    world.send(a, world.key(b), b"hello")
    assert world.read(b) == [Received(world.key(a), b"hello")]
    assert world.read(a) == world.read(c) == []


def test_a_burst_in_one_read_arrives_whole(world: World) -> None:
    """The shell is asked to flush before the queue pushes its oldest out."""
    a, b = world.join(1), world.join(2)
    for number in range(500):
        world.sessions[a].send(world.key(b), number.to_bytes(2, "big"))
    world.push(a)
    assert [event.packet for event in world.read(b) if isinstance(event, Received)] == [
        number.to_bytes(2, "big") for number in range(500)
    ]


def test_a_client_that_is_not_flushed_keeps_the_newest(world: World) -> None:
    """A shell whose client does not read takes nothing; 32 packets wait."""
    a, b = world.join(1), world.join(2)
    for number in range(100):
        world.sessions[a].send(world.key(b), bytes([number]))
    list(world.relay.receive(a, world.sessions[a].to_send(), now=world.now))
    world.apply([Output(b)])
    assert [event.packet[0] for event in world.read(b) if isinstance(event, Received)] == list(range(68, 100))


def test_an_unknown_destination_is_silent_but_for_disco(world: World) -> None:
    """WireGuard packets are dropped; a disco message learns that the peer is not here."""
    a = world.join(1)
    world.send(a, STRANGER, b"wireguard")
    assert world.read(a) == []
    world.send(a, STRANGER, DISCO)
    assert world.read(a) == [PeerGone(STRANGER, 1)]


def test_not_here_is_limited(world: World) -> None:
    """Three at once, then one a second, for each client."""
    a, b = world.join(1), world.join(2)

    def heard(connection: ConnectionId) -> int:
        for number in range(10):
            world.send(connection, node_key(bytes([number] * 32)), DISCO)
        return len(world.read(connection))

    assert heard(a) == 3
    assert heard(b) == 3
    world.now += 0.9
    assert heard(a) == 0
    world.now += 0.2
    assert heard(a) == 1
    world.now += 60
    assert heard(a) == 3


def test_who_received_from_a_peer_hears_that_it_left(world: World) -> None:
    """And nobody else: not who only sent to it, nor a stranger."""
    a, b, c = world.join(1), world.join(2), world.join(3)
    world.send(a, world.key(b), b"x")
    world.send(c, world.key(a), b"x")
    world.read(b)
    world.leave(a)
    assert world.read(b) == [PeerGone(world.key(a), 0)]
    assert world.read(c) == []


def test_a_peer_that_left_is_reported_once(world: World) -> None:
    """Coming back and leaving again without a packet is no news."""
    a, b = world.join(1), world.join(2)
    world.send(a, world.key(b), b"x")
    world.leave(a)
    world.read(b)
    world.leave(world.join(1))
    assert world.read(b) == []


def test_the_newest_connection_of_a_key_gets_the_packets(world: World) -> None:
    """Until another one of them sends, which makes that one the destination."""
    old, new, b = world.join(1), world.join(1), world.join(2)
    world.send(b, world.key(old), b"1")
    assert (world.read(old), world.read(new)) == ([], [Received(world.key(b), b"1")])
    world.raw(old, encode(FrameType.NOTE_PREFERRED, b"\x01"))
    world.send(b, world.key(old), b"2")
    assert (world.read(old), world.read(new)) == ([Received(world.key(b), b"2")], [])


def test_the_other_connection_of_a_key_takes_over(world: World) -> None:
    """Closing one of two tells nobody that the key is gone; closing both does."""
    old, new, b = world.join(1), world.join(1), world.join(2)
    world.send(new, world.key(b), b"x")
    world.read(b)
    world.leave(new)
    assert world.read(b) == []
    world.send(b, world.key(old), b"y")
    assert world.read(old) == [Received(world.key(b), b"y")]
    world.leave(old)
    assert world.read(b) == [PeerGone(world.key(old), 0)]


def test_a_hundred_connections_of_one_key_disturb_nobody(world: World) -> None:
    """They share a key, not a queue, and all end cleanly."""
    a, b = world.join(1), world.join(2)
    same = [world.join(3) for _ in range(100)]
    for connection in same:
        world.send(connection, world.key(b), b"x")
        world.send(a, world.key(connection), b"y")
        assert world.read(connection) == [Received(world.key(a), b"y")]
    for connection in same:
        world.leave(connection)
    assert [event for event in world.read(b) if isinstance(event, PeerGone)] == [
        PeerGone(world.key(same[0]), 0)
    ]


@pytest.mark.parametrize("kind", [FrameType.FORWARD_PACKET, FrameType.WATCH_CONNS, FrameType.CLOSE_PEER])
def test_mesh_frames_end_the_connection(world: World, kind: FrameType) -> None:
    """Nobody holds a mesh key of ours."""
    a = world.join(1)
    world.raw(a, encode(kind, bytes(64)))
    assert a in world.finished


def test_frames_after_the_forbidden_one_are_not_served(world: World) -> None:
    """But packets before it are."""
    a, b = world.join(1), world.join(2)
    world.sessions[a].send(world.key(b), b"before")
    world.sessions[a].send_frame(FrameType.WATCH_CONNS, b"")
    world.sessions[a].send(world.key(b), b"after")
    world.push(a)
    assert world.read(b) == [Received(world.key(a), b"before"), PeerGone(world.key(a), 0)]


def test_a_length_of_four_gigabytes_ends_the_connection(world: World) -> None:
    """At the header, before any of it is awaited."""
    a = world.join(1)
    world.raw(a, HEADER.pack(FrameType.SEND_PACKET, 0xFFFFFFFF))
    assert a in world.finished


def test_a_ping_is_answered_with_its_first_eight_bytes(world: World) -> None:
    """Longer pings are for future use."""
    a = world.join(1)
    world.raw(a, encode(FrameType.PING, b"12345678extra"))
    assert world.read(a) == [Other(Frame(FrameType.PONG, b"12345678"))]


def test_keep_alive_comes_every_minute_and_a_bit(world: World) -> None:
    """60 s and the jitter, here half of 5 s; then again."""
    a = world.join(1)
    world.tick(62.4)
    assert world.read(a) == []
    world.tick(0.1)
    assert world.read(a) == [Other(Frame(FrameType.KEEP_ALIVE, b""))]
    world.tick(62.4)
    assert world.read(a) == []
    world.tick(0.1)
    assert len(world.read(a)) == 1


def test_a_client_that_does_not_read_is_dropped(world: World) -> None:
    """After ten seconds above the shell's high mark; one that caught up in time stays."""
    slow, stuck = world.join(1), world.join(2)
    world.relay.stall(slow, now=world.now)
    world.relay.stall(stuck, now=world.now)
    world.tick(core.STALL_LIMIT - 0.1)
    world.relay.unstall(slow)
    world.tick(0.1)
    assert world.finished.keys() == {stuck}


def test_evicting_a_key_ends_its_connections(world: World) -> None:
    """All of them, and only its."""
    a, again, b = world.join(1), world.join(1), world.join(2)
    world.apply(world.relay.evict(world.key(a)))
    assert world.finished.keys() == {a, again}
    assert b not in world.finished


def test_closing_twice_is_closing_once(world: World) -> None:
    """The shell need not remember."""
    a = world.join(1)
    world.leave(a)
    assert world.relay.close(a) == []
    assert list(world.relay.receive(a, b"late", now=world.now)) == []


def test_what_is_passed_on_and_dropped_is_counted(world: World) -> None:
    """By kind and reason; bytes in both directions are those behind the upgrade."""
    a, b = world.join(1), world.join(2)
    counts = world.relay.counts
    before = counts.received_bytes, counts.sent_bytes
    world.send(a, world.key(b), b"packet")
    world.send(a, world.key(b), DISCO)
    world.send(a, STRANGER, b"packet")
    assert (counts.forwarded, counts.dropped) == ({"other": 1, "disco": 1}, {"not here": 1})
    assert counts.received_bytes - before[0] > 2 * (6 + HEADER.size) + len(DISCO)
    assert counts.sent_bytes - before[1] > 6 + len(DISCO)
    assert (counts.accepted, len(world.relay), world.relay.clients) == (2, 2, 2)


def test_a_full_queue_is_counted_with_what_waits_in_it(world: World) -> None:
    """One packet more than there is room for pushes one out."""
    a, b = world.join(1), world.join(2)
    for number in range(QUEUE_PACKETS + 1):
        world.sessions[a].send(world.key(b), b"%d" % number)
    list(world.relay.receive(a, world.sessions[a].to_send(), now=world.now))
    assert world.relay.waiting == QUEUE_PACKETS
    assert world.relay.counts.dropped == {"queue full": 1}


def test_who_logs_in_is_a_connection_and_no_client_yet(world: World) -> None:
    world.connect(1)
    assert (len(world.relay), world.relay.clients, world.relay.waiting) == (1, 0, 0)
