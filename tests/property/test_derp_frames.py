"""Laws of the DERP decoder, of STUN and of the relay under arbitrary input."""

from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headscale.derp import stun
from headscale.derp.frames import CLIENT_RULES, Frame, FrameDecoder, FrameType, encode
from headscale.derp.relay import Finished, Relay
from headscale.errors import Malformed
from headscale.keys import PrivateKey

FRAMES = st.one_of(
    st.builds(Frame, st.just(FrameType.SEND_PACKET), st.binary(min_size=32, max_size=200)),
    st.builds(Frame, st.just(FrameType.PING), st.binary(min_size=8, max_size=100)),
    st.builds(Frame, st.just(FrameType.NOTE_PREFERRED), st.binary(min_size=1, max_size=1)),
    st.builds(Frame, st.just(FrameType.HEALTH), st.binary(max_size=100)),  # skipped
)


def decode(decoder: FrameDecoder, data: bytes) -> list[Frame]:
    decoder.feed(data)
    found = []
    while (frame := decoder.next_frame()) is not None:
        found.append(frame)
    return found


@given(frames=st.lists(FRAMES), cuts=st.lists(st.integers(0, 2000)))
def test_cutting_a_stream_changes_nothing(frames: list[Frame], cuts: list[int]) -> None:
    """However the bytes are split, the frames that the rules know come out, in order."""
    stream = b"".join(encode(frame.type, frame.payload) for frame in frames)
    decoder = FrameDecoder(CLIENT_RULES)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    found = [frame for start, end in pairwise(edges) for frame in decode(decoder, stream[start:end])]
    assert found == [frame for frame in frames if frame.type is not FrameType.HEALTH]


@given(data=st.lists(st.binary(max_size=300)))
def test_any_bytes_are_frames_or_malformed(data: list[bytes]) -> None:
    """Nothing but Malformed is ever raised."""
    decoder = FrameDecoder(CLIENT_RULES)
    try:
        for piece in data:
            decode(decoder, piece)
    except Malformed:
        pass


@given(data=st.lists(st.binary(max_size=300)))
def test_a_stranger_gets_no_more_than_the_greeting(data: list[bytes]) -> None:
    """Whatever comes before a login, the relay only waits or finishes."""
    relay = Relay(PrivateKey(b"\x40" * 32), random_bytes=bytes, jitter=lambda: 0.0)
    connection = relay.open(now=0.0)
    assert len(relay.take(connection, 1000)) == 45
    events = [event for piece in data for event in relay.receive(connection, piece, now=0.0)]
    assert all(isinstance(event, Finished) for event in events)
    assert relay.take(connection, 1000) == b""


@given(
    data=st.one_of(st.binary(max_size=200), st.binary(min_size=12, max_size=12).map(stun.request)),
    address=st.one_of(
        st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
    ),
    port=st.integers(0, 65535),
)
def test_stun_never_amplifies(data: bytes, address: IPv4Address | IPv6Address, port: int) -> None:
    """An answer is for the same transaction and not longer than the request; over IPv6, by 4 bytes at most."""
    answer = stun.answer(data, address, port)
    if answer is not None:
        assert len(answer) <= len(data) + (4 if isinstance(address, IPv6Address) else 0)
        assert answer[8:20] == data[8:20]
