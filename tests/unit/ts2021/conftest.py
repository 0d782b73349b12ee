"""A client core and a server core that talk to each other without a socket."""

from dataclasses import dataclass, field

import pytest

from headscale.keys import PrivateKey, machine_key
from headscale.ts2021 import client, connection
from headscale.ts2021.client import ClientConnection
from headscale.ts2021.connection import ServerConnection
from headscale.ts2021.handshake import load_key

SERVER, MACHINE, CLIENT_EPHEMERAL, SERVER_EPHEMERAL = (
    load_key(PrivateKey(bytes([n]) * 32)) for n in (1, 2, 3, 4)
)


@dataclass
class Dialogue:
    """Both ends, the time, and everything that they heard."""

    client: ClientConnection
    server: ServerConnection
    now: float = 0.0
    heard: list[client.Event] = field(default_factory=list)
    asked: list[connection.Event] = field(default_factory=list)

    def talk(self) -> None:
        """Carry bytes both ways until nobody says anything."""
        while self.carry_down() or self.carry_up():
            pass

    def carry_down(self) -> bool:
        """One helping from the server to the client."""
        data = self.server.data_to_send()
        self.heard += self.client.receive(data)
        return bool(data)

    def carry_up(self) -> bool:
        """One helping from the client to the server."""
        data = self.client.data_to_send()
        self.asked += self.server.receive(data, self.now)
        return bool(data)

    def frames(self, data: bytes) -> list[connection.Event]:
        """Any bytes from the client, sealed."""
        events = self.server.receive(self.client.seal(data), self.now)
        self.asked += events
        return events

    def requests(self) -> list[connection.Request]:
        return [event for event in self.asked if isinstance(event, connection.Request)]

    def closed(self) -> str | None:
        """Why the server closed the session, if it did."""
        reasons = [event.reason for event in self.asked if isinstance(event, connection.Closed)]
        assert len(reasons) <= 1
        return reasons[0] if reasons else None

    def body(self, stream_id: int) -> bytes:
        """What the client heard of an answer."""
        pieces = [event for event in self.heard if isinstance(event, client.Data)]
        return b"".join(piece.data for piece in pieces if piece.stream_id == stream_id)


def make_dialogue(*, window: int = client.GO_STREAM_WINDOW_BYTES, challenge=None) -> Dialogue:
    ends = ClientConnection(
        machine_key(SERVER.public),
        version=113,
        static=MACHINE,
        ephemeral=CLIENT_EPHEMERAL,
        stream_window_bytes=window,
    )
    server = ServerConnection.accept(
        ends.initiation, static=SERVER, ephemeral=SERVER_EPHEMERAL, now=0.0, challenge=challenge
    )
    return Dialogue(ends, server)


@pytest.fixture
def fresh() -> Dialogue:
    """Nothing was said yet."""
    return make_dialogue()


@pytest.fixture
def dialogue() -> Dialogue:
    """The handshake and both SETTINGS are through."""
    made = make_dialogue()
    made.talk()
    return made


@pytest.fixture
def narrow() -> Dialogue:
    """As `dialogue`, with a client that lets 1,000 bytes a stream through."""
    made = make_dialogue(window=1000)
    made.talk()
    return made


@pytest.fixture
def challenged() -> Dialogue:
    """Nothing was said yet, and the server will begin with an early payload."""
    return make_dialogue(challenge="chalpub:" + "5" * 64)
