"""REST v1 as scripts and web front ends of the peer know it: every field, every error."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from harness.servers.inprocess import InProcessServer
from headscale.records import TAGGED_USER_ID
from tests.integration.fakes import Join, Tailnet

Call = Callable[..., Awaitable[tuple[int, Any]]]
# The list that the peer's clients were written for, and the two of ours; nothing of an object is ever left out.
USER = {"id", "name", "createdAt", "displayName", "email", "providerId", "provider", "profilePicUrl"}
KEY = {
    *("user", "id", "key", "reusable", "ephemeral", "used", "expiration", "createdAt", "aclTags"),
    "preauthorized",
}
NODE = {
    *("id", "machineKey", "nodeKey", "discoKey", "ipAddresses", "name", "user", "lastSeen", "expiry"),
    *("preAuthKey", "createdAt", "registerMethod", "givenName", "online", "approvedRoutes"),
    *("availableRoutes", "subnetRoutes", "tags", "authorized"),
}
NO_IDS = ["0", "-1", str(2**63), str(2**64), "abc", "1.0", "01x", "٣", "%20", "9" * 100]


@pytest.fixture
async def call(server: InProcessServer) -> AsyncIterator[Call]:
    """Ask the API on its socket: the status and the document."""
    connector = aiohttp.UnixConnector(str(server.settings.socket))
    async with aiohttp.ClientSession("http://headscale", connector=connector) as session:

        async def called(method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any]:
            async with session.request(method, f"/api/v1/{path}", json=body, **more) as answer:
                if answer.status != 200:
                    assert answer.content_type == "application/problem+json"
                return answer.status, await answer.json(content_type=None)

        yield called


def a_time(text: str) -> datetime:
    """An RFC 3339 time in UTC."""
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def is_problem(answer: tuple[int, Any], status: int, title: str, words: str) -> None:
    """An RFC 7807 document with these words."""
    code, document = answer
    assert (code, document["status"], document["title"]) == (status, status, title)
    assert words in document["detail"]
    assert document["errors"] == [{"message": document["detail"]}]
    assert set(document) == {"title", "status", "detail", "errors"}


async def test_health(call: Call) -> None:
    assert await call("GET", "health") == (200, {"databaseConnectivity": True})


async def test_a_user_has_every_field(call: Call) -> None:
    body = {"name": "carol", "displayName": "Carol", "email": "c@example.com", "pictureUrl": "https://p"}
    status, made = await call("POST", "user", body)
    user = made["user"]
    assert (status, set(made), set(user)) == (200, {"user"}, USER)
    a_time(user.pop("createdAt"))
    assert user == {
        "id": "1",
        "name": "carol",
        "displayName": "Carol",
        "email": "c@example.com",
        "providerId": "",
        "provider": "",
        "profilePicUrl": "https://p",
    }


async def test_users_are_found_by_the_first_filter(call: Call) -> None:
    for name in ("zoe", "adam"):
        await call("POST", "user", {"name": name, "email": f"{name}@example.com"})

    async def names(query: str) -> list[str]:
        return [user["name"] for user in (await call("GET", f"user{query}"))[1]["users"]]

    assert await names("") == ["zoe", "adam"]
    assert await names("?name=adam") == ["adam"]
    assert await names("?email=zoe@example.com") == ["zoe"]
    assert await names("?id=2") == ["adam"]
    assert await names("?id=1&name=adam") == ["adam"]
    assert await names("?name=nobody") == []


async def test_a_user_is_renamed_and_deleted(call: Call) -> None:
    await call("POST", "user", {"name": "carol"})
    assert (await call("POST", "user/1/rename/carla"))[1]["user"]["name"] == "carla"
    assert await call("DELETE", "user/1") == (200, {})
    assert (await call("GET", "user"))[1] == {"users": []}


async def test_what_users_cannot_be(call: Call, join: Join) -> None:
    """A name twice, a name that policies cannot say, a deletion with nodes."""
    await join()
    is_problem(await call("POST", "user", {"name": "alice"}), 409, "Conflict", "exists already")
    is_problem(await call("POST", "user/1/rename/bob"), 409, "Conflict", "exists already")
    is_problem(await call("POST", "user", {"name": "1"}), 400, "Bad Request", "is not a user name")
    is_problem(await call("POST", "user", {}), 400, "Bad Request", "is not a user name")
    is_problem(await call("POST", "user/1/rename/a%2Fb"), 400, "Bad Request", "is not a user name")
    is_problem(await call("DELETE", "user/1"), 400, "Bad Request", "still has 1 node(s)")
    is_problem(await call("DELETE", "user/77"), 404, "Not Found", "no user has the id 77")


async def test_a_key_is_shown_once(call: Call, tailnet: Tailnet) -> None:
    end = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    body = {"user": "2", "reusable": True, "ephemeral": True, "expiration": end.isoformat(), "aclTags": []}
    status, made = await call("POST", "preauthkey", body)
    key = made["preAuthKey"]
    assert (status, set(made), set(key)) == (200, {"preAuthKey"}, KEY)
    assert key["key"].startswith("hskey-auth-")
    assert len(key["key"]) == len("hskey-auth-") + 12 + 1 + 64
    assert a_time(key["expiration"]) == end
    a_time(key["createdAt"])
    assert (key["reusable"], key["ephemeral"], key["used"], key["aclTags"]) == (True, True, False, [])
    assert key["user"]["name"] == "bob"
    [listed] = (await call("GET", "preauthkey"))[1]["preAuthKeys"]
    assert listed == {**key, "key": key["key"][: len("hskey-auth-") + 13] + "***"}


async def test_a_key_of_tags_is_nobodys(call: Call) -> None:
    _, made = await call("POST", "preauthkey", {"aclTags": ["tag:web", "tag:db"]})
    assert (made["preAuthKey"]["user"], made["preAuthKey"]["aclTags"]) == (None, ["tag:db", "tag:web"])


async def test_a_key_without_an_end_gets_one(call: Call, tailnet: Tailnet) -> None:
    """An hour, as on the command line; the peer's is born expired."""
    _, made = await call("POST", "preauthkey", {"user": 1})
    left = a_time(made["preAuthKey"]["expiration"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


async def test_a_key_ends_and_goes(call: Call, tailnet: Tailnet) -> None:
    key = (await call("POST", "preauthkey", {"user": "1"}))[1]["preAuthKey"]
    assert await call("POST", "preauthkey/expire", {"id": key["id"]}) == (200, {})
    [listed] = (await call("GET", "preauthkey"))[1]["preAuthKeys"]
    assert a_time(listed["expiration"]) <= datetime.now(UTC)
    assert await call("DELETE", f"preauthkey?id={key['id']}") == (200, {})
    assert (await call("GET", "preauthkey"))[1] == {"preAuthKeys": []}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "needs a user or tags"),
        ({"user": "0"}, 400, "needs a user or tags"),
        ({"user": "77"}, 404, "no user has the id 77"),
        ({"user": "alice"}, 400, "is not a user id"),
        ({"aclTags": ["web"]}, 400, "is not a tag"),
        ({"aclTags": "tag:web"}, 400, "AclTags"),
        ({"user": "1", "expiration": "tomorrow"}, 400, "expiration"),
        ({"user": "1", "expiration": "9999-12-31T23:59:59-05:00"}, 400, "outside the years"),
        ({"user": "1", "reusable": "yes"}, 400, "reusable"),
        ([], 400, "object"),
    ],
)
async def test_what_keys_cannot_be(
    call: Call, tailnet: Tailnet, body: object, status: int, words: str
) -> None:
    code, document = await call("POST", "preauthkey", body)
    assert code == status
    assert words.lower() in document["detail"].lower()
    assert (await call("GET", "preauthkey"))[1] == {"preAuthKeys": []}


async def test_a_node_has_every_field(call: Call, join: Join) -> None:
    one = await join("My Laptop")
    status, answer = await call("GET", "node/1")
    node = answer["node"]
    assert (status, set(answer), set(node)) == (200, {"node"}, NODE)
    assert set(node["user"]) == USER
    assert set(node["preAuthKey"]) == KEY
    assert node["preAuthKey"]["key"].endswith("-***")
    for name in ("createdAt", "lastSeen"):
        a_time(node[name])
    expected = {
        "id": "1",
        "machineKey": one.client.machine_key,
        "nodeKey": one.client.node_key,
        "discoKey": "discokey:" + "0" * 64,
        "ipAddresses": ["100.64.0.1", "fd7a:115c:a1e0::1"],
        "name": "My Laptop",
        "givenName": "my-laptop",
        "expiry": None,
        "registerMethod": "REGISTER_METHOD_AUTH_KEY",
        "online": False,
        "approvedRoutes": [],
        "availableRoutes": [],
        "subnetRoutes": [],
        "tags": [],
    }
    assert {name: node[name] for name in expected} == expected


async def test_online_is_live(call: Call, join: Join, tailnet: Tailnet) -> None:
    one = await join()
    stream = await one.stream()
    assert (await call("GET", "node/1"))[1]["node"]["online"] is True
    stream.close()
    await tailnet.until(lambda: not tailnet.node_of(one.client).online)
    assert (await call("GET", "node"))[1]["nodes"][0]["online"] is False


async def test_tagged_nodes_are_the_stand_ins_in_lists_only(call: Call, join: Join) -> None:
    await join("web", tags=("tag:web",))
    [listed] = (await call("GET", "node"))[1]["nodes"]
    single = (await call("GET", "node/1"))[1]["node"]
    assert (listed["user"]["id"], listed["user"]["name"]) == (str(TAGGED_USER_ID), "tagged-devices")
    assert (single["user"], single["tags"]) == (None, ["tag:web"])


async def test_nodes_are_listed_by_number_or_by_user(call: Call, join: Join) -> None:
    for user in ("1", "2", "1"):
        await join(user=user)
    await join(tags=("tag:web",))

    async def ids(query: str) -> list[str]:
        return [node["id"] for node in (await call("GET", f"node{query}"))[1]["nodes"]]

    assert await ids("") == ["1", "2", "3", "4"]
    assert await ids("?user=alice") == ["1", "3"]
    is_problem(await call("GET", "node?user=tagged-devices"), 404, "Not Found", "no user is named")


async def test_a_node_is_renamed_exactly_or_not_at_all(call: Call, join: Join) -> None:
    await join("one")
    await join("two")
    assert (await call("POST", "node/1/rename/Printer"))[1]["node"]["givenName"] == "printer"
    is_problem(await call("POST", "node/1/rename/two"), 400, "Bad Request", "node name is not unique")
    is_problem(await call("POST", "node/1/rename/a.b"), 400, "Bad Request", "is not a node name")
    assert (await call("GET", "node/1"))[1]["node"]["givenName"] == "printer"


async def test_a_node_ends_now_later_or_never(call: Call, join: Join) -> None:
    await join()
    now = (await call("POST", "node/1/expire"))[1]["node"]
    assert a_time(now["expiry"]) <= datetime.now(UTC)
    later = (await call("POST", "node/1/expire", {"expiry": "2100-01-01T05:00:00+05:00"}))[1]["node"]
    assert later["expiry"] == "2100-01-01T00:00:00Z"
    never = (await call("POST", "node/1/expire", {"disableExpiry": True}))[1]["node"]
    assert never["expiry"] is None
    query = (await call("POST", "node/1/expire?expiry=2100-01-01T00:00:00Z"))[1]["node"]
    assert query["expiry"] == "2100-01-01T00:00:00Z"
    assert (await call("POST", "node/1/expire?disableExpiry=true"))[1]["node"]["expiry"] is None
    both = {"expiry": "2100-01-01T00:00:00Z", "disableExpiry": True}
    is_problem(await call("POST", "node/1/expire", both), 400, "Bad Request", "not both")
    is_problem(await call("POST", "node/1/expire?expiry=soon"), 400, "Bad Request", "expiry")
    far = {"expiry": "9999-12-31T23:59:59-05:00"}
    is_problem(await call("POST", "node/1/expire", far), 400, "Bad Request", "outside the years")


async def test_a_deleted_node_is_gone_and_its_number_with_it(call: Call, join: Join) -> None:
    await join()
    assert await call("DELETE", "node/1") == (200, {})
    is_problem(await call("GET", "node/1"), 404, "Not Found", "no node has the id 1")
    assert (await join()).id == 2


async def test_a_deleted_key_is_null_at_its_node(call: Call, join: Join) -> None:
    await join()
    await call("DELETE", "preauthkey?id=1")
    assert (await call("GET", "node/1"))[1]["node"]["preAuthKey"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "node/{}"),
        ("DELETE", "node/{}"),
        ("POST", "node/{}/expire"),
        ("POST", "node/{}/rename/x"),
        ("DELETE", "user/{}"),
        ("POST", "user/{}/rename/xx"),
        ("GET", "user?id={}"),
        ("DELETE", "preauthkey?id={}"),
    ],
)
async def test_what_is_no_id_is_refused(call: Call, method: str, path: str) -> None:
    """Zero, negative, too wide for the database, not a number."""
    for number in NO_IDS:
        is_problem(await call(method, path.format(number)), 400, "Bad Request", "id: expected a number")


async def test_the_highest_id_is_one_and_unknown(call: Call) -> None:
    is_problem(await call("GET", f"node/{2**63 - 1}"), 404, "Not Found", "no node has the id")
    is_problem(
        await call("POST", "preauthkey/expire", {"id": 2**63 - 1}), 404, "Not Found", "no pre-auth key"
    )
    is_problem(await call("POST", "preauthkey/expire", {"id": 2**63}), 400, "Bad Request", "id: expected")
    is_problem(await call("POST", "preauthkey/expire", {}), 400, "Bad Request", "id: expected")


async def test_other_paths_and_methods_are_problems_too(call: Call) -> None:
    assert (await call("GET", "nothing"))[1]["title"] == "Not Found"
    assert (await call("PUT", "user"))[1]["title"] == "Method Not Allowed"


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 50_000, b'"name"'])
async def test_a_body_that_is_no_object_is_refused(server: InProcessServer, body: bytes) -> None:
    connector = aiohttp.UnixConnector(str(server.settings.socket))
    async with aiohttp.ClientSession("http://headscale", connector=connector) as session:
        async with session.post("/api/v1/user", data=body) as answer:
            assert (answer.status, answer.content_type) == (400, "application/problem+json")


async def test_input_is_lenient(server: InProcessServer) -> None:
    """Any content type, any case of keys, unknown keys: as scripts of older releases send it."""
    connector = aiohttp.UnixConnector(str(server.settings.socket))
    async with aiohttp.ClientSession("http://headscale", connector=connector) as session:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = b'{"NAME":"carol","displayname":"C","new":null}'
        async with session.post("/api/v1/user", data=body, headers=form) as answer:
            assert (await answer.json())["user"]["displayName"] == "C"


async def test_a_body_is_at_most_a_mebibyte(server: InProcessServer) -> None:
    connector = aiohttp.UnixConnector(str(server.settings.socket))
    async with aiohttp.ClientSession("http://headscale", connector=connector) as session:
        for size, status in ((1024 * 1024, 200), (1024 * 1024 + 1, 413)):
            body = b'{"name":"carol"}'.ljust(size)
            async with session.post("/api/v1/user", data=body) as answer:
                assert answer.status == status
