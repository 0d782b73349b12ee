"""What nodes ask besides registering and polling, over real sockets: what is kept, who may, and what is not offered."""

import asyncio
import base64
from typing import Any

import msgspec
import pytest

from harness.clients.fake import FakeClient
from harness.clients.session import Answer
from headscale.control.asks import AUDIT_EVENTS_MAX
from headscale.state.attributes import ATTRIBUTES_MAX
from headscale.state.audit import DETAILS_MAX
from tests.integration.fakes import Join, Tailnet, registered

REFUSED = (400, 404)


async def ask(client: FakeClient, method: str, path: str, **fields: Any) -> Answer:
    """A request of this node, as its client sends it."""
    session = await client.connect()
    body = msgspec.json.encode({"Version": client.version, "NodeKey": client.node_key, **fields})
    async with asyncio.timeout(10):
        return await session.request(method, path, body=body if method != "GET" else b"")


async def events(tailnet: Tailnet, query: str = "") -> list[dict[str, Any]]:
    """What nodes did; how the test let them in is in the log too."""
    found = (await tailnet.server.call("GET", f"audit{query}"))["events"]
    return [event for event in found if event["actor"].startswith("node ")]


async def test_whoami_names_the_machine_and_its_nodes(join: Join) -> None:
    one = await join("laptop")
    answer = await ask(one.client, "GET", "/machine/whoami")
    assert answer.status == 200
    text = answer.body.decode()
    assert str(one.client.machine_key) in text
    assert f"node {one.id} laptop {one.client.node_key}" in text


async def test_what_a_user_did_is_kept_and_listed(tailnet: Tailnet, join: Join) -> None:
    """Newest first, with the server's time beside the client's; and still there after a restart."""
    one = await join("laptop")
    told = "2026-01-02T03:04:05Z"
    for details in ("tired", "very tired"):
        answer = await ask(
            one.client,
            "POST",
            "/machine/audit-log",
            Action="DISCONNECT_NODE",
            Details=details,
            Timestamp=told,
        )
        assert answer.status == 200
    await tailnet.server.stop()
    await tailnet.server.start()
    found = await events(tailnet)
    assert [event["details"] for event in found] == ["very tired", "tired"]
    newer, older = (int(event["id"]) for event in found)
    assert newer > older
    assert (found[0]["actor"], found[0]["action"], found[0]["toldAt"]) == (
        f"node {one.id} (laptop)",
        "DISCONNECT_NODE",
        told,
    )
    assert [event["id"] for event in await events(tailnet, f"?limit=1&before={newer}")] == [str(older)]
    for wrong in ("?limit=0", "?limit=x", "?before=0"):
        with pytest.raises(Exception, match="expected"):
            await events(tailnet, wrong)


@pytest.mark.parametrize(
    "fields",
    [
        {"Action": ""},
        {"Action": "A" * 65},
        {"Action": "A", "Details": "d" * (DETAILS_MAX + 1)},
        {"Action": 7},
    ],
)
async def test_a_broken_audit_event_is_refused(tailnet: Tailnet, join: Join, fields: dict[str, Any]) -> None:
    one = await join()
    assert (await ask(one.client, "POST", "/machine/audit-log", **fields)).status == 400
    assert await events(tailnet) == []


async def test_one_node_does_not_fill_the_audit_log(tailnet: Tailnet, join: Join) -> None:
    """It is told to come back later, which its client does; others are not held up."""
    one, other = await join("one"), await join("other")
    answers = [
        (await ask(one.client, "POST", "/machine/audit-log", Action="A")).status
        for _ in range(AUDIT_EVENTS_MAX + 2)
    ]
    assert answers == [200] * AUDIT_EVENTS_MAX + [429] * 2
    assert (await ask(other.client, "POST", "/machine/audit-log", Action="A")).status == 200
    assert len(await events(tailnet, "?limit=1000")) == AUDIT_EVENTS_MAX + 1


async def test_attributes_are_set_one_by_one_and_taken_away(tailnet: Tailnet, join: Join) -> None:
    one = await join()

    async def update(**values: Any) -> int:
        named = {f"custom:{name}": value for name, value in values.items()}
        return (await ask(one.client, "PATCH", "/machine/set-device-attr", Update=named)).status

    async def known() -> dict[str, Any]:
        return dict((await tailnet.server.call("GET", f"node/{one.id}/attributes"))["attributes"])

    assert await update(role="kiosk", floor=3, load=0.5, locked=True) == 200
    assert await update(floor=4, load=None) == 200
    expected = {"custom:floor": 4, "custom:locked": True, "custom:role": "kiosk"}
    assert await known() == expected
    await tailnet.server.stop()
    await tailnet.server.start()
    assert await known() == expected


@pytest.mark.parametrize(
    "update",
    [
        {"node:os": "linux"},
        {"custom:": 1},
        {"custom:1": 1},
        {"custom:" + "a" * 44: 1},
        {"custom:a": "x" * 257},
        {"custom:a": [1]},
        {"custom:fine": 1, "ip:country": "DE"},
        {f"custom:a{number}": 1 for number in range(ATTRIBUTES_MAX + 1)},
    ],
)
async def test_what_is_no_attribute_changes_nothing(
    tailnet: Tailnet, join: Join, update: dict[str, Any]
) -> None:
    one = await join()
    assert (await ask(one.client, "PATCH", "/machine/set-device-attr", Update=update)).status == 400
    assert tailnet.node(one.id).attributes == {}


async def test_a_feature_that_is_off_says_what_is_missing(join: Join) -> None:
    """And does not keep the command waiting."""
    one = await join()
    for feature, words in (("serve", "HTTPS is not enabled"), ("funnel", "HTTPS is not"), ("x", "not know")):
        answer = await ask(one.client, "POST", "/machine/feature/query", Feature=feature)
        document = msgspec.json.decode(answer.body)
        assert (answer.status, document.get("Complete", False), document.get("ShouldWait", False)) == (
            200,
            False,
            False,
        )
        assert words in document["Text"]


async def test_a_policy_may_enable_them(tailnet: Tailnet, join: Join) -> None:
    policy = '{"grants": [], "nodeAttrs": [{"target": ["alice@"], "attr": ["https"]}]}'
    await tailnet.server.set_policy(policy)
    one, bobs = await join(), await join(user="2")
    for client, complete in ((one.client, True), (bobs.client, False)):
        answer = await ask(client, "POST", "/machine/feature/query", Feature="serve")
        assert msgspec.json.decode(answer.body).get("Complete", False) is complete


async def test_trouble_of_an_old_client_is_taken_note_of(join: Join) -> None:
    """Whatever it says; its node key may be missing (up to 1.62)."""
    one = await join()
    told = {"Subsys": "dns", "Error": "on\nfire"}
    assert (await ask(one.client, "POST", "/machine/update-health", **told)).status == 200
    assert (await ask(one.client, "POST", "/machine/update-health", NodeKey=None)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/machine/id-token", "issues no ID tokens"),
        ("POST", "/machine/set-dns", "no certificates for nodes"),
        ("GET", "/machine/tka/bootstrap", "no tailnet lock"),
        ("GET", "/machine/tka/sync/offer", "no tailnet lock"),
        ("POST", "/machine/webclient/init/1/to/2", "no web client sessions"),
    ],
)
async def test_what_is_not_offered_says_so(join: Join, method: str, path: str, words: str) -> None:
    """501 and a reason: nothing that a supported client asks is a 404."""
    one = await join()
    answer = await ask(one.client, method, path)
    assert (answer.status, words in answer.body.decode()) == (501, True)


@pytest.mark.bar("A3")
@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/machine/audit-log", {"Action": "A"}),
        ("PATCH", "/machine/set-device-attr", {"Update": {"custom:a": 1}}),
        ("POST", "/machine/feature/query", {"Feature": "serve"}),
    ],
)
async def test_another_machine_with_the_node_key_is_nobody(
    tailnet: Tailnet, join: Join, method: str, path: str, fields: dict[str, Any]
) -> None:
    victim = await join("victim")
    before = tailnet.node(victim.id)
    thief = await tailnet.client("thief", node_private=victim.client.node_private)
    answer = await ask(thief, method, path, **fields)
    assert (answer.status, b"node not found" in answer.body) == (404, True)
    assert tailnet.node(victim.id) == before
    assert await events(tailnet) == []


async def answering(client: FakeClient, url: str, raw: bytes) -> int:
    """Answer a question of the server's, as a client does: over its session, whatever the URL's host."""
    session = await client.connect()
    return (await session.request("POST", "/" + url.split("/", 3)[3], body=raw)).status


async def test_a_ping_goes_to_the_client_and_back(tailnet: Tailnet, join: Join) -> None:
    """As a whole HTTP request in the stream; the answer is tied to the machine that was asked, and taken once."""
    one, other = await join("one"), await join("other")
    stream = await one.stream()
    pong = asyncio.create_task(tailnet.server.call("POST", f"node/{one.id}/ping"))
    while not (ping := (await stream.next_message(within=5)).get("PingRequest")):
        pass
    assert (ping["Types"], ping["URLIsNoise"]) == ("c2n", True)
    assert ping["URL"].startswith("https://")
    head, _, body = base64.b64decode(ping["Payload"]).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /echo HTTP/1.1")
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert await answering(other.client, ping["URL"], raw) == 404
    assert await answering(one.client, ping["URL"], b"nonsense") == 400
    assert await answering(one.client, ping["URL"], raw) == 200
    document = await asyncio.wait_for(pong, 5)
    assert (document["answered"], document["reason"]) == (True, "")
    assert await answering(one.client, ping["URL"], raw) == 404


async def test_a_client_that_is_away_does_not_answer(tailnet: Tailnet, join: Join) -> None:
    one = await join("one")
    document = await tailnet.server.call("POST", f"node/{one.id}/ping")
    assert (document["answered"], document["reason"]) == (False, "one is not connected")
    with pytest.raises(Exception, match="no node has the id 99"):
        await tailnet.server.call("POST", "node/99/ping")


async def test_a_key_that_was_rotated_asks_no_more(tailnet: Tailnet, join: Join) -> None:
    one = await join()
    old = one.client.rotate_node_key()
    await registered(one.client, await tailnet.key(), old_node_key=old)
    session = await one.client.connect()
    body = msgspec.json.encode({"Version": 142, "NodeKey": old, "Action": "A"})
    assert (await session.request("POST", "/machine/audit-log", body=body)).status in REFUSED
