"""API keys of people: every role over every route of both versions, and what of their own everybody may."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from harness.servers.inprocess import InProcessServer
from headscale.api.v1.operations import OPERATIONS
from headscale.api.v2.table import ENDPOINTS
from headscale.records import Role
from headscale.state.scopes import KNOWN
from tests.integration.doors import ROUTES, Door, doors_of
from tests.integration.fakes import Tailnet

pytestmark = pytest.mark.bar("A11")

# Spelled out once more: what needs one of these scopes is open to the role.
OPEN: dict[str, Callable[[str], bool]] = {
    "owner": lambda scope: True,
    "admin": lambda scope: True,
    "network-admin": lambda scope: (
        scope.endswith(":read") or scope in {"policy_file", "dns", "devices:routes"}
    ),
    "auditor": lambda scope: scope.endswith(":read"),
    "member": lambda scope: False,
}
# Everybody may ask these; what they show is the caller's own.
LISTS = {("GET", "/api/v1/node"), ("GET", "/api/v2/tailnet/{tailnet}/devices")}
OF_ONE = {
    ("GET", "/api/v1/node/{id}"),
    ("DELETE", "/api/v1/node/{id}"),
    ("POST", "/api/v1/node/{id}/expire"),
    ("GET", "/api/v2/device/{id}"),
    ("DELETE", "/api/v2/device/{id}"),
    ("POST", "/api/v2/device/{id}/expire"),
}
ASKED = [(route, OPERATIONS[route[0], route[1].removeprefix("/api/v1")].scopes) for route in ROUTES] + [
    ((endpoint.method, f"/api/v2{endpoint.path}"), endpoint.scopes)
    for endpoint in ENDPOINTS
    if not endpoint.is_public
]


@pytest.fixture
async def doors(server: InProcessServer, tailnet: Tailnet) -> AsyncIterator[tuple[Door, Door]]:
    """alice is the owner, bob's role is a test's to give, eve is somebody else."""
    await server.create_user("eve")
    async with doors_of(server) as both:
        yield both


async def key_of(socket: Door, user_id: int, role: str = "") -> str:
    if role and role != "owner":
        assert (await socket("POST", f"user/{user_id}/role", {"role": role}))[0] == 200
    status, document = await socket("POST", "apikey", {"user": str(user_id)})
    assert status == 200, document
    return str(document["apiKey"])


async def ask(door: Door, method: str, path: str, *, node: str = "77", body: Any = ()) -> tuple[int, Any]:
    """In a way that never succeeds where something would change: there is no such thing, and no such body."""
    path = re.sub(r"\{\w+\}", node, path.replace("{tailnet}", "-"))
    door = door.v2 if path.startswith("/api/v2/") else door
    return await door(method, re.sub(r"^/api/v[12]/", "", path), list(body))


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_opens_its_routes_and_no_others(doors: tuple[Door, Door], role: Role) -> None:
    """Refused with a 403 that names the role and what it lacks; let in otherwise."""
    socket, main = doors
    door = main.with_key(await key_of(socket, 1 if role is Role.OWNER else 2, role))
    for (method, path), scopes in ASKED:
        may = not scopes or any(map(OPEN[role], scopes)) or (method, path) in LISTS
        status, document = await ask(door, method, path)
        assert (status != 403) is may, (method, path, document)
        assert status != 401
        if not may:
            said = document.get("detail") or document["message"]
            assert said == f"this needs the scope {' or '.join(scopes)}, which the role {role} lacks"


def test_every_route_of_v1_names_a_scope_that_there_is() -> None:
    """But for the health check; what only reads names one that reads."""
    questions = {"/policy/check", "/policy/explain", "/policy/diff", "/node/{id}/ping"}
    for (method, path), operation in OPERATIONS.items():
        assert KNOWN.issuperset(operation.scopes)
        assert bool(operation.scopes) is (path != "/health")
        reads = {scope.endswith(":read") for scope in operation.scopes}
        assert reads <= {method == "GET" or path in questions}, path
        assert operation.is_own is ((method, f"/api/v1{path}") in LISTS | OF_ONE)


@pytest.mark.parametrize("role", ["member", "auditor", "network-admin"])
async def test_of_their_own_devices_everybody_reads_ends_and_removes(
    doors: tuple[Door, Door], tailnet: Tailnet, role: str
) -> None:
    """And of nobody else's, nor of tagged ones."""
    socket, main = doors
    door = main.with_key(await key_of(socket, 2, role))
    mine, second = await tailnet.join("mine", user="2"), await tailnet.join("second", user="2")
    others = [await tailnet.join("other", user="3"), await tailnet.join("web", tags=("tag:web",))]
    for method, path in sorted(OF_ONE):
        for other in others:
            status, _ = await ask(door, method, path, node=str(other.id))
            reads = method == "GET" and role != "member"
            assert status == (200 if reads else 403), (method, path)
    if role == "member":
        ids = {str(mine.id), str(second.id)}
        assert {node["id"] for node in (await door("GET", "node"))[1]["nodes"]} == ids
        assert {each["id"] for each in (await door.v2("GET", "tailnet/-/devices"))[1]["devices"]} == ids
        assert (await door("GET", "node?user=bob"))[1] == (await door("GET", "node"))[1]
        for name in ("eve", "nobody"):
            assert await door("GET", f"node?user={name}") == (200, {"nodes": []})
    assert (await door("GET", f"node/{mine.id}"))[0] == 200
    for later in ({"disableExpiry": True}, {"expiry": "2100-01-01T00:00:00Z"}):
        assert (await door("POST", f"node/{mine.id}/expire", later))[0] == 403
    assert (await door("POST", f"node/{mine.id}/expire?disableExpiry=true"))[0] == 403
    assert (await door("POST", f"node/{mine.id}/expire"))[0] == 200
    assert tailnet.node(mine.id).expired  # type: ignore[union-attr]
    assert (await door.v2("POST", f"device/{second.id}/expire"))[0] == 200
    assert (await door.v2("DELETE", f"device/{second.id}"))[0] == 200
    assert (await door("DELETE", f"node/{mine.id}"))[0] == 200
    assert [tailnet.node(other.id) is not None for other in others] == [True, True]
    (event, *_) = (await socket("GET", "audit"))[1]["events"]
    assert (event["action"], event["actor"].partition(" key ")[0]) == ("node.delete", "person bob, API")


async def test_a_key_follows_the_role_of_its_person(doors: tuple[Door, Door]) -> None:
    """Request by request, until the person is gone."""
    socket, main = doors
    door = main.with_key(await key_of(socket, 2))
    for role, status in (("auditor", 200), ("member", 403), ("admin", 200)):
        assert (await socket("POST", "user/2/role", {"role": role}))[0] == 200
        assert (await door("GET", "audit"))[0] == status
    assert (await socket("DELETE", "user/2"))[0] == 200
    assert (await door("GET", "health"))[0] == 401
    assert (await socket("GET", "apikey"))[1]["apiKeys"] == []


async def test_only_the_owner_hands_over_and_makes_keys_for_others(doors: tuple[Door, Door]) -> None:
    socket, main = doors
    admin, owner = main.with_key(await key_of(socket, 2, "admin")), main.with_key(await key_of(socket, 1))
    client = {"keyType": "client", "scopes": ["users"]}
    secret = (await admin.v2("POST", "tailnet/-/keys", client))[1]["key"]
    token = main.with_key(await main.token(secret))
    for door in (admin, token):
        status, document = await door.v2("POST", "users/2/role", {"role": "owner"})
        assert (status, "only the owner" in document["message"]) == (403, True)
    assert (await admin("POST", "user/2/role", {"role": "owner"}))[0] == 403
    for body in ({}, {"user": "1"}, {"user": "3"}):
        status, document = await admin("POST", "apikey", body)
        assert (status, "only the owner" in document["detail"]) == (403, True)
    assert (await admin("POST", "apikey", {"user": "2"}))[0] == 200
    assert (await owner("POST", "apikey", {"user": "3"}))[0] == 200
    assert (await owner("POST", "apikey", {"user": "77"}))[0] == 404
    assert (await owner("POST", "apikey", {}))[0] == 200
    assert (await owner("POST", "user/2/role", {"role": "owner"}))[0] == 200
    assert (await owner("POST", "user/1/role", {"role": "owner"}))[0] == 403  # an admin now
    shown = [key.get("user", {}).get("name") for key in (await socket("GET", "apikey"))[1]["apiKeys"]]
    assert shown == ["bob", "alice", "bob", "eve", None]


async def test_a_key_of_nobodys_may_do_everything(doors: tuple[Door, Door]) -> None:
    socket, main = doors
    door = main.with_key((await socket("POST", "apikey", {}))[1]["apiKey"])
    assert (await door.v2("POST", "users/2/role", {"role": "owner"}))[0] == 200
    assert (await door("POST", "apikey", {"user": "1"}))[0] == 200


async def test_a_key_without_tags_is_for_devices_of_whose_api_key_asks(doors: tuple[Door, Door]) -> None:
    """An administrator's is theirs, not the owner's; a tagged one is its tags'; nobody's API key has no devices."""
    socket, main = doors
    bob, alice = (
        main.with_key(await key_of(socket, 2, "admin")),
        main.with_key(await key_of(socket, 1, "owner")),
    )
    for door, tags, owner in ((bob, [], "2"), (alice, None, "1"), (bob, ["tag:a"], None)):
        create = {"reusable": False, "ephemeral": False, "preauthorized": True, "tags": tags}
        body = {"capabilities": {"devices": {"create": create}}}
        status, key = await door.v2("POST", "tailnet/-/keys", body)
        assert status == 200, key
        assert key.get("userId") == owner
    status, document = await main.with_key(await key_of_nobody(socket)).v2("POST", "tailnet/-/keys", body)
    assert status == 200, document  # tagged: as before
    body["capabilities"]["devices"]["create"]["tags"] = []
    status, document = await main.with_key(await key_of_nobody(socket)).v2("POST", "tailnet/-/keys", body)
    assert (status, "needs tags" in document["message"]) == (400, True)


async def key_of_nobody(socket: Door) -> str:
    return str((await socket("POST", "apikey", {}))[1]["apiKey"])
