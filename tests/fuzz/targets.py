"""What reads bytes of strangers, each as a function that any bytes may be given to.

A target returns, whatever it was given: what the code under it may refuse, it refuses with our own errors. Anything
else that is raised is a bug, by whichever driver it was found (tests/fuzz/drive.py, tests/unit/test_fuzz_corpus.py).
"""

import contextlib
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import msgspec

from harness.clients.derp import DerpSession
from headscale.derp import stun
from headscale.derp.relay import AdmissionAsked, Finished, Relay
from headscale.errors import HeadscaleError, Malformed
from headscale.keys import PrivateKey, machine_key
from headscale.mapper.render import plain
from headscale.policy import hujson
from headscale.policy.parse import parse_policy
from headscale.state.report import report
from headscale.tailcfg.maps import MapRequest
from headscale.tailcfg.names import decode_request
from headscale.tailcfg.register import RegisterRequest
from headscale.ts2021 import http2
from headscale.ts2021.client import ClientConnection
from headscale.ts2021.connection import Closed, Request, ServerConnection
from headscale.ts2021.handshake import load_key
from headscale.ts2021.records import RecordBroken, RecordOpener
from tests.builders import moment, node, tailnet, with_nodes

SERVER, MACHINE, EPHEMERAL, OTHER = (load_key(PrivateKey(bytes([n]) * 32)) for n in (1, 2, 3, 4))
RECORD_KEY: Final = bytes(32)
TAILNET: Final = with_nodes(tailnet("alice"), node(1), node(2))


def fuzz_hujson(data: bytes) -> None:
    """A policy's text: a tree or an error with a place, and then a document or complaints."""
    with contextlib.suppress(Malformed):
        tree = hujson.parse(data)
        assert tree is not None
        assert len(hujson.strip(data)) >= 0
    with contextlib.suppress(HeadscaleError):
        parse_policy(data)


def fuzz_noise(data: bytes) -> None:
    """A handshake in the first 101 bytes and records behind it, in pieces of 37 bytes."""
    with contextlib.suppress(Malformed):
        ServerConnection.accept(data[:101], static=SERVER, ephemeral=OTHER, now=0.0)
    opener = RecordOpener(RECORD_KEY)
    with contextlib.suppress(RecordBroken):
        for piece in _pieces(data[101:], 37):
            opener.receive(piece)


def fuzz_http2(data: bytes) -> None:
    """Frames inside a session, after the client's preface: events, of which Closed comes once and last."""
    client = ClientConnection(machine_key(SERVER.public), version=142, static=MACHINE, ephemeral=EPHEMERAL)
    server = ServerConnection.accept(client.initiation, static=SERVER, ephemeral=OTHER, now=0.0)
    client.receive(server.data_to_send())
    server.receive(client.data_to_send(), 0.0)
    events: list[object] = []
    for number, piece in enumerate(_pieces(data, 600)):
        for event in server.receive(client.seal(piece), float(number)):
            events.append(event)
            if isinstance(event, Request):
                server.respond(event.stream_id, 200, "text/plain", bytes(1000))
        server.data_to_send()
    events += server.tick(1e6)
    closings = [at for at, event in enumerate(events) if isinstance(event, Closed)]
    assert closings in ([], [len(events) - 1]), events
    assert server.queued_bytes <= http2.MAX_STREAMS * 1000


def fuzz_derp(data: bytes) -> None:
    """Bytes before a login, and the same as frames of a client that is in: another client stays."""
    private = PrivateKey(b"\x40" * 32)
    relay = Relay(private, random_bytes=lambda count: bytes(count), jitter=lambda: 0.0)
    stranger = relay.open(now=0.0)
    for piece in _pieces(data, 50):
        if any(isinstance(event, Finished) for event in relay.receive(stranger, piece, now=0.0)):
            break
    relay.close(stranger)
    honest, member = _logged_in(relay, 5), _logged_in(relay, 6)
    for number, piece in enumerate(_pieces(data, 50)):
        if any(
            isinstance(event, Finished) and event.connection == member
            for event in relay.receive(member, piece, now=1.0 + number)
        ):
            relay.close(member)
            break
        relay.take(honest, 4096)
    relay.take(honest, 1 << 20)
    relay.tick(now=30.0)
    assert relay.clients >= 1
    assert relay.take(honest, 0) == b""


def _logged_in(relay: Relay, number: int) -> int:
    connection = relay.open(now=0.0)
    session = DerpSession(PrivateKey(bytes([number]) * 32))
    session.receive(relay.take(connection, 4096))
    for event in relay.receive(connection, session.to_send(), now=0.0):
        if isinstance(event, AdmissionAsked):
            for _ in relay.admit(connection, now=0.0):
                pass
    relay.take(connection, 4096)
    return connection


def fuzz_stun(data: bytes) -> None:
    """A datagram: silence, or an answer that is no longer than it, but for the longer address of IPv6."""
    short = stun.answer(data, IPv4Address("192.0.2.1"), 41641)
    long = stun.answer(data, IPv6Address("2001:db8::1"), 41641)
    assert (short is None) == (long is None)
    if short is not None and long is not None:
        assert len(short) <= len(data)
        assert len(long) <= len(data) + 4
        assert short[8:20] == data[8:20]


def fuzz_map_request(data: bytes) -> None:
    """A map request and a registration: refused, or what it reports is taken and can be sent on."""
    with contextlib.suppress(HeadscaleError):
        asked = decode_request(data, RegisterRequest)
        plain(asked.hostinfo.hostname if asked.hostinfo else "")
    try:
        request = decode_request(data, MapRequest)
        effect = report(TAILNET, moment(), node_id=1, request=request)
    except HeadscaleError:
        return
    described = effect.snapshot.nodes[1]
    msgspec.json.encode(described.hostinfo)
    assert 1 <= len(described.given_name) <= 63


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "hujson": fuzz_hujson,
    "noise": fuzz_noise,
    "http2": fuzz_http2,
    "derp": fuzz_derp,
    "stun": fuzz_stun,
    "map_request": fuzz_map_request,
}
