"""A ts2021 session as a dialogue of two cores: requests, answers, ends."""

import pytest
from hyperframe.frame import PingFrame, RstStreamFrame

from headscale.keys import PrivateKey, machine_key
from headscale.ts2021 import client
from headscale.ts2021.client import Data, Early, Ended, Established, Reset, Response
from headscale.ts2021.connection import Cancelled, Closed, Request, ServerConnection, Writable
from headscale.ts2021.handshake import HandshakeFailed, load_key
from headscale.ts2021.messages import RESPONSE_BYTES


def test_the_server_speaks_first(fresh) -> None:
    """With the handshake's answer go our SETTINGS: tailscale-rs waits for five bytes before its preface."""
    first = fresh.server.data_to_send()
    assert len(first) > RESPONSE_BYTES
    assert fresh.client.receive(first) == [Established()]


def test_the_early_payload_comes_before_http2(challenged) -> None:
    """A challenge is told between handshake and SETTINGS, and HTTP/2 works after it."""
    stream_id = 1
    challenged.talk()
    assert isinstance(challenged.heard[1], Early)
    assert challenged.client.request("GET", "/machine/whoami") == stream_id
    challenged.talk()
    assert challenged.requests()[0].path == "/machine/whoami"


def test_the_session_knows_who_asks(dialogue) -> None:
    """Machine key and version are those of the handshake."""
    assert dialogue.server.machine_key == machine_key(PrivateKey(b"\x02" * 32).public)
    assert dialogue.server.version == 113


def test_a_request_arrives_whole(dialogue) -> None:
    """Method, path with its query, headers and body, in one event when the body is complete."""
    dialogue.client.request("POST", "/machine/map?a=b", body=b"{}", headers={"ts-lb": "nodekey:x"})
    dialogue.talk()
    [request] = dialogue.requests()
    assert (request.method, request.path, request.body) == ("POST", "/machine/map?a=b", b"{}")
    assert request.headers["ts-lb"] == "nodekey:x"


def test_an_answer_arrives_whole(dialogue) -> None:
    """Status, headers, body, end."""
    stream_id = dialogue.client.request("GET", "/")
    dialogue.talk()
    dialogue.server.respond(stream_id, 404, "text/plain", b"no")
    dialogue.talk()
    assert dialogue.heard[1:] == [
        Response(stream_id, 404, {"content-type": "text/plain"}),
        Data(stream_id, b"no"),
        Ended(stream_id),
    ]


def test_an_answer_without_a_body_ends(dialogue) -> None:
    """Status, headers, end."""
    stream_id = dialogue.client.request("GET", "/")
    dialogue.talk()
    dialogue.server.respond(stream_id, 200, "text/plain", b"")
    dialogue.talk()
    assert dialogue.heard[-1] == Ended(stream_id)


def test_a_streamed_answer_arrives_piece_by_piece(dialogue) -> None:
    """What is sent is on the wire after the next helping, before the stream ends."""
    stream_id = dialogue.client.request("POST", "/machine/map")
    dialogue.talk()
    dialogue.server.start_response(stream_id, 200, {"content-type": "x/y"})
    for piece in (b"one", b"two"):
        dialogue.server.send(stream_id, piece)
        dialogue.talk()
        assert dialogue.heard[-1] == Data(stream_id, piece)
    assert dialogue.server.buffered(stream_id) == 0


def test_small_pieces_share_a_frame(dialogue) -> None:
    """What was queued in one turn leaves as one DATA frame."""
    stream_id = dialogue.client.request("POST", "/machine/map")
    dialogue.talk()
    dialogue.server.start_response(stream_id, 200, {})
    for _ in range(10):
        dialogue.server.send(stream_id, b"x" * 10)
    dialogue.talk()
    assert dialogue.heard[-1] == Data(stream_id, b"x" * 100)


def test_a_large_answer_passes_small_windows(narrow) -> None:
    """An answer of many windows arrives complete; no more than a window is ever on its way."""
    stream_id = narrow.client.request("GET", "/")
    narrow.talk()
    narrow.server.respond(stream_id, 200, "text/plain", b"z" * 50_000)
    narrow.carry_down()
    assert len(narrow.body(stream_id)) == 1000
    assert narrow.server.buffered(stream_id) == 49_000
    narrow.talk()
    assert narrow.body(stream_id) == b"z" * 50_000
    assert narrow.heard[-1] == Ended(stream_id)


def test_streams_take_turns(dialogue) -> None:
    """A small answer does not wait behind a large one."""
    large, small = dialogue.client.request("GET", "/l"), dialogue.client.request("GET", "/s")
    dialogue.talk()
    dialogue.server.respond(large, 200, "text/plain", bytes(3_000_000))
    dialogue.server.respond(small, 200, "text/plain", b"s")
    dialogue.carry_down()
    assert Ended(small) in dialogue.heard
    assert Ended(large) not in dialogue.heard


def test_a_drained_stream_is_writable(dialogue) -> None:
    """The event comes once, when a queue falls to the low-water mark, and never for a small one."""
    stream_id = dialogue.client.request("GET", "/")
    dialogue.talk()
    dialogue.server.start_response(stream_id, 200, {})
    dialogue.server.send(stream_id, b"small")
    dialogue.talk()
    assert dialogue.server.take_drained() == []
    dialogue.server.send(stream_id, bytes(100_000))
    dialogue.talk()
    assert dialogue.server.take_drained() == [Writable(stream_id)]
    assert dialogue.server.take_drained() == []


def test_a_cancelled_request_is_told_once(dialogue) -> None:
    """RST_STREAM makes one Cancelled; commands on the stream are then nothing."""
    stream_id = dialogue.client.request("GET", "/")
    dialogue.talk()
    dialogue.server.start_response(stream_id, 200, {})
    dialogue.client.cancel(stream_id)
    dialogue.talk()
    assert dialogue.asked[-1] == Cancelled(stream_id)
    dialogue.server.send(stream_id, b"late")
    dialogue.server.end(stream_id)
    dialogue.server.respond(stream_id, 200, "text/plain", b"later")
    assert dialogue.server.data_to_send() == b""
    assert dialogue.server.buffered(stream_id) == 0


def test_cancelling_a_finished_request_is_nothing(dialogue) -> None:
    """A reset that crosses the end of the answer makes no event."""
    stream_id = dialogue.client.request("GET", "/")
    dialogue.talk()
    dialogue.server.respond(stream_id, 200, "text/plain", b"done")
    dialogue.server.data_to_send()
    dialogue.frames(RstStreamFrame(stream_id, error_code=8).serialize())
    assert not [event for event in dialogue.asked if isinstance(event, Cancelled | Closed)]


def test_we_can_abandon_an_answer(dialogue) -> None:
    """What cannot be completed is reset, so that a client does not take it for whole."""
    stream_id = dialogue.client.request("GET", "/")
    dialogue.talk()
    dialogue.server.start_response(stream_id, 200, {})
    dialogue.server.abandon(stream_id)
    dialogue.talk()
    assert dialogue.heard[-1] == Reset(stream_id, 2)


def test_pings_are_answered(dialogue) -> None:
    """Each PING is answered with its own eight bytes."""
    dialogue.frames(PingFrame(0, opaque_data=b"12345678").serialize())
    assert dialogue.server.data_to_send() != b""


def test_a_broken_record_ends_the_session(dialogue) -> None:
    """One flipped byte closes; nothing that follows is heard."""
    good = dialogue.client.seal(PingFrame(0, opaque_data=b"12345678").serialize())
    assert isinstance(dialogue.server.receive(good[:-1] + bytes([good[-1] ^ 1]), 0.0)[-1], Closed)
    assert dialogue.server.receive(good, 0.0) == []
    assert dialogue.server.tick(1000.0) == []


def test_goaway_is_the_last_word(dialogue) -> None:
    """The client hears it, and the server neither hears nor says more."""
    stream_id = dialogue.client.request("GET", "/")
    dialogue.talk()
    dialogue.server.goaway()
    dialogue.server.respond(stream_id, 200, "text/plain", b"late")
    dialogue.talk()
    assert dialogue.heard[-1] == client.Closed("the server went away (code 0)")
    assert dialogue.server.closed


def test_a_client_that_goes_away_closes(dialogue) -> None:
    """GOAWAY from the client is an end."""
    dialogue.client.goaway()
    dialogue.talk()
    assert "went away" in dialogue.closed()


def test_a_handshake_for_another_server_is_refused(fresh) -> None:
    """No connection comes of it."""
    other = load_key(PrivateKey(b"\x09" * 32))
    with pytest.raises(HandshakeFailed):
        ServerConnection.accept(fresh.client.initiation, static=other, ephemeral=other, now=0.0)


def test_a_client_hears_why_it_is_refused(fresh) -> None:
    """An error message in place of the response ends the session with its text."""
    [event] = fresh.client.receive(b"\x03\x00\x02no")
    assert event == client.Closed("the server refused: no")


def test_every_split_of_the_first_bytes_is_the_same(fresh) -> None:
    """Handshake, early payload and frames may be cut anywhere."""
    first = fresh.server.data_to_send()
    for byte in first:
        fresh.heard += fresh.client.receive(bytes([byte]))
    fresh.client.request("GET", "/")
    for byte in fresh.client.data_to_send():
        fresh.asked += fresh.server.receive(bytes([byte]), 0.0)
    assert isinstance(fresh.asked[-1], Request)
