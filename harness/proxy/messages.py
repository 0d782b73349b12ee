"""What passes through the control proxy: one message each, in order, and predicates that choose some of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

Json = dict[str, Any]

REGISTER: Final = "register"
MAP: Final = "map"
SECRETS: Final = ("AuthKey", "RegisterSecret")
_MASKED: Final = "…"


class To(StrEnum):
    """Whither a message goes."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Message:
    """One request, one answer, or one message of a map poll."""

    number: int
    """Counts all messages of a proxy, from 1."""
    at: float
    """Seconds since the proxy began."""
    wall: datetime
    client: str
    """What the client calls itself (its Hostinfo's host name); empty before it has said so."""
    machine: str
    """Its machine key, as the client has it."""
    to: To
    kind: str
    """The request's path below /machine/: register, map, update-health, …"""
    exchange: int
    """Counts requests; an answer has its request's."""
    body: Json | bytes
    """JSON objects decoded, everything else as it came."""
    status: int = 200
    """Of an answer."""

    @property
    def json(self) -> Json:
        """The body's fields; none if it is not a JSON object."""
        return self.body if isinstance(self.body, dict) else {}

    @property
    def streams(self) -> bool:
        """Whether this is a request for a map poll, whose answer goes on."""
        return self.to is To.SERVER and self.kind == MAP and bool(self.json.get("Stream"))

    def with_body(self, body: Json | bytes) -> "Message":
        """The same with another body."""
        return replace(self, body=body)

    def __str__(self) -> str:
        fields = ", ".join(sorted(self.json)) or f"{len(self.body)} bytes"
        return f"#{self.number} {self.kind} of {self.client or 'a new client'} to {self.to}: {fields}"


Chooses = Callable[[Message], bool]
"""Whether a rule is about this message."""


def requests(kind: str, *, of: str | None = None, when: Callable[[Json], bool] | None = None) -> Chooses:
    """Requests of this kind, of the client that calls itself so, whose fields are so."""
    return _chosen(To.SERVER, kind, of, (), when)


def answers(
    kind: str,
    *,
    of: str | None = None,
    having: str | tuple[str, ...] = (),
    when: Callable[[Json], bool] | None = None,
) -> Chooses:
    """Answers to requests of this kind, or messages of a map poll; with `having`, those with one of these fields."""
    return _chosen(To.CLIENT, kind, of, (having,) if isinstance(having, str) else having, when)


def map_responses(
    *,
    of: str | None = None,
    having: str | tuple[str, ...] = (),
    when: Callable[[Json], bool] | None = None,
) -> Chooses:
    """What a map poll tells, keep-alives left out."""
    told = answers(MAP, of=of, having=having, when=when)
    return lambda message: told(message) and not message.json.get("KeepAlive")


def masked(body: Any) -> Any:
    """The body without secrets, for files and reports."""
    if isinstance(body, Mapping):
        return {name: _MASKED if name in SECRETS and value else masked(value) for name, value in body.items()}
    return [masked(each) for each in body] if isinstance(body, list) else body


def _chosen(
    to: To, kind: str, of: str | None, having: tuple[str, ...], when: Callable[[Json], bool] | None
) -> Chooses:
    def chosen(message: Message) -> bool:
        return (
            message.to is to
            and message.kind == kind
            and of in (None, message.client)
            and (not having or any(name in message.json for name in having))
            and (when is None or when(message.json))
        )

    return chosen
