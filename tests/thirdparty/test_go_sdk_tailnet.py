"""The official Go client on what belongs to the whole tailnet: policy, DNS, settings, webhooks."""

from tests.integration.doors import Door
from tests.thirdparty.programs import Program
from tests.thirdparty.sdk import POLICY, Sdk, refuser

OPEN = '{\n\t// open\n\t"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],\n}\n'


async def test_the_policy_is_read_validated_and_set_by_its_tag(
    sdk: Sdk,
    gosdk: Program,
    api_key: str,
    admin: Door,
) -> None:
    """Byte for byte; with an old tag nothing is set."""
    raw = await sdk("policy", "raw")
    assert raw["HuJSON"] == POLICY
    await sdk("policy", "validate", OPEN)
    await sdk("policy", "set", OPEN, raw["ETag"])
    assert (await admin("GET", "policy"))[1]["policy"] == OPEN
    refused = refuser(gosdk, TS_API_KEY=api_key)
    assert await refused("policy", "set", POLICY, raw["ETag"]) == 412
    read = await sdk("policy", "get")
    assert read["acls"][0]["dst"] == ["*:*"]
    written = await sdk("policy", "set-and-get", {"acls": [], "tagOwners": {"tag:ci": []}}, "")
    assert written["tagOwners"] == {"tag:ci": []}
    done = await gosdk(
        "policy", "validate", '"{\\"acls\\": [{\\"action\\": \\"deny\\"}]}"', TS_API_KEY=api_key
    )
    assert (done.code, "validation failed" in done.out) == (1, True), done


async def test_dns_is_read_and_changed(sdk: Sdk) -> None:
    """Where the configuration leaves it to administrators."""
    await sdk("dns", "set-nameservers", ["9.9.9.9", "1.1.1.1"])
    assert await sdk("dns", "nameservers") == ["9.9.9.9", "1.1.1.1"]
    await sdk("dns", "set-search-paths", ["corp.example"])
    assert await sdk("dns", "search-paths") == ["corp.example"]
    await sdk("dns", "set-split", {"corp.example": ["10.0.0.53"]})
    assert await sdk("dns", "split") == {"corp.example": ["10.0.0.53"]}
    updated = await sdk("dns", "update-split", {"lab.example": ["10.0.0.54"]})
    assert set(updated) == {"corp.example", "lab.example"}
    assert set(await sdk("dns", "preferences")) == {"magicDNS"}
    whole = await sdk("dns", "configuration")
    assert [each["address"] for each in whole["nameservers"]] == ["9.9.9.9", "1.1.1.1"]
    await sdk("dns", "set-configuration", {**whole, "nameservers": [{"address": "9.9.9.9"}]})
    assert await sdk("dns", "nameservers") == ["9.9.9.9"]


async def test_settings_are_read_and_changed(sdk: Sdk) -> None:
    before = await sdk("settings", "get")
    assert before["devicesApprovalOn"] is False
    await sdk("settings", "update", {"devicesApprovalOn": True})
    assert await sdk("settings", "get") == {**before, "devicesApprovalOn": True}


async def test_webhooks_are_made_changed_and_deleted(
    sdk: Sdk,
    gosdk: Program,
    api_key: str,
) -> None:
    """The secret is shown when it is made or rotated, and never else."""
    asked = {"endpointUrl": "https://hook.example/x", "providerType": "", "subscriptions": ["nodeCreated"]}
    made = await sdk("webhooks", "create", asked)
    number = made["endpointId"]
    assert made["secret"]
    read = await sdk("webhooks", "get", number)
    assert (read["endpointUrl"], read["subscriptions"], read.get("secret")) == (
        "https://hook.example/x",
        ["nodeCreated"],
        None,
    )
    changed = await sdk("webhooks", "update", number, ["nodeDeleted", "policyUpdate"])
    assert set(changed["subscriptions"]) == {"nodeDeleted", "policyUpdate"}
    assert [each["endpointId"] for each in await sdk("webhooks", "list")] == [number]
    rotated = await sdk("webhooks", "rotate", number)
    assert rotated["secret"] not in (None, made["secret"])
    await sdk("webhooks", "delete", number)
    assert await refuser(gosdk, TS_API_KEY=api_key)("webhooks", "get", number) == 404
