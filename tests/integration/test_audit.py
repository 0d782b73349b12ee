"""The audit log of administrators: who did what by which door, with before and after, kept over restarts."""

import os
import pwd
from collections.abc import AsyncIterator
from typing import Any

import pytest

from harness.servers.inprocess import InProcessServer
from headscale.api.v2.table import ENDPOINTS
from tests.integration.doors import ROUTES, Door, doors_of
from tests.integration.fakes import Join, Tailnet

# By no means acts: questions, and what is kept in memory for a moment.
QUESTIONS = {
    ("POST", "/api/v1/policy/check"),
    ("POST", "/api/v1/policy/explain"),
    ("POST", "/api/v1/policy/diff"),
    ("POST", "/api/v1/node/{id}/ping"),
    ("POST", "/api/v1/debug/node"),
    ("POST", "/api/v1/auth/approve"),
}
POLICY = '{"tagOwners": {"tag:a": []}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
LOGIN = {n: f"hskey-authreq-{n:024d}" for n in (1, 2, 3)}

# In an order in which each finds what it needs: route, path, body, action.
ACTS: list[tuple[tuple[str, str], str, Any, str]] = [
    (("PUT", "/api/v1/policy"), "policy", {"policy": POLICY}, "policy.set"),
    (("POST", "/api/v1/user"), "user", {"name": "carol"}, "user.create"),
    (("POST", "/api/v1/user/{id}/rename/{name}"), "user/3/rename/caro", None, "user.rename"),
    (("POST", "/api/v1/user/{id}/role"), "user/3/role", {"role": "auditor"}, "user.role"),
    (("DELETE", "/api/v1/user/{id}"), "user/3", None, "user.delete"),
    (("POST", "/api/v1/preauthkey"), "preauthkey", {"user": "1"}, "preauthkey.create"),
    (("POST", "/api/v1/preauthkey/expire"), "preauthkey/expire", {"id": "2"}, "preauthkey.expire"),
    (("DELETE", "/api/v1/preauthkey"), "preauthkey?id=2", None, "preauthkey.delete"),
    (("POST", "/api/v1/apikey"), "apikey", {}, "apikey.create"),
    (("POST", "/api/v1/apikey/expire"), "apikey/expire", {"id": "2"}, "apikey.expire"),
    (("DELETE", "/api/v1/apikey/{prefix}"), "apikey/{prefix}", None, "apikey.delete"),
    (("POST", "/api/v1/node/{id}/rename/{name}"), "node/1/rename/desk", None, "node.rename"),
    (("POST", "/api/v1/node/{id}/authorize"), "node/1/authorize", {"authorized": False}, "node.authorize"),
    (("POST", "/api/v1/node/{id}/approve_routes"), "node/1/approve_routes", {"routes": ["10.0.0.0/8"]}, "node.routes"),
    (("POST", "/api/v1/node/{id}/expire"), "node/1/expire", {"expiry": "2040-01-01T00:00:00Z"}, "node.expire"),
    (("POST", "/api/v1/node/{id}/tags"), "node/1/tags", {"tags": ["tag:a"]}, "node.tags"),
    (("DELETE", "/api/v1/node/{id}"), "node/1", None, "node.delete"),
    (("POST", "/api/v1/auth/register"), "auth/register", {"user": "alice", "authId": LOGIN[1]}, "login.register"),
    (("POST", "/api/v1/node/register"), f"node/register?user=alice&key={LOGIN[2]}", None, "login.register"),
    (("POST", "/api/v1/user/{id}/logout"), "user/1/logout", None, "user.logout"),
    (("POST", "/api/v1/auth/reject"), "auth/reject", {"authId": LOGIN[3]}, "login.reject"),
    (("PATCH", "/api/v1/settings"), "settings", {"deviceApproval": True}, "settings.change"),
]  # fmt: skip

KEY = {
    "devices": {"create": {"reusable": False, "ephemeral": False, "preauthorized": True, "tags": ["tag:a"]}}
}
# As above, by REST v2 and with the access token of an OAuth client: {client} is the id of another client.
SEVERAL = {"nodes": {"1": {"custom:b": {"value": True}}}}
HOOK = {"endpointUrl": "https://hook.example/x", "providerType": "", "subscriptions": ["nodeCreated"]}
DNS = "/tailnet/{tailnet}/dns"
WHOLE_DNS = {"nameservers": [{"address": "9.9.9.9"}]}
DNS_CLIENT = {"keyType": "client", "scopes": ["dns"]}
V2_ACTS: list[tuple[tuple[str, str], str, Any, str]] = [
    (("POST", "/tailnet/{tailnet}/acl"), "tailnet/-/acl", {"tagOwners": {"tag:a": []}}, "policy.set"),
    (("POST", f"{DNS}/nameservers"), "tailnet/-/dns/nameservers", {"dns": ["9.9.9.10"]}, "settings.change"),
    (("POST", f"{DNS}/searchpaths"), "tailnet/-/dns/searchpaths", {"searchPaths": ["a.example"]}, "settings.change"),
    (("POST", f"{DNS}/preferences"), "tailnet/-/dns/preferences", {"magicDNS": False}, "settings.change"),
    (("PUT", f"{DNS}/split-dns"), "tailnet/-/dns/split-dns", {"a.example": ["9.9.9.9"]}, "settings.change"),
    (("PATCH", f"{DNS}/split-dns"), "tailnet/-/dns/split-dns", {"b.example": ["9.9.9.9"]}, "settings.change"),
    (("POST", f"{DNS}/configuration"), "tailnet/-/dns/configuration", WHOLE_DNS, "settings.change"),
    (("PATCH", "/tailnet/{tailnet}/settings"), "tailnet/-/settings", {"devicesAutoUpdatesOn": True}, "settings.change"),
    (("POST", "/tailnet/{tailnet}/webhooks"), "tailnet/-/webhooks", HOOK, "webhook.create"),
    (("PATCH", "/webhooks/{id}"), "webhooks/1", {"subscriptions": ["nodeDeleted"]}, "webhook.update"),
    (("POST", "/webhooks/{id}/rotate"), "webhooks/1/rotate", None, "webhook.rotate"),
    (("DELETE", "/webhooks/{id}"), "webhooks/1", None, "webhook.delete"),
    (("POST", "/users/{id}/role"), "users/2/role", {"role": "auditor"}, "user.role"),
    (("POST", "/users/{id}/delete"), "users/2/delete", None, "user.delete"),
    (("POST", "/device/{id}/name"), "device/1/name", {"name": "desk"}, "node.rename"),
    (("POST", "/device/{id}/authorized"), "device/1/authorized", {"authorized": False}, "node.authorize"),
    (("POST", "/device/{id}/routes"), "device/1/routes", {"routes": ["10.0.0.0/8"]}, "node.routes"),
    (("POST", "/device/{id}/ip"), "device/1/ip", {"ipv4": "100.64.9.9"}, "node.address"),
    (("POST", "/device/{id}/expire"), "device/1/expire", None, "node.expire"),
    (("POST", "/device/{id}/key"), "device/1/key", {"keyExpiryDisabled": True}, "node.expire"),
    (("POST", "/device/{id}/attributes/{attribute}"), "device/1/attributes/custom:a", {"value": 1}, "node.attributes"),
    (("DELETE", "/device/{id}/attributes/{attribute}"), "device/1/attributes/custom:a", None, "node.attributes"),
    (("PATCH", "/tailnet/{tailnet}/device-attributes"), "tailnet/-/device-attributes", SEVERAL, "node.attributes"),
    (("POST", "/device/{id}/tags"), "device/1/tags", {"tags": ["tag:a"]}, "node.tags"),
    (("DELETE", "/device/{id}"), "device/1", None, "node.delete"),
    (("POST", "/tailnet/{tailnet}/keys"), "tailnet/-/keys", {"capabilities": KEY}, "preauthkey.create"),
    (("DELETE", "/tailnet/{tailnet}/keys/{id}"), "tailnet/-/keys/2", None, "preauthkey.revoke"),
    (("POST", "/tailnet/{tailnet}/keys"), "tailnet/-/keys", DNS_CLIENT, "oauth_client.create"),
    (("PUT", "/tailnet/{tailnet}/keys/{id}"), "tailnet/-/keys/{client}", {"scopes": ["users"]}, "oauth_client.change"),
    (("DELETE", "/tailnet/{tailnet}/keys/{id}"), "tailnet/-/keys/{client}", None, "oauth_client.delete"),
]  # fmt: skip


@pytest.fixture
async def doors(server: InProcessServer) -> AsyncIterator[tuple[Door, Door]]:
    async with doors_of(server) as both:
        yield both


async def log(door: Door, query: str = "") -> list[dict[str, Any]]:
    status, document = await door("GET", f"audit{query}")
    assert status == 200
    return list(document["events"])


async def test_every_act_by_every_route_is_noted(
    tailnet: Tailnet, join: Join, doors: tuple[Door, Door]
) -> None:
    """With who it was, and what it changed; what is asked for in vain is not."""
    socket, main = doors
    acting = {route for route in ROUTES if route[0] != "GET"} - QUESTIONS
    backfill = ("POST", "/api/v1/node/backfillips")  # with nothing to do here; tests/unit/state/test_acts.py
    assert {act[0] for act in ACTS} == acting - {backfill}

    await join("laptop")
    for login in LOGIN.values():
        asked = {"user": "alice", "key": login, "name": f"device-{login[-1]}"}
        assert (await socket("POST", "debug/node", asked))[0] == 200
    key = (await socket("POST", "apikey", {}))[1]["apiKey"]
    admin = main.with_key(key)
    prefix = key.split("-")[2]
    for (method, _), path, body, action in ACTS:
        before = await log(socket, "?limit=1")
        if "{prefix}" in path:
            second = (await socket("GET", "apikey"))[1]["apiKeys"][1]["prefix"]
            path = path.replace("{prefix}", second)
        status, answer = await admin(method, path, body)
        assert status == 200, (path, answer)
        event, earlier = await log(socket, "?limit=2")
        assert earlier["id"] == before[0]["id"]
        assert (event["actor"], event["action"]) == (f"API key {prefix}", action)
        assert event["changes"] or event["details"] == "device device-3"

    count = len(await log(socket))
    for method, path, body in [
        ("DELETE", "node/99", None),
        ("POST", "user", {"name": "alice"}),
        ("PUT", "policy", {"policy": "{"}),
        ("POST", "node/backfillips?confirmed=true", None),
    ]:
        await admin(method, path, body)
    assert len(await log(socket)) == count


async def test_every_act_by_every_route_of_v2_is_noted(
    tailnet: Tailnet, join: Join, doors: tuple[Door, Door]
) -> None:
    """In the name of the OAuth client, as is the token that it comes with."""
    socket, main = doors
    acting = {
        (each.method, each.path)
        for each in ENDPOINTS
        if each.method != "GET" and not each.is_public and each.is_served
    }
    acting -= {("POST", f"/tailnet/{{tailnet}}/acl/{question}") for question in ("validate", "preview")}
    acting -= {("POST", "/webhooks/{id}/test")}  # sends, and changes nothing
    assert {act[0] for act in V2_ACTS} == acting

    await join("laptop")
    assert (await socket("PUT", "policy", {"policy": POLICY}))[0] == 200
    made = {"keyType": "client", "scopes": ["all"]}
    client = (await socket.v2("POST", "tailnet/-/keys", made))[1]
    actor = f"OAuth client {client['id']}"
    token = main.with_key(await main.token(client["key"])).v2
    [issued] = await log(socket, "?limit=1")
    assert (issued["actor"], issued["action"]) == (actor, "oauth_token.issue")
    for (method, _), path, body, action in V2_ACTS:
        before = await log(socket, "?limit=1")
        if "{client}" in path:
            newest = (await socket.v2("GET", "tailnet/-/keys"))[1]["keys"][-1]
            path = path.replace("{client}", newest["id"])
        status, answer = await token(method, path, body)
        assert status == 200, (path, answer)
        event, earlier = await log(socket, "?limit=2")
        assert earlier["id"] == before[0]["id"]
        assert (event["actor"], event["action"]) == (actor, action), path
        assert event["changes"]


async def test_what_was_before_and_after_outlives_a_restart(
    tailnet: Tailnet, join: Join, doors: tuple[Door, Door]
) -> None:
    one = await join("laptop")
    assert (await doors[0]("POST", f"node/{one.id}/rename/desk"))[0] == 200
    await tailnet.server.stop()
    await tailnet.server.start()
    async with doors_of(tailnet.server) as (socket, _):
        event = (await log(socket))[0]
    assert event["changes"] == [
        {
            "target": f"node {one.id}",
            "name": "desk",
            "before": {"given_name": "laptop"},
            "after": {"given_name": "desk"},
        }
    ]
    assert event["actor"] == f"local {pwd.getpwuid(os.getuid()).pw_name}"
