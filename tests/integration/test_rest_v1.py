"""REST v1 request by request: the recorded pairs, over both doors."""

import os
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from harness.servers.inprocess import InProcessServer
from headscale.api.v1.operations import OPERATIONS
from tests.integration import restpairs
from tests.integration.doors import ROUTES, Door, doors_of
from tests.integration.fakes import Tailnet

PAIRS = restpairs.load()
RECORDING = bool(os.environ.get("RECORD_REST_V1"))


@pytest.fixture(params=["socket"] if RECORDING else ["socket", "key"])
async def door(
    request: pytest.FixtureRequest, server: InProcessServer, tailnet: Tailnet
) -> AsyncIterator[Door]:
    """The furnished tailnet's administrator, at each of the doors."""
    async with doors_of(server) as (socket, main):
        key = (await socket("POST", "apikey"))[1]["apiKey"]
        await restpairs.furnish(tailnet, socket)
        yield socket if request.param == "socket" else main.with_key(key)


def is_described(method: str, path: str, document: dict[str, Any]) -> None:
    """The document is what the description of its route says: no field more, and none less that is required."""
    path = "/" + path.partition("?")[0]
    [operation] = [
        operation
        for (asked, pattern), operation in sorted(OPERATIONS.items(), key=lambda item: "{" in item[0][1])
        if asked == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path)
    ][:1]
    msgspec.convert(document, operation.answer, strict=True)
    known = set(operation.answer.__struct_encode_fields__)
    assert set(document) <= known
    assert known - set(document) <= {"policyProblem"}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair["id"])
async def test_an_answer_is_as_it_was_recorded(door: Door, pair: dict[str, Any]) -> None:
    """Every field, its type, and what is null, empty or absent."""
    status, document = await door(pair["method"], pair["path"], pair["body"])
    if status == 200:
        is_described(pair["method"], pair["path"], document)
    if RECORDING:
        pair["status"], pair["answer"] = status, restpairs.plain(document)
        restpairs.record(PAIRS)
    assert (status, restpairs.plain(document)) == (pair["status"], pair["answer"])


def test_every_route_of_the_peer_has_a_pair() -> None:
    """Our own routes may do without."""
    asked = {(pair["method"], pair["path"].partition("?")[0].split("/")[0]) for pair in PAIRS}
    ours = {"settings", "audit"}
    asked.add(("GET", "debug"))  # debug/overview is ours, too
    wanted = {(method, path.removeprefix("/api/v1/").split("/")[0]) for method, path in ROUTES}
    assert {route for route in wanted if route[1] not in ours} <= asked
