"""Calls the server's API, over its Unix socket or from elsewhere with an API key."""

import contextlib
import json
import time
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from headscale.cli.framework import Failed, session
from headscale.cli.reach import Server, server_of

# A server that was just started opens its socket late; try again that often until the time is up.
RETRY_FIRST_S: Final = 0.05
RETRY_MAX_S: Final = 1.0
READ_BYTES: Final = 64 * 1024


class Refused(Failed):
    """The server said no; `document` is its answer."""

    def __init__(self, words: str, document: Any) -> None:
        super().__init__(words)
        self.document = document


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server that is just starting, and for its answer; the configured time if not said."""

    start: timedelta | None = None
    answer: timedelta | None = None


def call(
    method: str,
    path: str,
    *,
    body: Any = None,
    query: dict[str, str] | None = None,
    patience: Patience = Patience(),
) -> Any:
    """The answer's document. Raises Refused with the server's own words, or NoServer."""
    config = session().config()
    server = server_of(config)
    start = patience.start if patience.start is not None else config.cli_timeout
    answered_in = max(patience.answer or config.cli_timeout, config.cli_timeout).total_seconds()
    target = urlsplit(server.url).path + path + (f"?{urlencode(query)}" if query else "")
    deadline = time.monotonic() + start.total_seconds()
    pause = RETRY_FIRST_S
    while True:
        until = time.monotonic() + answered_in
        try:
            connection = server.connect(answered_in)
        except TimeoutError:
            raise _late(answered_in) from None
        except OSError as problem:
            if (reason := server.why_not(problem)) is not None:
                raise reason from None
            if time.monotonic() + pause >= deadline:
                raise server.silence from None
        else:
            with contextlib.closing(connection):
                try:
                    answer = _exchange(connection, server, method, target, body, until=until)
                except TimeoutError:
                    raise _late(answered_in) from None
                except (HTTPException, OSError) as problem:
                    raise Failed(f"{server.name} did not answer as it should: {problem}") from None
            return _document(answer, server)
        time.sleep(pause)
        pause = min(pause * 2, RETRY_MAX_S)


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    location: str
    body: bytes


def _exchange(
    connection: HTTPConnection, server: Server, method: str, target: str, body: Any, *, until: float
) -> _Answer:
    """One question and its answer. Raises TimeoutError when the time is up, HTTPException or OSError."""
    transport = connection.sock
    text = json.dumps(body).encode() if body is not None else None
    headers = {**server.headers, "Accept": "application/json"}
    if text is not None:
        headers["Content-Type"] = "application/json"
    # A server that refuses a long question may answer and hang up before it read all of it.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, target, body=text, headers=headers)
    transport.settimeout(_left(until))
    response = connection.getresponse()
    parts = []
    while not response.isclosed():
        transport.settimeout(_left(until))
        part = response.read1(READ_BYTES)
        if not part:
            break
        parts.append(part)
    if response.length:  # it ended in the middle
        raise HTTPException(f"{response.length} bytes of its answer are missing")
    return _Answer(response.status, response.headers.get("Location", ""), b"".join(parts))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _late(seconds: float) -> Failed:
    return Failed(f"the server did not answer within {seconds:g} s")


def _document(answer: _Answer, server: Server) -> Any:
    """What was answered; raises Refused with the server's words, or Failed for what is no answer of a headscale."""
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = None
    if answer.status in (200, 202) and document is not None:
        return document
    if answer.status == 401 and not server.socket:
        raise Failed(
            f"{server.name} does not accept this API key (cli.api_key): it is unknown there, has expired or was "
            "deleted. Make another with `headscale apikeys create` on the server"
        )
    if not isinstance(document, dict) or not document.keys() & {"detail", "message"}:  # of v1 and of v2
        where = f" and points to {answer.location}" if answer.location else ""
        raise Failed(f"{server.name} answered {answer.status}{where}, and not as a headscale does")
    raise Refused(_words(document, answer.status), document)


def _words(document: Any, status: int) -> str:
    said = document if isinstance(document, dict) else {}
    return str(said.get("detail") or said.get("message") or f"the server answered {status}")
