"""The official Go client for the hosted service's API (tailscale.com/client/tailscale/v2), as Terraform uses it.

Each call is the client's own method by way of a small program of ours (gosdk/), so what is compared here is what the
client's types made of our answers.
"""

from datetime import UTC, datetime, timedelta

from tests.integration.doors import Door
from tests.integration.fakes import Tailnet, registered
from tests.thirdparty.programs import Program
from tests.thirdparty.sdk import Sdk, caller, refuser

NEVER = "0001-01-01T00:00:00Z"


async def test_devices_are_read(tailnet: Tailnet, sdk: Sdk, admin: Door) -> None:
    """With the fields and types that the client knows, alone and in a list."""
    laptop = await tailnet.client("Laptop")
    laptop.hostinfo["RoutableIPs"] = ["10.1.0.0/16"]
    await registered(laptop, await tailnet.key("1"))
    node = tailnet.node_of(laptop)
    await admin("POST", f"node/{node.id}/approve_routes", {"routes": ["10.1.0.0/16", "10.2.0.0/16"]})
    [listed] = await sdk("devices", "list")
    [all_fields] = await sdk("devices", "list-all")
    assert listed == await sdk("devices", "get", str(node.id))
    assert await sdk("devices", "list-where", "os", ["linux", "windows"]) == [listed]
    assert await sdk("devices", "list-where", "isEphemeral", ["true"]) == []
    assert all_fields == await sdk("devices", "get-all", str(node.id))
    wanted = {
        "id": "1",
        "nodeId": "1",
        "name": "laptop",
        "hostname": "Laptop",
        "user": "alice",
        "addresses": [str(address) for address in node.addresses],
        "tags": [],
        "authorized": True,
        "keyExpiryDisabled": True,
        "expires": NEVER,
        "isEphemeral": False,
        "os": "linux",
        "machineKey": str(node.machine_key),
        "nodeKey": str(node.node_key),
        "AdvertisedRoutes": None,
        "enabledRoutes": None,
        "clientConnectivity": None,
    }
    assert wanted.items() <= listed.items()
    assert datetime.fromisoformat(listed["created"]) == node.created_at
    assert all_fields["AdvertisedRoutes"] == ["10.1.0.0/16"]
    assert all_fields["enabledRoutes"] == ["10.1.0.0/16", "10.2.0.0/16"]
    assert all_fields["clientConnectivity"]["endpoints"] == []
    assert await sdk("devices", "routes", "1") == {
        "advertisedRoutes": ["10.1.0.0/16"],
        "enabledRoutes": ["10.1.0.0/16", "10.2.0.0/16"],
    }


async def test_devices_are_changed(tailnet: Tailnet, sdk: Sdk, gosdk: Program, api_key: str) -> None:
    """What is written is what is read afterwards."""
    node = await tailnet.join("laptop")
    number = str(node.id)
    await sdk("devices", "name", number, "desk")
    await sdk("devices", "ip", number, "100.64.9.9")
    await sdk("devices", "set-routes", number, ["10.1.0.0/16", "::/0"])
    await sdk("devices", "set-attribute", number, ["custom:tier", "gold"])
    await sdk("devices", "set-attribute", number, ["custom:score", 7])
    await sdk("devices", "authorize", number, False)
    shown = await sdk("devices", "get-all", number)
    assert (shown["name"], shown["addresses"][0], shown["authorized"]) == ("desk", "100.64.9.9", False)
    assert shown["enabledRoutes"] == ["0.0.0.0/0", "10.1.0.0/16", "::/0"]
    told = await sdk("devices", "attributes", number)
    assert (
        told["attributes"].items() >= {"custom:tier": "gold", "custom:score": 7, "node:os": "linux"}.items()
    )
    await sdk("devices", "delete-attribute", number, "custom:tier")
    assert "custom:tier" not in (await sdk("devices", "attributes", number))["attributes"]
    await sdk("devices", "authorize", number, True)
    await sdk("devices", "set-routes", number, [])
    await sdk("devices", "key", number, {"keyExpiryDisabled": True})
    await sdk("devices", "tags", number, ["tag:web"])
    shown = await sdk("devices", "get-all", number)
    assert (shown["authorized"], shown["enabledRoutes"], shown["tags"]) == (True, None, ["tag:web"])
    assert shown["keyExpiryDisabled"] is True
    await sdk("devices", "delete", number)
    assert await sdk("devices", "list") == []
    refused = refuser(gosdk, TS_API_KEY=api_key)
    for words in (
        ("get", number),
        ("delete", number),
        ("get", "nothing"),
        ("name", number, "x"),
        ("routes", "x"),
    ):
        assert await refused("devices", *words) == 404


async def test_users_are_read(tailnet: Tailnet, sdk: Sdk, gosdk: Program, api_key: str) -> None:
    await tailnet.join("laptop")
    alice, bob = await sdk("users", "list")
    assert alice == await sdk("users", "get", "1")
    assert (alice["loginName"], alice["role"], alice["type"], alice["status"]) == (
        "alice",
        "owner",
        "member",
        "active",
    )
    assert (alice["deviceCount"], bob["deviceCount"], bob["currentlyConnected"]) == (1, 0, False)
    assert await sdk("users", "list-role", "admin") == []
    assert await refuser(gosdk, TS_API_KEY=api_key)("users", "get", "77") == 404


async def test_auth_keys_are_made_read_and_revoked(
    tailnet: Tailnet, sdk: Sdk, gosdk: Program, api_key: str
) -> None:
    """As a resource of Terraform's is: what was asked for is what is read, and a deleted one is invalid."""
    create = {"reusable": True, "ephemeral": True, "preauthorized": False, "tags": ["tag:ci"]}
    asked = {"capabilities": {"devices": {"create": create}}, "expirySeconds": 3600, "description": "CI"}
    made = await sdk("keys", "create", asked)
    device = await tailnet.client("builder")
    await registered(device, made["key"])
    assert (tailnet.node_of(device).tags, tailnet.node_of(device).ephemeral) == (("tag:ci",), True)
    read = await sdk("keys", "get", made["id"])
    assert {**read, "key": made["key"]} == made
    assert (read["capabilities"], read["expirySeconds"]) == ({"devices": {"create": create}}, 3600)
    assert (read["description"], read["keyType"], read["invalid"], read["revoked"]) == (
        "CI",
        "auth",
        False,
        NEVER,
    )
    assert await sdk("keys", "list") == [read]
    await sdk("keys", "delete", made["id"])
    gone = await sdk("keys", "get", made["id"])
    assert gone["invalid"] is True
    assert datetime.now(UTC) - datetime.fromisoformat(gone["revoked"]) < timedelta(minutes=1)
    assert await refuser(gosdk, TS_API_KEY=api_key)("keys", "get", "77") == 404


async def test_oauth_clients_are_made_used_changed_and_deleted(
    tailnet: Tailnet, sdk: Sdk, gosdk: Program, api_key: str
) -> None:
    """And used by the client's own OAuth, for one scope of several."""
    asked = {
        "scopes": ["devices:core:read", "users:read", "auth_keys"],
        "tags": ["tag:ci"],
        "description": "ops",
    }
    made = await sdk("keys", "create-client", asked)
    assert (set(made["scopes"]), made["tags"], made["description"]) == (
        set(asked["scopes"]),
        ["tag:ci"],
        "ops",
    )
    by_client = {"TS_OAUTH_SECRET": made["key"]}
    assert len(await caller(gosdk, **by_client)("users", "list")) == 2
    assert await refuser(gosdk, **by_client)("devices", "delete", "1") == 403
    assert await refuser(gosdk, **by_client)("keys", "get", made["id"]) == 404
    assert await refuser(gosdk, TS_OAUTH_SCOPES="devices:core:read", **by_client)("users", "list") == 403
    changed = await sdk(
        "keys", "set-client", made["id"], {"scopes": ["users:read"], "tags": None, "description": ""}
    )
    assert (changed["scopes"], changed.get("tags"), changed["description"]) == (["users:read"], None, "")
    assert await sdk("keys", "get", made["id"]) == changed
    assert len(await caller(gosdk, **by_client)("users", "list")) == 2
    assert await refuser(gosdk, **by_client)("devices", "list") == 403
    await sdk("keys", "delete", made["id"])
    refused = refuser(gosdk, TS_API_KEY=api_key)
    assert await refused("keys", "get", made["id"]) == 404
    assert (
        await refused("keys", "create-federated", {"scopes": ["dns"], "issuer": "https://i", "subject": "s"})
        == 501
    )
    done = await gosdk("users", "list", **by_client)
    assert (done.code, "invalid_client" in done.out) == (1, True)


async def test_a_wrong_key_is_nobody(gosdk: Program) -> None:
    assert await refuser(gosdk, TS_API_KEY="hskey-api-000000000000-" + "0" * 64)("devices", "list") == 401
