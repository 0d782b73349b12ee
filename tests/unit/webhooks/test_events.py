"""What webhooks hear of a change, and in which form."""

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from headscale.records import Role, Webhook
from headscale.state.nodes import delete_node, expire_due, rename_node
from headscale.state.policy import prepare, set_policy
from headscale.state.preferences import authorize_node
from headscale.state.roles import set_role
from headscale.state.snapshot import Snapshot, put_node
from headscale.state.users import create_user, delete_user
from headscale.state.webhooks import CATEGORIES, MISCONFIGURATIONS, SUBSCRIPTIONS, TAILNET
from headscale.webhooks.events import Event, ending_soon, events_between, trial_event, wants
from headscale.webhooks.message import TEXT_MAX, body_of, signature_of
from tests.builders import HOUR, NOW, SETTINGS, moment, node, tailnet, with_approval, with_nodes

DAY = timedelta(days=1)


def here(**more: Any) -> Snapshot:
    return with_nodes(
        tailnet("alice", "bob", settings=SETTINGS), node(1, given_name="laptop", **more), node(2)
    )


def _with(number: int, **more: Any) -> Callable[[Snapshot], Snapshot]:
    return lambda snapshot: put_node(snapshot, node(number, **more))


CHANGES: dict[str, tuple[Snapshot, Callable[[Snapshot], Snapshot], list[str]]] = {
    "a node comes": (here(), _with(3), ["nodeCreated"]),
    "a node comes and waits": (
        with_approval(here()),
        _with(3, authorized=False),
        ["nodeCreated", "nodeNeedsApproval"],
    ),
    "a node is let in": (
        here(authorized=False),
        lambda s: authorize_node(s, moment(), node_id=1).snapshot,
        ["nodeApproved"],
    ),
    "a node waits again": (
        here(),
        lambda s: authorize_node(s, moment(), node_id=1, on=False).snapshot,
        ["nodeNeedsApproval"],
    ),
    "a key ends": (
        here(expiry=NOW - HOUR),
        lambda s: expire_due(s, moment()).snapshot,
        ["nodeKeyExpired"],
    ),
    "a node goes": (here(), lambda s: delete_node(s, moment(), node_id=1).snapshot, ["nodeDeleted"]),
    "a node is renamed": (here(), lambda s: rename_node(s, moment(), node_id=1, name="x").snapshot, []),
    "a user has another role": (
        here(),
        lambda s: set_role(s, moment(), user_id=2, role=Role.ADMIN).snapshot,
        ["userRoleUpdated"],
    ),
    "ownership is handed over": (
        here(),
        lambda s: set_role(s, moment(), user_id=2, role=Role.OWNER).snapshot,
        ["userRoleUpdated", "userRoleUpdated"],
    ),
    "a user comes": (here(), lambda s: create_user(s, moment(), name="carol").snapshot, ["userCreated"]),
    "a user goes": (here(), lambda s: delete_user(s, moment(), user_id=2).snapshot, ["userDeleted"]),
    "another policy": (
        here(),
        lambda s: set_policy(s, moment(), prepared=prepare(s, '{"acls": []}')).snapshot,
        ["policyUpdate"],
    ),
    "nothing": (here(), lambda s: s, []),
}


@pytest.mark.parametrize("knows_who", [True, False], ids=["some nodes", "any node"])
@pytest.mark.parametrize(("old", "change", "kinds"), CHANGES.values(), ids=CHANGES.keys())
def test_what_a_change_comes_to(
    old: Snapshot, change: Callable[[Snapshot], Snapshot], kinds: list[str], knows_who: bool
) -> None:
    new = change(old)
    touched = frozenset({1, 3}) if knows_who else None
    events = events_between(old, new, touched, NOW)
    assert [event.kind for event in events] == kinds
    for event in events:
        assert event.kind in CATEGORIES[TAILNET]
        assert event.at == NOW
        assert event.data is not None


def test_a_node_is_named_with_its_owner_and_address() -> None:
    old = here()
    (event,) = events_between(old, delete_node(old, moment(), node_id=1).snapshot, None, NOW)
    assert event.message == "Node laptop was deleted"
    assert event.data == {
        "nodeID": "1",
        "deviceName": "laptop",
        "managedBy": "alice",
        "url": "http://127.0.0.1:8080/api/v2/device/1",
    }


def test_a_policy_comes_with_the_one_before() -> None:
    first = set_policy(here(), moment(), prepared=prepare(here(), '{"acls": []}')).snapshot
    second = set_policy(first, moment(), prepared=prepare(first, "{}")).snapshot
    (event,) = events_between(first, second, None, NOW)
    assert event.data is not None
    assert (event.data["oldPolicy"], event.data["newPolicy"]) == ('{"acls": []}', "{}")


def test_a_key_is_told_once_when_a_day_is_left() -> None:
    snapshot = here(expiry=NOW + DAY)
    assert ending_soon(snapshot, NOW - HOUR, NOW - HOUR / 2) == []
    (event,) = ending_soon(snapshot, NOW - HOUR / 2, NOW)
    assert (event.kind, event.data and event.data["expiration"]) == ("nodeKeyExpiringInOneDay", NOW + DAY)
    assert ending_soon(snapshot, NOW, NOW + HOUR) == []


@pytest.mark.parametrize("kind", sorted(SUBSCRIPTIONS - CATEGORIES.keys()))
def test_a_category_is_all_that_is_in_it(kind: str) -> None:
    for category, names in CATEGORIES.items():
        assert wants(hook(category), kind) == (kind in names)
    assert wants(hook(kind), kind)
    assert not wants(hook("nodeDeleted" if kind != "nodeDeleted" else "nodeCreated"), kind)
    assert MISCONFIGURATIONS in CATEGORIES


def hook(*subscriptions: str) -> Webhook:
    return Webhook(
        id=1,
        url="http://receiver.example/",
        provider="",
        subscriptions=subscriptions,
        sealed_secret=b"",
        creator="",
        created_at=NOW,
        modified_at=NOW,
    )


def trial_events_travel_as_a_list() -> None:
    events = [trial_event(NOW), Event(NOW, "nodeDeleted", "Node x was deleted", {"nodeID": "7"})]
    assert json.loads(body_of(events, tailnet="net.example", provider="")) == [
        {
            "timestamp": "2026-06-01T12:00:00Z",
            "version": 1,
            "type": kind,
            "tailnet": "net.example",
            "message": message,
            "data": data,
        }
        for kind, message, data in [
            ("test", "This is a test event", None),
            ("nodeDeleted", "Node x was deleted", {"nodeID": "7"}),
        ]
    ]


@pytest.mark.parametrize(
    ("provider", "field"),
    [("slack", "text"), ("mattermost", "text"), ("googlechat", "text"), ("discord", "content")],
)
def test_a_chat_gets_a_line_for_each(provider: str, field: str) -> None:
    events = [Event(NOW, "x", f"Line {n}") for n in (1, 2)]
    told = json.loads(body_of(events, tailnet="net.example", provider=provider))
    assert told == {field: "Line 1 (net.example)\nLine 2 (net.example)"}
    many = json.loads(body_of(events * 200, tailnet="net.example", provider=provider))
    assert len(many[field]) == TEXT_MAX


def test_the_signature_is_of_time_and_body() -> None:
    signature = signature_of(b"[]", secret="tskey-webhook-x", now=NOW)
    seconds = int(NOW.timestamp())
    wanted = hmac.new(b"tskey-webhook-x", f"{seconds}.[]".encode(), hashlib.sha256).hexdigest()
    assert signature == f"t={seconds},v1={wanted}"
    others = [
        signature_of(b"[ ]", secret="tskey-webhook-x", now=NOW),
        signature_of(b"[]", secret="tskey-webhook-y", now=NOW),
        signature_of(b"[]", secret="tskey-webhook-x", now=NOW + timedelta(seconds=1)),
    ]
    assert signature not in others


def test_of_a_role_both_are_told() -> None:
    before = here()
    after = set_role(before, moment(), user_id=2, role=Role.AUDITOR).snapshot
    (event,) = events_between(before, after, frozenset(), NOW)
    assert event.message == "User bob is auditor now"
    assert event.data is not None
    assert (event.data["oldRoles"], event.data["newRoles"]) == (["member"], ["auditor"])
