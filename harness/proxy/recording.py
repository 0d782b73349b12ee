"""What a proxy saw, as a file of JSON lines, and what became of a client's netmap step by step.

A file has one message a line and no secrets: keys that let devices in are masked.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.clients.netmap import InitialMapIncomplete, NetMap
from harness.errors import HarnessError
from harness.proxy.messages import MAP, REGISTER, Json, Message, To, masked


class RecordingBroken(HarnessError):
    """A file that is no recording; the text says where."""


@dataclass(frozen=True, slots=True)
class Step:
    """One message of a map poll and the netmap that it made. `trouble` is what a client would have said of it."""

    message: Message
    netmap: NetMap
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Poll:
    """One map poll of a client."""

    client: str
    request: Message
    responses: tuple[Message, ...]

    @property
    def version(self) -> int:
        """The client's capability version."""
        return int(self.request.json.get("Version") or 0)

    def steps(self) -> Iterator[Step]:
        """Its messages with the netmap after each, keep-alives included; each netmap is a state of its own."""
        netmap = NetMap(version=self.version)
        for message in self.responses:
            netmap = _copied(netmap)
            try:
                netmap.apply(message.json, now=message.wall.isoformat())
            except InitialMapIncomplete as problem:
                yield Step(message, netmap, str(problem))
                return
            yield Step(message, netmap)


def polls(messages: Sequence[Message], *, client: str | None = None) -> list[Poll]:
    """The map polls among these messages, in the order in which they began."""
    asked = [message for message in messages if message.streams and client in (None, message.client)]
    return [Poll(request.client, request, tuple(_answers(messages, request))) for request in asked]


def registration(messages: Sequence[Message], *, client: str) -> Message | None:
    """The last answer that let the client in."""
    found = [
        message
        for message in messages
        if message.to is To.CLIENT
        and message.kind == REGISTER
        and message.client == client
        and message.json.get("MachineAuthorized")
    ]
    return found[-1] if found else None


def clients(messages: Iterable[Message]) -> list[str]:
    """Who spoke, by name."""
    return sorted({message.client for message in messages if message.client})


def lines(messages: Iterable[Message]) -> Iterator[str]:
    """One line of JSON for each, without secrets."""
    for message in messages:
        fields = asdict(message) | {"wall": message.wall.isoformat(timespec="milliseconds")}
        body = masked(message.json) if isinstance(message.body, dict) else None
        fields["body"] = body if body is not None else None
        if isinstance(message.body, bytes):
            fields["bytes"] = len(message.body)
        yield json.dumps(fields)


def read_recording(path: Path) -> list[Message]:
    """The messages of a file. Raises RecordingBroken naming the line."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            found.append(_message(json.loads(line)))
        except (ValueError, TypeError, KeyError) as problem:
            raise RecordingBroken(
                f"{path}, line {number}: not a message of the control proxy: {problem}"
            ) from None
    return found


def _message(fields: dict[str, Any]) -> Message:
    length = fields.pop("bytes", None)
    body: Json | bytes = fields["body"] if length is None else bytes(length)
    if not isinstance(body, dict | bytes):
        raise TypeError("its body is no object")
    return Message(
        **(fields | {"wall": datetime.fromisoformat(fields["wall"]), "to": To(fields["to"]), "body": body})
    )


def _answers(messages: Sequence[Message], request: Message) -> Iterator[Message]:
    return (
        message
        for message in messages
        if message.to is To.CLIENT and message.kind == MAP and message.exchange == request.exchange
    )


def _copied(netmap: NetMap) -> NetMap:
    """Its own containers around the same nodes, which are never edited."""
    other = copy(netmap)
    for name in ("peers", "profiles", "packet_filters", "display_messages"):
        setattr(other, name, dict(getattr(netmap, name)))
    return other
