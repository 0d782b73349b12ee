"""What administrators do, written down: any step that changes records also adds to the audit log who did it, and what
was before and after. The two are one commit, so that neither is ever there without the other.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, TypeVar

import msgspec

from headscale.records import (
    AccessToken,
    Advance,
    ApiKey,
    AuditEvent,
    Change,
    Delete,
    Elections,
    Insert,
    Node,
    OAuthClient,
    PolicyText,
    PreAuthKey,
    Preferences,
    Record,
    User,
    Webhook,
    Write,
)
from headscale.state.audit import note
from headscale.state.effect import Effect, Moment, Step
from headscale.state.snapshot import Snapshot

T = TypeVar("T")

# Of one act; a longer list (every node is given an address) ends with how many more there were.
CHANGES_MAX: Final = 50
_SECRET: Final = frozenset({"secret_hash", "sealed_secret", "sealed_refresh"})
# What a node says of itself, and what is only a view of the clock: nobody decided it.
_PASSING: Final = frozenset(
    {"hostinfo", "endpoints", "online", "expired", "ending", "last_seen", "cap_version"}
)
_NAMES: Final[Mapping[type, str]] = {
    User: "user",
    PreAuthKey: "pre-auth key",
    ApiKey: "API key",
    Webhook: "webhook",
    OAuthClient: "OAuth client",
    AccessToken: "access token",
    Node: "node",
    PolicyText: "policy",
    Preferences: "settings",
}


def audited(step: Step[T], *, actor: str, action: str, details: str = "") -> Step[T]:
    """The step, and an event of the audit log for what it changes; one that changes nothing adds none."""

    def act(snapshot: Snapshot, moment: Moment) -> Effect[T]:
        effect = step(snapshot, moment)
        changes = changes_of(snapshot, effect.writes)
        if not changes:
            return effect
        noted = note(
            effect.snapshot, moment, actor=actor, action=action, details=details, changes=shortened(changes)
        )
        return replace(effect, snapshot=noted.snapshot, writes=(*effect.writes, *noted.writes))

    return act


def changes_of(before: Snapshot, writes: tuple[Write, ...]) -> tuple[Change, ...]:
    """What these writes make of the records of the snapshot, in their order."""
    changes = []
    for write in writes:
        if isinstance(write, Advance) or isinstance(write.record, AuditEvent):
            continue
        old = None if isinstance(write, Insert) else kept(before, write.record)
        new = None if isinstance(write, Delete) else write.record
        if isinstance(write.record, PolicyText):
            old = before.policy_text
        change = change_of(old, new)
        if change is not None:
            changes.append(change)
    return tuple(changes)


def shortened(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """So many as one event holds."""
    if len(changes) <= CHANGES_MAX:
        return changes
    rest = Change(target="", name=f"and {len(changes) - CHANGES_MAX} more")
    return (*changes[:CHANGES_MAX], rest)


def change_of(old: Record | None, new: Record | None) -> Change | None:
    """From one state of a record to the next, None for absent; None when nobody would see a difference."""
    record = new or old
    assert record is not None
    before, after = (shown(each) if each is not None else None for each in (old, new))
    if before is not None and after is not None:
        differing = [name for name in after if before[name] != after[name]]
        if not differing:
            return None
        before, after = ({name: each[name] for name in differing} for each in (before, after))
    else:
        before, after = (_telling(record, each) if each is not None else None for each in (before, after))
    return Change(
        target=f"{_NAMES[type(record)]} {record.id}", name=_name(record), before=before, after=after
    )


def shown(record: Record) -> dict[str, Any]:
    """A record's fields as JSON has them, without secrets."""
    if isinstance(record, PolicyText):
        return {"id": record.id, "bytes": len(record.text.encode())}
    left_out = (
        _SECRET | (_PASSING if isinstance(record, Node) else frozenset()) | {"id", "created_at", "updated_at"}
    )
    return {
        field.name: _plain(getattr(record, field.name))
        for field in fields(record)
        if field.name not in left_out
    }


def _telling(record: Record, values: dict[str, Any]) -> dict[str, Any]:
    """Without what is as it always is."""
    usual = {field.name: _default(field) for field in fields(record)}
    return {
        name: value for name, value in values.items() if getattr(record, name, MISSING) != usual.get(name)
    }


def kept(snapshot: Snapshot, record: Record) -> Record | None:
    """The record as it is in this snapshot."""
    match record:
        case User():
            return snapshot.users.get(record.id)
        case PreAuthKey():
            return snapshot.pre_auth_keys.get(record.id)
        case ApiKey():
            return snapshot.api_keys.get(record.id)
        case Webhook():
            return snapshot.webhooks.get(record.id)
        case OAuthClient():
            return snapshot.oauth_clients.get(record.id)
        case AccessToken():
            return snapshot.access_tokens.get(record.id)
        case Node():
            return snapshot.nodes.get(record.id)
        case Preferences():
            return snapshot.preferences
        case PolicyText():
            return snapshot.policy_text
        case Elections() | AuditEvent():
            return None


def _name(record: Record) -> str:
    match record:
        case User():
            return record.login
        case Node():
            return record.given_name
        case PreAuthKey() | ApiKey() | OAuthClient() | AccessToken():
            return record.prefix
        case Webhook():
            return record.url
    return ""


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _plain(value: object) -> Any:
    if isinstance(value, IPv4Address | IPv6Address):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else msgspec.to_builtins(value)
