"""REST v2: who may ask what, over every route and every scope; and what a request has to be like."""

import base64
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from harness.servers.inprocess import InProcessServer
from headscale.api.v2.endpoints import Endpoint
from headscale.api.v2.table import ENDPOINTS
from headscale.state.scopes import KNOWN
from tests.integration.doors import ROUTES, Door, doors_of

pytestmark = pytest.mark.bar("A11")

MIB = 1024 * 1024
UNAUTHORIZED = (401, {"message": "unauthorized", "status": 401})
# What changes nothing and is asked with a body.
QUESTIONS = {"/tailnet/{tailnet}/acl/validate", "/tailnet/{tailnet}/acl/preview"}
ASKED = [endpoint for endpoint in ENDPOINTS if not endpoint.is_public]


@pytest.fixture
async def doors(server: InProcessServer) -> AsyncIterator[tuple[Door, Door]]:
    async with doors_of(server) as both:
        yield both


@pytest.fixture
def socket(doors: tuple[Door, Door]) -> Door:
    return doors[0]


@pytest.fixture
def main(doors: tuple[Door, Door]) -> Door:
    return doors[1]


@pytest.fixture
async def key(socket: Door) -> str:
    return str((await socket("POST", "apikey", {}))[1]["apiKey"])


@pytest.fixture
async def secret(socket: Door) -> str:
    """The secret of an OAuth client that may do everything."""
    status, client = await socket.v2("POST", "tailnet/-/keys", {"keyType": "client", "scopes": ["all"]})
    assert status == 200
    return str(client["key"])


def is_struct(body: Any) -> bool:
    """Whether the body has fields: not whatever is sent, nor a map of names."""
    return isinstance(body, type(msgspec.Struct))


def path_of(endpoint: Endpoint[Any]) -> str:
    """Its path to something that there is not."""
    return re.sub(r"\{\w+\}", "nothing", endpoint.path.replace("{tailnet}", "-")).removeprefix("/")


async def asked(door: Door, endpoint: Endpoint[Any]) -> tuple[int, Any]:
    """In a way that never succeeds, and so changes nothing that the next needs."""
    return await door.v2(endpoint.method, path_of(endpoint), [])


def name_of(endpoint: Endpoint[Any]) -> str:
    return f"{endpoint.method}-{endpoint.path}"


async def test_each_scope_opens_its_routes_and_no_others(main: Door, secret: str) -> None:
    """Every route with every scope: refused with 403 without one of its own; let in with it, or with `all`."""
    for scope in sorted(KNOWN):
        door = main.with_key(await main.token(secret, scope=scope))
        for endpoint in ASKED:
            status, document = await asked(door, endpoint)
            may = scope in opening(endpoint)
            assert (status != 403) is may, (scope, endpoint.method, endpoint.path, document)
            assert status != 401


def opening(endpoint: Endpoint[Any]) -> set[str]:
    """The scopes that open a route, spelled out: its own, that of changes for reading, and everything's."""
    reading = {scope.removesuffix(":read") for scope in endpoint.scopes if scope.endswith(":read")}
    return {"all", *endpoint.scopes, *reading, *({"all:read"} if reading else ())}


def test_a_route_needs_a_scope_that_there_is_and_a_change_one_that_may_change() -> None:
    for endpoint in ASKED:
        assert endpoint.scopes
        assert KNOWN.issuperset(endpoint.scopes)
        reads = {scope.endswith(":read") for scope in endpoint.scopes}
        is_question = endpoint.method == "GET" or endpoint.path in QUESTIONS
        assert reads == {is_question}, endpoint.path
    assert len({(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}) == len(ENDPOINTS)


@pytest.mark.parametrize("endpoint", ASKED, ids=name_of)
async def test_every_route_asks_for_a_credential(
    main: Door, socket: Door, key: str, secret: str, endpoint: Endpoint[Any]
) -> None:
    """An API key or a token, as Bearer or as the user name of Basic; nothing else is one."""
    token = await main.token(secret)
    assert await asked(main, endpoint) == UNAUTHORIZED
    for bad in (secret, key[:-1], token[:-1], token + "0", "", "x", token.replace("oauthtok", "api")):
        for scheme in (f"Bearer {bad}", basic(bad), basic("x", bad)):
            assert await asked(main.with_headers(Authorization=scheme), endpoint) == UNAUTHORIZED
    by_socket = await asked(socket, endpoint)
    for good in (key, token):
        for scheme in (f"Bearer {good}", f"bearer {good}", basic(good), basic(good, "anything")):
            assert await asked(main.with_headers(Authorization=scheme), endpoint) == by_socket
    assert by_socket[0] not in (401, 403)


def basic(name: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "header", ["Basic", "Basic x", "Basic ====", "Basic " + "eA==", "Digest x", "Basic \u00ff"]
)
async def test_half_a_header_is_no_credential(main: Door, header: str) -> None:
    assert await main.with_headers(Authorization=header).v2("GET", "tailnet/-/devices") == UNAUTHORIZED


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: str(part).replace("/api/v1/", ""))
async def test_a_token_is_none_on_v1(main: Door, secret: str, method: str, path: str) -> None:
    door = main.with_key(await main.token(secret))
    unauthorized = {"title": "Unauthorized", "status": 401, "detail": "Unauthorized"}
    assert await door(method, re.sub(r"\{[a-z]+\}", "1", path), {}) == (401, unauthorized)


async def test_what_is_not_there_is_not_told_to_strangers(main: Door, key: str) -> None:
    for method, path in (("GET", "nothing"), ("PATCH", "tailnet/-/devices"), ("GET", "")):
        assert await main.v2(method, path) == UNAUTHORIZED
    admin = main.with_key(key).v2
    assert (await admin("GET", "nothing"))[0] == 404
    assert (await admin("PATCH", "tailnet/-/devices"))[0] == 405


@pytest.mark.parametrize(
    ("tailnet", "is_ours"),
    [("-", True), ("127.0.0.1", True), ("example.com", False), ("0", False), ("--", False)],
)
async def test_there_is_one_tailnet(socket: Door, tailnet: str, is_ours: bool) -> None:
    """It is called `-`, or by the name that clients are told; on every route."""
    for endpoint in ENDPOINTS:
        if "{tailnet}" in endpoint.path:
            path = path_of(endpoint).replace("/-", f"/{tailnet}", 1)
            status, document = await socket.v2(endpoint.method, path, [])
            told = document["message"] if status == 404 else ""
            assert told.startswith("no tailnet is named") is not is_ours, path


@pytest.mark.parametrize("endpoint", [each for each in ASKED if is_struct(each.body)], ids=name_of)
async def test_a_body_is_what_the_route_takes(
    server: InProcessServer, key: str, endpoint: Endpoint[Any]
) -> None:
    """JSON that is something else is a 422, what is no JSON or not there a 400, another type of content a 415."""
    headers = {"Authorization": f"Bearer {key}"}
    url = f"/api/v2/{path_of(endpoint)}"
    async with aiohttp.ClientSession(server.url, headers=headers) as http:

        async def status(body: bytes, **more: str) -> int:
            async with http.request(endpoint.method, url, data=body, headers=more) as answer:
                document = await answer.json()
                assert (document["status"], bool(document["message"])) == (answer.status, True)
                return answer.status

        json = {"Content-Type": "application/json"}
        for wrong in (b"[]", b"1", b'"x"', b"null", b'{"unknown": 1}'):
            assert await status(wrong, **json) == 422, wrong
        for name in msgspec.structs.fields(endpoint.body):
            wrong = msgspec.json.encode({name.encode_name: {"x": [{}]}})
            assert await status(wrong, **json) == 422, wrong
        for none in (b"", b"  ", b"{", b'{"a": 1} x', b"\xff", b'{"name": "\\ud800"}', b"[" * 100_000):
            assert await status(none, **json) == 400, none[:20]
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/hujson", "x"):
            assert await status(b"[]", **{"Content-Type": kind}) == 415
        assert await status(b"[]", **{"Content-Type": "application/json; charset=utf-8"}) == 422
        assert await status(b"[]".ljust(MIB), **json) == 422
        assert await status(b"[]".ljust(MIB + 1), **json) == 413


async def test_answers_have_the_listeners_headers(server: InProcessServer, key: str) -> None:
    async with aiohttp.ClientSession(server.url) as http:
        for given, status in (({}, 401), ({"Authorization": f"Bearer {key}"}, 200)):
            async with http.get("/api/v2/tailnet/-/devices", headers=given) as answer:
                assert (answer.status, answer.content_type) == (status, "application/json")
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize("path", ["openapi.json", "openapi.yaml"])
async def test_the_description_is_for_everybody(server: InProcessServer, path: str) -> None:
    async with aiohttp.ClientSession(server.url) as http:
        async with http.get(f"/api/v2/{path}") as answer:
            assert (answer.status, b"/api/v2/device/{id}" in await answer.read()) == (200, True)
