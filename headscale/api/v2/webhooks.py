"""/tailnet/{tailnet}/webhooks and /webhooks/{id}: where events are sent."""

import secrets
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from headscale.api.acts import ACTOR
from headscale.api.v2.endpoints import Call, Endpoint
from headscale.records import Webhook
from headscale.state.scopes import WEBHOOKS, read
from headscale.state.webhooks import (
    create_webhook,
    delete_webhook,
    find_webhook,
    reseal_webhook,
    subscribe_webhook,
)

SECRET_BYTES: Final = 32


class NewWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where to, in which form, and what."""

    endpoint_url: str
    subscriptions: tuple[str, ...]
    provider_type: str = ""


class Subscriptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent from now on."""

    subscriptions: tuple[str, ...]


class WebhookShown(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A webhook; its secret only in the answer that made it."""

    endpoint_id: str
    endpoint_url: str
    provider_type: str
    creator_login_name: str
    created: datetime
    last_modified: datetime
    subscriptions: tuple[str, ...]
    secret: str | msgspec.UnsetType = msgspec.UNSET


class WebhookList(msgspec.Struct, frozen=True):
    """All of them."""

    webhooks: tuple[WebhookShown, ...]


async def create(call: Call[NewWebhook]) -> WebhookShown:
    """A new one, with the secret that signs what is sent to it; no other answer has it again."""
    secret = draw_secret()
    webhook = await call.apply(
        "webhook.create",
        partial(
            create_webhook,
            url=call.body.endpoint_url,
            provider=call.body.provider_type,
            subscriptions=call.body.subscriptions,
            sealed_secret=call.parts.sealer.seal(secret),
            creator=call.request[ACTOR].name,
        ),
    )
    return shown(webhook, secret=secret)


async def list_webhooks(call: Call[None]) -> WebhookList:
    """All by id."""
    webhooks = call.snapshot.webhooks
    return WebhookList(tuple(shown(webhooks[webhook_id]) for webhook_id in sorted(webhooks)))


async def get(call: Call[None]) -> WebhookShown:
    """One of them."""
    return shown(find_webhook(call.snapshot, call.id("webhook")))


async def update(call: Call[Subscriptions]) -> WebhookShown:
    """Other subscriptions."""
    step = partial(subscribe_webhook, webhook_id=call.id("webhook"), subscriptions=call.body.subscriptions)
    return shown(await call.apply("webhook.update", step))


async def rotate(call: Call[None]) -> WebhookShown:
    """Another secret, from now on."""
    secret = draw_secret()
    step = partial(
        reseal_webhook, webhook_id=call.id("webhook"), sealed_secret=call.parts.sealer.seal(secret)
    )
    return shown(await call.apply("webhook.rotate", step), secret=secret)


async def delete(call: Call[None]) -> None:
    """Nothing is sent there any more."""
    await call.apply("webhook.delete", partial(delete_webhook, webhook_id=call.id("webhook")))


async def test(call: Call[None]) -> web.Response:
    """Have a test event sent; that it arrives, only the receiver can say."""
    call.parts.webhooks.test(call.id("webhook"))
    return web.Response(status=202, body=b"{}", content_type="application/json")


def draw_secret() -> str:
    """A new secret's text."""
    return f"tskey-webhook-{secrets.token_hex(SECRET_BYTES)}"


def shown(webhook: Webhook, *, secret: str | msgspec.UnsetType = msgspec.UNSET) -> WebhookShown:
    """As answers have it."""
    return WebhookShown(
        endpoint_id=str(webhook.id),
        endpoint_url=webhook.url,
        provider_type=webhook.provider,
        creator_login_name=webhook.creator,
        created=webhook.created_at,
        last_modified=webhook.modified_at,
        subscriptions=webhook.subscriptions,
        secret=secret,
    )


def _route(
    method: str, path: str, handler: Any, summary: str, told: Any = None, body: Any = None
) -> Endpoint[Any]:
    return Endpoint(
        method=method,
        path=path,
        summary=summary,
        handler=handler,
        scopes=(read(WEBHOOKS) if method == "GET" else WEBHOOKS,),
        body=body,
        **({"answer": told} if told is not None else {}),
    )


ALL: Final = "/tailnet/{tailnet}/webhooks"
ONE: Final = "/webhooks/{id}"
ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (
    _route("POST", ALL, create, "Create a webhook", WebhookShown, NewWebhook),
    _route("GET", ALL, list_webhooks, "List webhooks", WebhookList),
    _route("GET", ONE, get, "Get a webhook", WebhookShown),
    _route("PATCH", ONE, update, "Change what a webhook is sent", WebhookShown, Subscriptions),
    _route("DELETE", ONE, delete, "Delete a webhook"),
    _route("POST", f"{ONE}/test", test, "Have a test event sent (202)"),
    _route("POST", f"{ONE}/rotate", rotate, "Get another secret for a webhook", WebhookShown),
)
