"""What a ts2021 session takes from a client: how much, for how long, how often, and in which form."""

import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PingFrame

from headscale.ts2021 import client
from headscale.ts2021.client import Ended, Reset, Response
from headscale.ts2021.connection import (
    BODY_SECONDS,
    FIRST_REQUEST_SECONDS,
    IDLE_SECONDS,
    MAX_BODY_BYTES,
    MAX_CONTROL_BYTES,
    Cancelled,
    Closed,
)
from headscale.ts2021.floods import MAX_CONTROL_FRAMES, MAX_RESETS
from headscale.ts2021.http2 import MAX_HEADER_LIST_BYTES, MAX_STREAMS, STALL_SECONDS


def test_the_largest_body_passes(dialogue) -> None:
    """A body of exactly the limit is a request."""
    dialogue.client.request("POST", "/", body=bytes(MAX_BODY_BYTES))
    dialogue.talk()
    assert len(dialogue.requests()[0].body) == MAX_BODY_BYTES


def test_a_larger_body_is_answered_413(dialogue) -> None:
    """One byte more is refused, without an event, and the session goes on."""
    stream_id = dialogue.client.request("POST", "/", body=bytes(MAX_BODY_BYTES + 1))
    dialogue.talk()
    assert next(event for event in dialogue.heard if isinstance(event, Response)).status == 413
    assert Ended(stream_id) in dialogue.heard
    assert dialogue.requests() == []
    dialogue.client.request("GET", "/next")
    dialogue.talk()
    assert dialogue.requests()[0].path == "/next"


def test_unfinished_bodies_share_a_limit(dialogue) -> None:
    """Many streams cannot hold more than two bodies' worth together."""
    streams = [dialogue.client.open("POST", "/") for _ in range(3)]
    for stream_id in streams:
        dialogue.client.send(stream_id, bytes(MAX_BODY_BYTES - 1000))
    dialogue.talk()
    refused = [event.stream_id for event in dialogue.heard if isinstance(event, Response)]
    assert len(refused) == 1


def test_a_slow_body_is_cut(dialogue) -> None:
    """A body that does not end is reset in time; the session goes on."""
    stream_id = dialogue.client.open("POST", "/")
    dialogue.talk()
    assert dialogue.server.tick(BODY_SECONDS - 1) == []
    dialogue.server.tick(BODY_SECONDS)
    dialogue.talk()
    assert dialogue.heard[-1] == Reset(stream_id, 8)
    assert not dialogue.server.closed


@pytest.mark.bar("H2")
def test_a_session_without_a_request_is_closed(dialogue) -> None:
    """Idle from the start, it ends with a GOAWAY within the minute."""
    assert dialogue.server.tick(FIRST_REQUEST_SECONDS - 1) == []
    assert dialogue.server.tick(FIRST_REQUEST_SECONDS) == [Closed("idle")]
    dialogue.talk()
    assert dialogue.heard[-1] == client.Closed("the server went away (code 0)")


@pytest.mark.bar("H2")
def test_a_session_that_only_shook_hands_is_closed(fresh) -> None:
    """A client that never says anything inside is closed as well."""
    assert fresh.server.tick(FIRST_REQUEST_SECONDS) == [Closed("idle")]


def test_an_open_request_keeps_the_session(dialogue) -> None:
    """A poll without traffic is not idle, whether its answer has begun or not."""
    stream_id = dialogue.client.request("POST", "/machine/map")
    dialogue.talk()
    assert dialogue.server.tick(10 * IDLE_SECONDS) == []
    dialogue.server.start_response(stream_id, 200, {})
    dialogue.talk()
    assert dialogue.server.tick(20 * IDLE_SECONDS) == []


def test_a_session_that_was_used_may_rest_longer(dialogue) -> None:
    """After an answered request the longer limit holds, counted from the last tick with a stream."""
    stream_id = dialogue.client.request("GET", "/")
    dialogue.talk()
    dialogue.server.respond(stream_id, 200, "text/plain", b"")
    dialogue.talk()
    assert dialogue.server.tick(IDLE_SECONDS - 1) == []
    assert dialogue.server.tick(IDLE_SECONDS) == [Closed("idle")]


@pytest.mark.bar("H7")
def test_a_stalled_answer_is_cut(narrow) -> None:
    """A client that opens no window loses the stream within the minute."""
    stream_id = narrow.client.request("GET", "/")
    narrow.talk()
    narrow.server.start_response(stream_id, 200, {})
    narrow.server.send(stream_id, bytes(5000))
    narrow.server.data_to_send()
    assert narrow.server.tick(5.0) == []
    assert narrow.server.tick(5.0 + STALL_SECONDS - 1) == []
    assert narrow.server.tick(5.0 + STALL_SECONDS) == [Cancelled(stream_id)]
    assert narrow.server.buffered(stream_id) == 0


@pytest.mark.bar("H8")
def test_a_hundred_streams_are_enough(dialogue) -> None:
    """The hundredth open stream passes, the next ends the session."""
    for _ in range(MAX_STREAMS):
        dialogue.client.request("POST", "/machine/map")
    dialogue.talk()
    assert len(dialogue.requests()) == MAX_STREAMS
    last = HeadersFrame(2 * MAX_STREAMS + 1, header_block_bytes(), flags=["END_HEADERS", "END_STREAM"])
    assert isinstance(dialogue.frames(last.serialize())[-1], Closed)


@pytest.mark.bar("H6")
@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, opaque_data=b"12345678"),
        Frame(0),
        DataFrame(1, b""),
        DataFrame(1, b"x"),
    ],
    ids=["ping", "unknown", "empty data", "tiny data"],
)
def test_a_flood_of_control_frames_is_cut(dialogue, frame: Frame) -> None:
    """A thousand in ten seconds pass, one more ends the session with ENHANCE_YOUR_CALM."""
    dialogue.client.open("POST", "/")
    dialogue.talk()
    data = frame.serialize() if type(frame) is not Frame else bytes([0, 0, 0, 0xFA, 0, 0, 0, 0, 0])
    used = control_frames_used(dialogue)
    for _ in range(MAX_CONTROL_FRAMES - used):
        dialogue.frames(data)
        dialogue.carry_down()
    assert dialogue.closed() is None
    dialogue.frames(data)
    assert "control frames" in dialogue.closed()
    dialogue.carry_down()
    assert dialogue.heard[-1] == client.Closed("the server went away (code 11)")


def test_control_frames_may_come_again_after_ten_seconds(dialogue) -> None:
    """The count starts anew each period."""
    ping = PingFrame(0, opaque_data=b"12345678").serialize()
    for period in range(3):
        dialogue.now = period * 10.0
        for _ in range(MAX_CONTROL_FRAMES - 10):
            dialogue.frames(ping)
            dialogue.carry_down()
    assert dialogue.closed() is None


@pytest.mark.bar("H4")
def test_rapid_reset_is_cut(dialogue) -> None:
    """Two hundred streams may be opened and reset in ten seconds, not one more."""
    for _ in range(MAX_RESETS):
        dialogue.client.cancel(dialogue.client.request("GET", "/"))
        dialogue.talk()
    assert dialogue.closed() is None
    dialogue.client.cancel(dialogue.client.request("GET", "/"))
    dialogue.talk()
    assert "reset" in dialogue.closed()
    assert dialogue.heard[-1] == client.Closed("the server went away (code 11)")


def test_resets_that_we_are_made_to_send_count(dialogue) -> None:
    """A window update that overflows makes *us* reset the stream; that is rapid reset by another door."""
    overflow = (2**31 - 1).to_bytes(4, "big")
    for _ in range(MAX_RESETS + 1):
        stream_id = dialogue.client.request("GET", "/")
        dialogue.talk()
        if dialogue.closed() is not None:
            break
        dialogue.frames(b"\0\0\4\x08\0" + stream_id.to_bytes(4, "big") + overflow)
    assert "reset" in dialogue.closed()


def test_replies_that_nobody_reads_are_bounded(dialogue) -> None:
    """Replies pile up to the limit at most, whatever the time they take."""
    ping = PingFrame(0, opaque_data=b"12345678").serialize()
    sent = 0
    while dialogue.closed() is None:
        dialogue.now += 0.1
        dialogue.frames(ping)
        sent += 1
        assert sent < 10_000
    assert "replies" in dialogue.closed()
    assert len(dialogue.server.data_to_send()) < MAX_CONTROL_BYTES * 1.1


def test_window_updates_for_our_own_data_are_free(narrow) -> None:
    """A client with a small window answers a large map with thousands of updates, and is not cut."""
    stream_id = narrow.client.request("GET", "/")
    narrow.talk()
    narrow.server.respond(stream_id, 200, "text/plain", bytes(3_000_000))
    narrow.talk()
    assert len(narrow.body(stream_id)) == 3_000_000
    assert narrow.closed() is None


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", bytes(64), b"\xff" * 64],
    ids=["http1", "preface", "zeros", "ones"],
)
def test_what_is_not_http2_ends_the_session(fresh, data: bytes) -> None:
    """Anything else than a preface closes, with a typed reason."""
    fresh.carry_down()
    assert isinstance(fresh.frames(data)[-1], Closed)


@pytest.mark.bar("H5")
@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "GET"), (":path", "/"), (":scheme", "https")],
        [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "")],
        [*[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")], ("x", "a\r\nb")],
        [*[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")], ("x", "a\0b")],
        [*[(":method", "GET"), (":scheme", "https"), (":path", "/")], ("host", "a"), ("host", "b")],
        [*[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")], (":path", "/b")],
        [*[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")], ("X", "b")],
        [
            *[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")],
            *[("x", "y" * 100)] * 200,
        ],
    ],
    ids=["no authority", "no path", "crlf", "nul", "two hosts", "two paths", "upper case", "too many"],
)
def test_headers_that_break_the_rules_end_the_session(dialogue, headers: list[tuple[str, str]]) -> None:
    """None of them reaches a handler."""
    block = header_block_bytes(headers)
    frames = [HeadersFrame(1, block[:16_000], flags=["END_STREAM"]).serialize()]
    frames[0] = frames[0][:4] + bytes([1 | (4 if len(block) <= 16_000 else 0)]) + frames[0][5:]
    dialogue.frames(b"".join(frames))
    assert dialogue.requests() == []
    assert dialogue.closed() is not None


def test_a_host_beside_the_authority_is_ignored(dialogue) -> None:
    """tailscale-rs 0.6.1 sends one without the port; the authority is what counts (RFC 9113, 8.3.1)."""
    headers = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a:8080"),
        (":path", "/"),
        ("host", "a"),
    ]
    block = header_block_bytes(headers)
    dialogue.frames(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]).serialize())
    [request] = dialogue.requests()
    assert "host" not in request.headers
    assert dialogue.closed() is None


def test_a_header_list_has_a_size(dialogue) -> None:
    """At the limit (RFC 9113: names, values and 32 bytes each) it passes, one byte more ends the session."""
    whole = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/"), ("x", "")]
    left = MAX_HEADER_LIST_BYTES - sum(len(name) + len(value) + 32 for name, value in whole)
    for stream_id, size in ((1, left), (3, left + 1)):
        block = header_block_bytes([*whole[:-1], ("x", "y" * size)])
        assert dialogue.closed() is None
        dialogue.frames(HeadersFrame(stream_id, block, flags=["END_HEADERS", "END_STREAM"]).serialize())
    assert len(dialogue.requests()) == 1
    assert dialogue.closed() is not None


@pytest.mark.bar("H5")
def test_endless_continuations_end_the_session(dialogue) -> None:
    """A header block has an end."""
    dialogue.frames(HeadersFrame(1, b"", flags=[]).serialize())
    for _ in range(70):
        dialogue.frames(b"\0\0\0\x09\0\0\0\0\1")
    assert dialogue.closed() is not None


def test_empty_records_count_as_control_frames(dialogue) -> None:
    """Records without a plaintext are legal, but not for ever."""
    sealer = dialogue.client._sealer
    for _ in range(MAX_CONTROL_FRAMES + 1):
        dialogue.asked += dialogue.server.receive(sealer.seal_record(b""), 0.0)
    assert "control frames" in dialogue.closed()


def control_frames_used(dialogue) -> int:
    """What the opening of the session has cost of the allowance."""
    return dialogue.server._guard._control


def header_block_bytes(headers: list[tuple[str, str]] | None = None) -> bytes:
    """A header block as hpack writes it, without any of h2's checks."""
    from hpack import Encoder

    whole = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
    return Encoder().encode(headers or whole)
