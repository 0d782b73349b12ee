"""Whatever stands in a field, the API answers with a document and never with a fault of its own."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from harness.servers.inprocess import InProcessServer
from tests.integration import restpairs
from tests.integration.doors import ROUTES, Door, doors_of
from tests.integration.fakes import Tailnet

pytestmark = pytest.mark.bar("A10")

IDS = [
    "0",
    "-1",
    "1",
    str(2**63),
    str(2**64),
    "9" * 400,
    "1.0",
    "+1",
    " 1",
    "alice",
    "٣",
    "\0",
    "..",
    "%",
    "\U0001f642",
]
TEXTS = [
    *(
        "",
        " ",
        "\0",
        "a" * 300,
        "a\nb",
        "<script>alert(1)</script>",
        "'; DROP TABLE nodes; --",
        '"}',
        "\u202eabc",
    ),
    *("\ufeff", "é", "\U0001f642", "-", "tag:", "tag:\0", "10.0.0.0/999", "9999-12-31T23:59:59-23:59"),
    *("0001-01-01T00:00:00+23:59", "hskey-authreq-" + "0" * 24, "%s%n{0}", "../../etc/passwd"),
]
OTHERS: list[Any] = [None, True, 0, -1, 2**63, 2**64, 10**400, 1.5, [], [[]], [None], ["x"], {}, {"a": {}}]
# The fields that bodies have, by the path's first part; every one of them is tried on every route below it.
FIELDS = {
    "user": ("name", "displayName", "email", "pictureUrl"),
    "preauthkey": ("user", "reusable", "ephemeral", "expiration", "aclTags", "preauthorized", "id"),
    "apikey": ("expiration", "prefix", "id"),
    "node": ("expiry", "disableExpiry", "tags", "routes", "authorized"),
    "debug": ("user", "key", "name", "routes"),
    "auth": ("user", "authId"),
    "policy": ("policy", "old", "new", "source", "destination", "protocol"),
    "settings": ("deviceApproval",),
}
# A ping waits for its device, and reads neither body nor query.
QUICK = [route for route in ROUTES if not route[1].endswith("/ping")]
QUERIES = ("user", "key", "id", "name", "email", "expiry", "disableExpiry", "confirmed", "before", "limit")


@pytest.fixture
async def door(server: InProcessServer, tailnet: Tailnet) -> AsyncIterator[Door]:
    """The main listener of a furnished tailnet, with a key."""
    async with doors_of(server) as (socket, main):
        key = (await socket("POST", "apikey"))[1]["apiKey"]
        await restpairs.furnish(tailnet, socket)
        yield main.with_key(key)


async def answers(door: Door, method: str, path: str, body: object = None, **more: Any) -> None:
    """Any answer but a fault of the server's; a device that cannot be asked is none."""
    status, document = await door(method, path, body, **more)
    assert status in {200, 400, 401, 404, 405, 409, 413}, (status, path, body, document)
    assert isinstance(document, dict)


def names(route: tuple[str, str]) -> str:
    return "-".join(route).replace("/api/v1/", "")


@pytest.mark.parametrize("route", [route for route in ROUTES if "{" in route[1]], ids=names)
async def test_any_text_may_stand_in_a_path(door: Door, route: tuple[str, str]) -> None:
    method, path = route
    for text in [*IDS, *TEXTS]:
        await answers(door, method, re.sub(r"\{[a-z]+\}", quote(text, safe="") or "%20", path))


@pytest.mark.parametrize("route", [route for route in QUICK if route[0] != "GET"], ids=names)
async def test_anything_may_stand_in_a_field(door: Door, route: tuple[str, str]) -> None:
    method, path = route
    path = re.sub(r"\{[a-z]+\}", "1", path)
    for field in FIELDS[path.removeprefix("/api/v1/").split("/")[0]]:
        for value in [*TEXTS, *IDS, *OTHERS, *([text] for text in TEXTS)]:
            await answers(door, method, path, {"user": "1", "name": "x", field: value})


@pytest.mark.parametrize("route", QUICK, ids=names)
async def test_anything_may_stand_in_a_query(door: Door, route: tuple[str, str]) -> None:
    method, path = route
    path = re.sub(r"\{[a-z]+\}", "77", path)
    for text in [*IDS[:6], *TEXTS]:
        await answers(door, method, path, params=dict.fromkeys(QUERIES, text))


async def test_half_a_character_is_malformed(server: InProcessServer, door: Door) -> None:
    """JSON can spell what UTF-8 cannot."""
    connector = aiohttp.UnixConnector(str(server.settings.socket))
    async with aiohttp.ClientSession("http://headscale", connector=connector) as http:
        for text in ('{"name": "\\ud800"}', '{"name": "a\\udfffb"}'):
            async with http.post("/api/v1/user", data=text) as answer:
                assert (answer.status, json.loads(await answer.read())["status"]) == (400, 400)
