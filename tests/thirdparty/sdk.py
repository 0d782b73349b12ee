"""Methods of the official Go client, called by way of our program around it (gosdk/)."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from tests.thirdparty.programs import Program

SOURCE: Final = Path(__file__).parent / "gosdk"
# The minimum in its go.mod.
GO: Final = "1.25.0"
POLICY: Final = '{"tagOwners": {"tag:ci": [], "tag:web": ["tag:ci"]}}'

Sdk = Callable[..., Awaitable[Any]]


def caller(gosdk: Program, **login: str) -> Sdk:
    """Call a method: area, verb and arguments; its result."""

    async def call(area: str, verb: str, *arguments: object) -> Any:
        done = await gosdk(area, verb, *map(json.dumps, arguments), **login)
        assert done.code == 0, done.out + done.err
        return done.document

    return call


def refuser(gosdk: Program, **login: str) -> Sdk:
    """Call a method that the server refuses, in words; the status, which the client tells a 404 by."""

    async def call(area: str, verb: str, *arguments: object) -> Any:
        done = await gosdk(area, verb, *map(json.dumps, arguments), **login)
        assert done.code == 1, done.out + done.err
        assert done.document["notFound"] is (done.document["status"] == 404)
        assert done.document["error"] != f" ({done.document['status']})"
        return done.document["status"]

    return call
