"""Questions to clients (c2n, "control to node"): they go out in the map stream, the answer comes as a request.

The question is a whole HTTP request that the client answers to itself, such as `/echo`; the answer is the raw HTTP
response. Each has a token of its own, which only the machine that was asked can use, once.
Source: tailscale v1.102.4, control/controlclient/direct.go (answerC2NPing), feature/c2n.
"""

import asyncio
import base64
import http.client
import io
import secrets
from dataclasses import dataclass
from typing import Final

from headscale.errors import Malformed, NotFound, Unavailable
from headscale.keys import MachineKey
from headscale.mapper.fanout import Fanout
from headscale.records import Node
from headscale.tailcfg.asks import PingRequest

PATH: Final = "/machine/c2n/"
ANSWER_S: Final = 10.0
# Of all nodes together; whoever asks waits for the answer, so that these are few.
QUESTIONS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client said."""

    status: int
    body: bytes


class NoAnswer(Unavailable):
    """The client was asked, and did not answer in time."""


@dataclass(frozen=True, slots=True)
class _Asked:
    machine_key: MachineKey
    answer: asyncio.Future[Answer]


class Questions:
    """The questions that wait for an answer."""

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._asked: dict[str, _Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    async def ask(
        self, node: Node, *, method: str = "GET", path: str, body: bytes = b"", within_s: float = ANSWER_S
    ) -> Answer:
        """Ask a client. Raises Unavailable when it is not connected, NoAnswer when it does not answer in time."""
        if len(self._asked) >= QUESTIONS_MAX:
            raise Unavailable(f"{QUESTIONS_MAX} questions wait for an answer already: try again in a moment")
        token = secrets.token_hex(16)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[token] = _Asked(node.machine_key, answer)
        ping = PingRequest(
            # https, or the client would leave the tunnel; the host is not looked at.
            url=f"https://unused{PATH}{token}",
            types="c2n",
            payload=base64.b64encode(_request(method, path, body)).decode(),
        )
        try:
            if not self._fanout.ping(node.id, ping):
                raise Unavailable(f"{node.given_name} is not connected")
            async with asyncio.timeout(within_s):
                return await answer
        except TimeoutError:
            raise NoAnswer(f"{node.given_name} did not answer within {within_s:g} s") from None
        finally:
            del self._asked[token]

    def take(self, token: str, machine_key: MachineKey, raw: bytes) -> None:
        """An answer came; raises NotFound for one that nobody waits for (from this machine), Malformed for none."""
        asked = self._asked.get(token)
        if asked is None or asked.machine_key != machine_key or asked.answer.done():
            raise NotFound("nobody waits for this answer")
        asked.answer.set_result(_parsed(raw))


def _request(method: str, path: str, body: bytes) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: c2n\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _parsed(raw: bytes) -> Answer:
    """A raw HTTP response; raises Malformed for what is none."""
    response = http.client.HTTPResponse(_Received(raw))  # type: ignore[arg-type]  # it only wants makefile
    try:
        response.begin()
        return Answer(response.status, response.read())
    except (http.client.HTTPException, ValueError, OSError) as problem:
        raise Malformed(f"the answer is no HTTP response: {problem}") from None


class _Received:
    """Bytes that arrived, as http.client reads them."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)
