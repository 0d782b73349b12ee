"""Webhooks: create, change, delete. What is sent to them, and when: headscale/webhooks."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from headscale.errors import Conflict, Malformed, NotFound
from headscale.records import Advance, Counter, Delete, Insert, Update, Webhook
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot

TAILNET: Final = "categoryTailnetManagement"
MISCONFIGURATIONS: Final = "categoryDeviceMisconfigurations"
# The hosted service's names. Source: tailscale.com/client/tailscale/v2 v2.12.0, webhooks.go.
CATEGORIES: Final = {
    TAILNET: (
        "nodeCreated",
        "nodeNeedsApproval",
        "nodeApproved",
        "nodeKeyExpiringInOneDay",
        "nodeKeyExpired",
        "nodeDeleted",
        "nodeSigned",
        "nodeNeedsSignature",
        "policyUpdate",
        "userCreated",
        "userNeedsApproval",
        "userSuspended",
        "userRestored",
        "userDeleted",
        "userApproved",
        "userRoleUpdated",
    ),
    MISCONFIGURATIONS: ("subnetIPForwardingNotEnabled", "exitNodeIPForwardingNotEnabled"),
}
SUBSCRIPTIONS: Final = frozenset({*CATEGORIES, *(name for names in CATEGORIES.values() for name in names)})
PROVIDERS: Final = ("", "slack", "mattermost", "googlechat", "discord")
WEBHOOKS_MAX: Final = 50
URL_MAX: Final = 2048


def create_webhook(
    snapshot: Snapshot,
    moment: Moment,
    *,
    url: str,
    provider: str,
    subscriptions: Iterable[str],
    sealed_secret: bytes,
    creator: str,
) -> Effect[Webhook]:
    """A new one; raises Malformed, or Conflict when there are too many."""
    if len(snapshot.webhooks) >= WEBHOOKS_MAX:
        raise Conflict(f"there are {WEBHOOKS_MAX} webhooks already: delete one first")
    _check_url(url)
    if provider not in PROVIDERS:
        raise Malformed(f"{provider[:40]!r} is no provider: {', '.join(PROVIDERS[1:])}, or none")
    webhook = Webhook(
        id=snapshot.last_webhook_id + 1,
        url=url,
        provider=provider,
        subscriptions=_checked(subscriptions),
        sealed_secret=sealed_secret,
        creator=creator,
        created_at=moment.now,
        modified_at=moment.now,
    )
    after = replace(snapshot, webhooks=snapshot.webhooks.set(webhook.id, webhook), last_webhook_id=webhook.id)
    return Effect(after, webhook, (Insert(webhook), Advance(Counter.WEBHOOK, webhook.id)))


def subscribe_webhook(
    snapshot: Snapshot, moment: Moment, *, webhook_id: int, subscriptions: Iterable[str]
) -> Effect[Webhook]:
    """These events from now on, and no others."""
    webhook = find_webhook(snapshot, webhook_id)
    wanted = _checked(subscriptions)
    if wanted == webhook.subscriptions:
        return Effect(snapshot, webhook)
    return _changed(snapshot, replace(webhook, subscriptions=wanted, modified_at=moment.now))


def reseal_webhook(
    snapshot: Snapshot, moment: Moment, *, webhook_id: int, sealed_secret: bytes
) -> Effect[Webhook]:
    """Another secret signs from now on."""
    webhook = find_webhook(snapshot, webhook_id)
    return _changed(snapshot, replace(webhook, sealed_secret=sealed_secret, modified_at=moment.now))


def delete_webhook(snapshot: Snapshot, moment: Moment, *, webhook_id: int) -> Effect[None]:
    """Nothing is sent there any more."""
    webhook = find_webhook(snapshot, webhook_id)
    after = replace(snapshot, webhooks=snapshot.webhooks.delete(webhook.id))
    return Effect(after, None, (Delete(webhook),))


def find_webhook(snapshot: Snapshot, webhook_id: int) -> Webhook:
    """The one with this id; raises NotFound."""
    webhook = snapshot.webhooks.get(webhook_id)
    if webhook is None:
        raise NotFound(f"no webhook has the id {webhook_id}")
    return webhook


def _changed(snapshot: Snapshot, webhook: Webhook) -> Effect[Webhook]:
    after = replace(snapshot, webhooks=snapshot.webhooks.set(webhook.id, webhook))
    return Effect(after, webhook, (Update(webhook),))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_web = False
    if not is_web or len(url) > URL_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise Malformed(f"{url[:200]!r} is no http:// or https:// URL with a host")


def _checked(subscriptions: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(subscriptions))
    if not wanted:
        raise Malformed("a webhook without subscriptions is never sent anything: name some")
    unknown = [name for name in wanted if name not in SUBSCRIPTIONS]
    if unknown:
        raise Malformed(f"{', '.join(name[:60] for name in unknown)}: no such event")
    return wanted
