"""What happened between two snapshots, as events with the hosted service's names. A core: no I/O, no clock."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from headscale.records import Node, TailnetSettings, User, Webhook
from headscale.state.snapshot import Snapshot
from headscale.state.webhooks import CATEGORIES

ONE_DAY: Final = timedelta(days=1)
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `message` is for people, `data` for programs."""

    at: datetime
    kind: str
    message: str
    data: Mapping[str, Any] | None = field(default=None)

    def document(self, tailnet: str) -> dict[str, Any]:
        """As it is sent."""
        return {
            "timestamp": self.at,
            "version": VERSION,
            "type": self.kind,
            "tailnet": tailnet,
            "message": self.message,
            "data": self.data,
        }


def trial_event(now: datetime) -> Event:
    """What is sent to see whether it arrives."""
    return Event(now, "test", "This is a test event")


def wants(webhook: Webhook, kind: str) -> bool:
    """Whether it is subscribed to events of this kind. A test goes to whoever is tested."""
    return kind in webhook.subscriptions or any(
        kind in names and category in webhook.subscriptions for category, names in CATEGORIES.items()
    )


def tailnet_name(settings: TailnetSettings) -> str:
    """What events call the tailnet."""
    return settings.dns.base_domain or urlsplit(settings.server_url).hostname or ""


def events_between(
    old: Snapshot, new: Snapshot, touched: frozenset[int] | None, now: datetime
) -> list[Event]:
    """In the order users, policy, nodes. `touched` are the nodes that may differ; None for any."""
    ids = touched if touched is not None else {*old.nodes, *new.nodes}
    found = list(_of_users(old, new, now))
    if old.policy_text is not new.policy_text and new.policy_text is not None:
        found.append(_policy_update(old, new, now))
    for node_id in sorted(ids):
        found += _of_node(old, new, old.nodes.get(node_id), new.nodes.get(node_id), now)
    return found


def ending_soon(snapshot: Snapshot, since: datetime, now: datetime) -> list[Event]:
    """The nodes whose keys had more than a day left at `since` and have less now."""
    return [
        _about(snapshot, node, now, "nodeKeyExpiringInOneDay", "key ends within a day", ends=True)
        for node in snapshot.nodes.values()
        if node.expiry is not None and not node.expired and since < node.expiry - ONE_DAY <= now
    ]


def _of_users(old: Snapshot, new: Snapshot, now: datetime) -> Iterator[Event]:
    if old.users is new.users:
        return
    for user_id in sorted({*old.users, *new.users}):
        before, after = old.users.get(user_id), new.users.get(user_id)
        if before is None and after is not None:
            yield _about_user(new, after, now, "userCreated", "was created")
        elif before is not None and after is None:
            yield _about_user(new, before, now, "userDeleted", "was deleted")
        elif before is not None and after is not None and before.role is not after.role:
            roles = {"oldRoles": [before.role.value], "newRoles": [after.role.value]}
            yield _about_user(new, after, now, "userRoleUpdated", f"is {after.role.value} now", **roles)


def _of_node(
    old: Snapshot, new: Snapshot, before: Node | None, after: Node | None, now: datetime
) -> Iterator[Event]:
    if after is None:
        if before is not None:
            yield _about(old, before, now, "nodeDeleted", "was deleted")
        return
    if before is None:
        yield _about(new, after, now, "nodeCreated", "was added")
    waited = before is not None and not before.authorized
    if not after.authorized and not waited:
        yield _about(new, after, now, "nodeNeedsApproval", "waits for approval")
    if after.authorized and waited:
        yield _about(new, after, now, "nodeApproved", "was approved")
    if after.expired and before is not None and not before.expired:
        yield _about(new, after, now, "nodeKeyExpired", "key has ended", ends=True)


def _policy_update(old: Snapshot, new: Snapshot, now: datetime) -> Event:
    data = {
        "url": f"{new.settings.server_url}/api/v2/tailnet/-/acl",
        "oldPolicy": old.policy_text.text if old.policy_text is not None else "",
        "newPolicy": new.policy_text.text if new.policy_text is not None else "",
    }
    return Event(now, "policyUpdate", "The policy was changed", data)


def _about(
    snapshot: Snapshot, node: Node, now: datetime, kind: str, what: str, *, ends: bool = False
) -> Event:
    user = snapshot.users.get(node.user_id) if node.user_id is not None else None
    domain = snapshot.settings.dns.base_domain
    name = f"{node.given_name}.{domain}" if domain else node.given_name
    data: dict[str, Any] = {
        "nodeID": str(node.id),
        "deviceName": name,
        "managedBy": user.login if user is not None else ",".join(node.tags),
        "url": f"{snapshot.settings.server_url}/api/v2/device/{node.id}",
    }
    if ends and node.expiry is not None:
        data["expiration"] = node.expiry
    return Event(now, kind, f"Node {node.given_name} {what}", data)


def _about_user(
    snapshot: Snapshot, user: User, now: datetime, kind: str, what: str, **more: list[str]
) -> Event:
    data: dict[str, Any] = {
        "user": user.login,
        "userID": str(user.id),
        "url": f"{snapshot.settings.server_url}/api/v2/users/{user.id}",
        **more,
    }
    return Event(now, kind, f"User {user.login} {what}", data)
