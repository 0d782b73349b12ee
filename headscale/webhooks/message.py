"""An event's way on the wire: the body in the form that its receiver reads, and the signature."""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from headscale.webhooks.events import Event

SIGNATURE: Final = "Tailscale-Webhook-Signature"
# Of what a chat shows; discord takes no more.
TEXT_MAX: Final = 2000
_TEXT_FIELD: Final = {"slack": "text", "mattermost": "text", "googlechat": "text", "discord": "content"}


def body_of(events: Sequence[Event], *, tailnet: str, provider: str) -> bytes:
    """The events as a JSON array; for a chat service one message with a line for each."""
    field = _TEXT_FIELD.get(provider)
    if field is None:
        return msgspec.json.encode([event.document(tailnet) for event in events])
    text = "\n".join(f"{event.message} ({tailnet})" for event in events)
    return msgspec.json.encode({field: text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"})


def signature_of(body: bytes, *, secret: str, now: datetime) -> str:
    """`t=<seconds>,v1=<hex>`: HMAC-SHA256 of the time, a dot and the body, with the secret's text as key.

    Source: the hosted service's documentation of webhook events, "verifying an event signature".
    """
    seconds = int(now.timestamp())
    signed = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={signed.hexdigest()}"
