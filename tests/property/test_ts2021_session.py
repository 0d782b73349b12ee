"""Whatever the sizes and wherever the bytes are cut, a session carries requests and answers unchanged."""

import contextlib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from headscale.keys import PrivateKey, machine_key
from headscale.ts2021 import client
from headscale.ts2021.client import ClientConnection
from headscale.ts2021.connection import Closed, Request, ServerConnection
from headscale.ts2021.handshake import HandshakeFailed, load_key, respond
from headscale.ts2021.records import RecordBroken, RecordOpener, RecordSealer

SERVER, MACHINE, EPHEMERAL, OTHER = (load_key(PrivateKey(bytes([n]) * 32)) for n in (1, 2, 3, 4))
KEY = bytes(32)
CUTS = st.lists(st.integers(1, 5000), min_size=1, max_size=20)


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, over and over."""
    start, turn = 0, 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        yield data[start : start + size]
        start, turn = start + size, turn + 1


def session(window: int = client.GO_STREAM_WINDOW_BYTES) -> tuple[ClientConnection, ServerConnection]:
    asking = ClientConnection(
        machine_key(SERVER.public), version=1, static=MACHINE, ephemeral=EPHEMERAL, stream_window_bytes=window
    )
    return asking, ServerConnection.accept(asking.initiation, static=SERVER, ephemeral=OTHER, now=0.0)


@given(texts=st.lists(st.binary(max_size=10_000), max_size=5), sizes=CUTS)
def test_records_survive_fragmentation(texts: list[bytes], sizes: list[int]) -> None:
    """What is sealed opens to the same bytes, in order."""
    sealer, opener = RecordSealer(KEY), RecordOpener(KEY)
    sealed = b"".join(map(sealer.seal, texts))
    opened = [text for piece in cut(sealed, sizes) for text in opener.receive(piece)]
    assert b"".join(opened) == b"".join(texts)


@given(
    body=st.binary(max_size=200_000),
    answer=st.binary(max_size=200_000),
    window=st.integers(1_000, 100_000),
    sizes=CUTS,
)
def test_a_dialogue_survives_fragmentation(body: bytes, answer: bytes, window: int, sizes: list[int]) -> None:
    """A request and its answer arrive unchanged through any cuts and any client window."""
    asking, answering = session(window)
    heard: list[client.Event] = []
    asked: list[object] = []
    started = False
    while True:
        down = answering.data_to_send()
        for piece in cut(down, sizes):
            heard += asking.receive(piece)
        if asking.established and not started:
            started = True
            asking.request("POST", "/x", body=body)
        up = asking.data_to_send()
        for piece in cut(up, sizes):
            for event in answering.receive(piece, 0.0):
                asked.append(event)
                if isinstance(event, Request):
                    answering.respond(event.stream_id, 200, "a/b", answer)
        if not down and not up:
            break
    assert [event.body for event in asked if isinstance(event, Request)] == [body]
    assert b"".join(event.data for event in heard if isinstance(event, client.Data)) == answer
    assert isinstance(heard[-1], client.Ended)


@given(data=st.binary(max_size=300))
def test_no_bytes_pass_for_a_handshake(data: bytes) -> None:
    """Random bytes are refused with our error and nothing else."""
    try:
        respond(data, static=SERVER, ephemeral=OTHER)
    except HandshakeFailed:
        return
    raise AssertionError("random bytes made a session")


@given(data=st.binary(min_size=19, max_size=9000))
def test_no_bytes_pass_for_a_record(data: bytes) -> None:
    """Random bytes are refused, or wait for more; nothing opens."""
    opener = RecordOpener(KEY)
    with contextlib.suppress(RecordBroken):
        assert opener.receive(data) == []


FRAME = st.builds(
    lambda kind, flags, stream, payload: (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    ),
    st.one_of(st.integers(0, 10), st.integers(0, 255)),
    st.integers(0, 255),
    st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"\x82\x87\x84\x01\x01a", bytes(4), bytes(8)])),
)


@given(frames=st.lists(FRAME, max_size=30))
def test_no_frames_cause_anything_but_our_events(frames: list[bytes]) -> None:
    """Frames of any kind, in any order, make events; at most one is Closed, and it is the last."""
    asking, answering = session()
    asking.receive(answering.data_to_send())
    answering.receive(asking.data_to_send(), 0.0)
    events: list[object] = []
    for frame in frames:
        for event in answering.receive(asking.seal(frame), 0.0):
            events.append(event)
            if isinstance(event, Request):
                answering.respond(event.stream_id, 200, "a/b", bytes(100_000))
        answering.data_to_send()
    answering.tick(1e9)
    closings = [index for index, event in enumerate(events) if isinstance(event, Closed)]
    assert closings in ([], [len(events) - 1])
