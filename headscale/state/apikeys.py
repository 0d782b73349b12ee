"""API keys: make, list, expire, delete, recognise.

The text is the peer's: `hskey-api-<12 hex>-<64 hex>`. As with pre-auth keys the first part finds the key and the
second is the secret, of which one SHA-256 is kept (docs/decisions/0003). The oldest keys of a Go headscale, which
`headscale import` takes over, are `<7 characters>.<secret>`.
"""

import hmac
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from headscale.errors import Malformed, NotFound, Refused
from headscale.records import Advance, ApiKey, Counter, Delete, Insert, Role, Update
from headscale.state.credentials import KeySecret, hash_secret
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot, drop_api_key, put_api_key

KIND: Final = "api"
_TEXT: Final = re.compile(r"hskey-api-([A-Za-z0-9_-]{12})-([A-Za-z0-9_-]{64})")
# bcrypt, with which all of these were hashed, takes 72 bytes at the most.
_OLD_TEXT: Final = re.compile(r"([A-Za-z0-9_-]{7})\.([A-Za-z0-9_-]{1,72})")
OLD_PREFIX_LENGTH: Final = 7
# As it is shown later, or the bare prefix.
_NAMED: Final = re.compile(r"(?:hskey-api-)?([A-Za-z0-9_-]{12})(?:-\*\*\*)?|([A-Za-z0-9_-]{7})(?:\*\*\*)?")
_NOBODYS_HASH: Final = bytes(32)
# `last_seen` tells keys in use from forgotten ones; a write for every request would be a write too many.
SEEN_EVERY: Final = timedelta(minutes=1)


def masked_api_key(key: ApiKey) -> str:
    """The key as it may be shown later."""
    return f"{key.prefix}***" if len(key.prefix) == OLD_PREFIX_LENGTH else f"hskey-api-{key.prefix}-***"


def api_key_parts(text: str) -> tuple[str, str]:
    """The prefix and the secret of an API key's text; both empty when it is none."""
    found = _TEXT.fullmatch(text) or _OLD_TEXT.fullmatch(text)
    return (found[1], found[2]) if found else ("", "")


def create_api_key(
    snapshot: Snapshot,
    moment: Moment,
    *,
    secret: KeySecret,
    expiration: datetime | None,
    user_id: int | None = None,
    by: int | None = None,
) -> Effect[ApiKey]:
    """A new key, which may do what its user may, or everything without one.

    `by` is who makes it, None for who may do everything. Raises NotFound for an unknown user, Refused for more than the
    maker's own, whose the owner's alone is everything.
    """
    if user_id is not None and user_id not in snapshot.users:
        raise NotFound(f"no user has the id {user_id}")
    if by is not None and user_id != by and snapshot.users[by].role is not Role.OWNER:
        raise Refused(
            "only the owner makes API keys for others, or keys that may do everything: name yourself as user"
        )
    key = ApiKey(
        id=snapshot.last_api_key_id + 1,
        prefix=secret.prefix,
        secret_hash=hash_secret(secret.secret),
        user_id=user_id,
        expiration=expiration,
        created_at=moment.now,
    )
    return Effect(put_api_key(snapshot, key), key, (Insert(key), Advance(Counter.API_KEY, key.id)))


def expire_api_key(
    snapshot: Snapshot, moment: Moment, *, key_id: int | None = None, prefix: str = ""
) -> Effect[ApiKey]:
    """The key with this id or prefix stops working now; raises Malformed or NotFound."""
    key = replace(find_api_key(snapshot, key_id=key_id, prefix=prefix), expiration=moment.now)
    return Effect(put_api_key(snapshot, key), key, (Update(key),))


def delete_api_key(
    snapshot: Snapshot, moment: Moment, *, key_id: int | None = None, prefix: str = ""
) -> Effect[None]:
    """The key with this id or prefix is forgotten; raises Malformed or NotFound."""
    key = find_api_key(snapshot, key_id=key_id, prefix=prefix)
    return Effect(drop_api_key(snapshot, key), None, (Delete(key),))


def mark_api_key_seen(snapshot: Snapshot, moment: Moment, *, key_id: int) -> Effect[None]:
    """Somebody used the key just now. One that was deleted meanwhile is no error."""
    key = snapshot.api_keys.get(key_id)
    if key is None or not is_seen_late(key, moment.now):
        return Effect(snapshot, None)
    seen = replace(key, last_seen=moment.now)
    return Effect(put_api_key(snapshot, seen), None, (Update(seen),))


def is_seen_late(key: ApiKey, now: datetime) -> bool:
    """Whether a use of now is worth writing down."""
    return key.last_seen is None or now - key.last_seen >= SEEN_EVERY


def find_api_key(snapshot: Snapshot, *, key_id: int | None, prefix: str) -> ApiKey:
    """The key with this id, or this prefix, bare or as it is shown. Raises Malformed unless one of them is given."""
    if key_id is not None and prefix:
        raise Malformed("give either the id or the prefix of an API key, not both")
    if key_id is not None:
        found = snapshot.api_keys.get(key_id)
        named = f"the id {key_id}"
    elif prefix:
        text = _NAMED.fullmatch(prefix)
        named_prefix = (text[1] or text[2]) if text else ""
        found = snapshot.api_keys.get(snapshot.api_key_by_prefix.get(named_prefix, 0))
        # What does not look like a prefix may be a whole key.
        named = f"the prefix {named_prefix}" if text else "a prefix like this: expected its 12 characters"
    else:
        raise Malformed("say which API key: give its id or its prefix")
    if found is None:
        raise NotFound(f"no API key has {named}")
    return found


def recognise_api_key(snapshot: Snapshot, text: str, now: datetime) -> ApiKey:
    """The key that this text is; raises Refused for anything else, and for a key that has expired.

    The error is one and the same, and so is the work: a guesser learns nothing from the answer or the time it took.
    """
    prefix, secret = api_key_parts(text)
    key = snapshot.api_keys.get(snapshot.api_key_by_prefix.get(prefix, 0))
    is_right = hmac.compare_digest(hash_secret(secret), key.secret_hash if key else _NOBODYS_HASH)
    if not is_right or key is None or (key.expiration is not None and key.expiration <= now):
        raise Refused("this API key is unknown or has expired")
    return key
