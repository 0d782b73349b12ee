"""What waits for a client."""

from headscale.derp.frames import DISCO_MAGIC, SERVER_RULES, FrameDecoder, FrameType, GoneReason
from headscale.derp.outbox import QUEUE_GONE, QUEUE_PACKETS, Outbox
from headscale.keys import node_key

A = node_key(b"a" * 32)
B = node_key(b"b" * 32)
EVERYTHING = 1 << 30


def disco(number: int) -> bytes:
    return DISCO_MAGIC + number.to_bytes(4, "big") + bytes(60)


def frames(outbox: Outbox) -> list[tuple[FrameType, bytes]]:
    """All that waits, decoded."""
    decoder = FrameDecoder(SERVER_RULES)
    decoder.feed(outbox.take(EVERYTHING)[0])
    found = []
    while (frame := decoder.next_frame()) is not None:
        found.append((frame.type, frame.payload))
    return found


def packets(outbox: Outbox) -> list[bytes]:
    return [payload[32:] for kind, payload in frames(outbox) if kind is FrameType.RECV_PACKET]


def test_the_oldest_packet_gives_way() -> None:
    """32 wait; the 33rd drops the first."""
    outbox = Outbox()
    for number in range(QUEUE_PACKETS + 1):
        outbox.put_packet(A, bytes([number]))
    assert packets(outbox) == [bytes([number]) for number in range(1, QUEUE_PACKETS + 1)]


def test_thirty_two_packets_all_wait() -> None:
    """At the limit nothing is dropped."""
    outbox = Outbox()
    for number in range(QUEUE_PACKETS):
        outbox.put_packet(A, bytes([number]))
    assert len(packets(outbox)) == QUEUE_PACKETS


def test_disco_has_its_own_queue_and_takes_turns() -> None:
    """A flood of one kind neither drops nor delays the other."""
    outbox = Outbox()
    outbox.put_packet(A, disco(0))
    for number in range(100):
        outbox.put_packet(A, bytes([number]))
    assert disco(0) in packets(outbox)[:2]


def test_login_comes_before_everything() -> None:
    """Packets that arrive for a client before its ServerInfo has left do not overtake it."""
    outbox = Outbox()
    outbox.put_packet(A, b"early")
    outbox.put_keep_alive()
    outbox.put_pong(bytes(8))
    outbox.put_login(b"\x03\x00\x00\x00\x00")
    kinds = [kind for kind, _ in frames(outbox)]
    assert kinds == [FrameType.SERVER_INFO, FrameType.PONG, FrameType.KEEP_ALIVE, FrameType.RECV_PACKET]


def test_one_pong_and_one_keep_alive_wait() -> None:
    """A client that pings without reading gets the first pong only."""
    outbox = Outbox()
    for number in range(5):
        outbox.put_pong(bytes([number] * 8))
        outbox.put_keep_alive()
    assert frames(outbox) == [(FrameType.PONG, bytes(8)), (FrameType.KEEP_ALIVE, b"")]


def test_a_peer_is_reported_gone_once() -> None:
    """Until the client has read it."""
    outbox = Outbox()
    outbox.put_gone(A, GoneReason.NOT_HERE)
    outbox.put_gone(A, GoneReason.NOT_HERE)
    assert frames(outbox) == [(FrameType.PEER_GONE, b"a" * 32 + b"\x01")]
    outbox.put_gone(A, GoneReason.NOT_HERE)
    assert len(frames(outbox)) == 1


def test_reports_are_bounded() -> None:
    """One past the limit drops the oldest."""
    outbox = Outbox()
    keys = [node_key(number.to_bytes(32, "big")) for number in range(QUEUE_GONE + 1)]
    for key in keys:
        outbox.put_gone(key, GoneReason.DISCONNECTED)
    found = [node_key(payload[:32]) for _, payload in frames(outbox)]
    assert found == keys[1:]


def test_take_stops_at_the_size_but_gives_one_frame() -> None:
    """A frame larger than the size asked for is still given, alone."""
    outbox = Outbox()
    outbox.put_packet(A, bytes(1000))
    outbox.put_packet(B, bytes(1000))
    first, sources = outbox.take(10)
    assert (len(first), sources) == (1037, frozenset({A}))
    assert outbox.take(10)[1] == {B}
    assert outbox.take(10) == (b"", frozenset())


def test_half_full_is_crowded() -> None:
    """From 16 packets of a kind on."""
    outbox = Outbox()
    for _ in range(QUEUE_PACKETS // 2 - 1):
        outbox.put_packet(A, b"x")
        outbox.put_packet(A, disco(1))
    assert not outbox.crowded
    outbox.put_packet(A, disco(1))
    assert outbox.crowded
