"""Whatever stands in a field, REST v2 answers with a document and never with a fault of its own."""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from harness.servers.inprocess import InProcessServer
from headscale.api.v2.endpoints import Endpoint
from headscale.api.v2.table import ENDPOINTS
from tests.integration import restpairs
from tests.integration.doors import Door, doors_of
from tests.integration.fakes import Tailnet
from tests.integration.test_api_sweep import IDS, OTHERS, TEXTS

pytestmark = pytest.mark.bar("A10")

WITH_PARTS = [each for each in ENDPOINTS if re.search(r"\{(?!tailnet)", each.path)]
WITH_FIELDS = [each for each in ENDPOINTS if isinstance(each.body, type(msgspec.Struct))]
ANSWERS = {200, 400, 401, 403, 404, 405, 409, 413, 415, 422, 501}
# A body in which everything is right, by the last word of the path.
GOOD: dict[str, dict[str, Any]] = {
    "keys": {
        "keyType": "auth",
        "capabilities": {
            "devices": {
                "create": {"reusable": True, "ephemeral": True, "preauthorized": True, "tags": ["tag:web"]}
            }
        },
    },
    "{id}": {"keyType": "client", "scopes": ["dns"]},
    "{attribute}": {"value": 1},
    "device-attributes": {"nodes": {"1": {"custom:a": {"value": 1}}}},
}


@pytest.fixture
async def door(server: InProcessServer, tailnet: Tailnet) -> AsyncIterator[Door]:
    """The main listener of a furnished tailnet, with a token for everything."""
    async with doors_of(server) as (socket, main):
        await restpairs.furnish(tailnet, socket)
        client = (await socket.v2("POST", "tailnet/-/keys", {"keyType": "client", "scopes": ["all"]}))[1]
        yield main.with_key(await main.token(client["key"])).v2


async def answers(door: Door, method: str, path: str, body: object = None, **more: Any) -> None:
    """Any answer but a fault of the server's."""
    status, document = await door(method, path, body, **more)
    assert status in ANSWERS, (status, path, body, document)
    assert isinstance(document, dict)


def names(endpoint: Endpoint[Any]) -> str:
    return f"{endpoint.method}-{endpoint.path}"


def path_of(endpoint: Endpoint[Any], text: str) -> str:
    path = endpoint.path.removeprefix("/").replace("{tailnet}", "-")
    return re.sub(r"\{\w+\}", quote(text, safe="") or "%20", path)


@pytest.mark.parametrize("endpoint", WITH_PARTS, ids=names)
async def test_any_text_may_stand_in_a_path(door: Door, endpoint: Endpoint[Any]) -> None:
    for text in [*IDS, *TEXTS]:
        await answers(door, endpoint.method, path_of(endpoint, text), {})


@pytest.mark.parametrize("endpoint", WITH_FIELDS, ids=names)
async def test_anything_may_stand_in_a_field(door: Door, endpoint: Endpoint[Any]) -> None:
    """Alone, in a list and under a name."""
    good = GOOD.get(endpoint.path.rpartition("/")[2], {})
    for field in msgspec.structs.fields(endpoint.body):
        for value in [*TEXTS, *IDS, *OTHERS]:
            for shaped in (value, [value], {"1": {"custom:a": {"value": value}}}):
                await answers(
                    door, endpoint.method, path_of(endpoint, "1"), {**good, field.encode_name: shaped}
                )


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.query], ids=names)
async def test_anything_may_stand_in_a_query(door: Door, endpoint: Endpoint[Any]) -> None:
    for text in (text for text in [*IDS, *TEXTS] if len(text) < 100):  # in twenty fields: a line has 8 KiB
        await answers(
            door, endpoint.method, path_of(endpoint, "1"), params=dict.fromkeys(endpoint.query, text)
        )
        await answers(door, endpoint.method, path_of(endpoint, "1"), params={text: text})


async def test_anything_may_stand_in_a_form(door: Door) -> None:
    for text in [*IDS, *TEXTS]:
        for field in ("grant_type", "client_secret", "client_id", "scope", "tags"):
            await answers(door, "POST", "oauth/token", data={"client_secret": "x", field: text})
