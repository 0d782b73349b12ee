"""What an act of an administrator leaves in the audit log."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest

from headscale.errors import NotFound
from headscale.records import AuditEvent, Change, Insert
from headscale.state.acts import CHANGES_MAX, audited, shortened
from headscale.state.apikeys import KIND, create_api_key
from headscale.state.backfill import backfill_addresses
from headscale.state.credentials import create_key, draw_secret
from headscale.state.effect import Step
from headscale.state.nodes import delete_node, expire_node, rename_node
from headscale.state.preferences import set_device_approval
from headscale.state.snapshot import Snapshot
from headscale.state.tags import set_tags
from headscale.state.users import create_user, delete_user, rename_user
from tests.builders import NOW, moment, node, tailnet, with_nodes, with_policy_text

SECRET = draw_secret(bytes(range(64)))
API_SECRET = draw_secret(bytes(range(64)), kind=KIND)


def here() -> Snapshot:
    return with_nodes(tailnet("alice", "bob"), node(1, given_name="laptop"))


def noted(snapshot: Snapshot, step: Step[Any]) -> list[AuditEvent]:
    """The events that the step adds, as its last rows."""
    effect = audited(step, actor="API key abc", action="a.b")(snapshot, moment())
    events = [
        write.record
        for write in effect.writes
        if isinstance(write, Insert) and isinstance(write.record, AuditEvent)
    ]
    assert effect.snapshot.last_audit_id == snapshot.last_audit_id + len(events)
    return events


ACTS: Mapping[str, tuple[Step[Any], Change]] = {
    "a field changes": (
        partial(rename_node, node_id=1, name="desk"),
        Change(target="node 1", name="desk", before={"given_name": "laptop"}, after={"given_name": "desk"}),
    ),
    "a time changes": (
        partial(expire_node, node_id=1, expiry=NOW + timedelta(days=1)),
        Change(
            target="node 1",
            name="laptop",
            before={"expiry": None},
            after={"expiry": "2026-06-02T12:00:00+00:00"},
        ),
    ),
    "a user is renamed": (
        partial(rename_user, user_id=2, name="rob"),
        Change(target="user 2", name="rob", before={"name": "bob"}, after={"name": "rob"}),
    ),
    "a record comes": (
        partial(create_user, name="carol", display_name="Carol"),
        Change(target="user 3", name="carol", after={"name": "carol", "display_name": "Carol"}),
    ),
    "a record goes": (
        partial(delete_user, user_id=2),
        Change(target="user 2", name="bob", before={"name": "bob"}),
    ),
    "settings": (
        partial(set_device_approval, on=True),
        Change(target="settings 1", before={"device_approval": False}, after={"device_approval": True}),
    ),
}


@pytest.mark.parametrize(("step", "change"), ACTS.values(), ids=ACTS.keys())
def test_who_did_what_to_which_record(step: Step[Any], change: Change) -> None:
    (event,) = noted(here(), step)
    assert (event.actor, event.action, event.at, event.changes) == ("API key abc", "a.b", NOW, (change,))


def test_an_owner_and_tags() -> None:
    snapshot = with_policy_text(here(), '{"tagOwners": {"tag:a": []}}')
    (event,) = noted(snapshot, partial(set_tags, node_id=1, tags=("tag:a",)))
    (change,) = event.changes
    assert (change.before, change.after) == (
        {"user_id": 1, "tags": []},
        {"user_id": None, "tags": ["tag:a"]},
    )


@pytest.mark.parametrize(
    "step",
    [
        partial(create_key, secret=SECRET, user_id=1, expiration=None),
        partial(create_api_key, secret=API_SECRET, expiration=None),
    ],
    ids=["pre-auth key", "API key"],
)
def test_no_secret_is_in_it(step: Step[Any]) -> None:
    (event,) = noted(here(), step)
    text = repr(event) + msgspec.json.encode(event.changes).decode()
    assert "secret" not in text
    assert SECRET.secret not in text
    assert API_SECRET.secret not in text


def test_what_changes_nothing_is_not_noted() -> None:
    assert noted(here(), partial(rename_node, node_id=1, name="laptop")) == []


def test_what_is_refused_is_not_noted() -> None:
    with pytest.raises(NotFound):
        noted(here(), partial(delete_node, node_id=9))


def test_many_changes_are_one_event() -> None:
    bare = with_nodes(
        tailnet("alice"), *(node(number, ipv4=None, ipv6=None) for number in range(1, CHANGES_MAX + 11))
    )
    (event,) = noted(bare, backfill_addresses)
    assert len(event.changes) == CHANGES_MAX + 1
    assert event.changes[-1] == Change(target="", name="and 10 more")
    assert event.changes[0].after is not None
    assert event.changes[0].after["ipv4"].startswith("100.")
    assert shortened(event.changes[:CHANGES_MAX]) == event.changes[:CHANGES_MAX]
