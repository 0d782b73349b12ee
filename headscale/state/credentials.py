"""Pre-auth keys: make, list, expire, delete, check, claim.

The text is the peer's: `hskey-auth-<12 hex>-<64 hex>`; the first part finds the key, the second is the secret.
The secret is 256 random bits, so one SHA-256 is enough at rest (docs/decisions/0003): there is nothing to
guess, and a slow hash would cost a registration fifty times its work.

Keys of a Go headscale (`headscale import`) come with bcrypt hashes, which `imported` replaces at their first use. Its
oldest keys are 48 hex digits without parts. Here the first 11 find such a key, so that they never meet the 12 of a
newer one, and the whole text is the secret.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from headscale.errors import Malformed, NotFound, Refused
from headscale.records import Advance, Counter, Delete, Insert, Node, PreAuthKey, Update, Write
from headscale.state.effect import Effect, Moment
from headscale.state.snapshot import Snapshot, drop_key, put_key
from headscale.state.tags import plain_tags

_TEXT: Final = re.compile(r"hskey-auth-([A-Za-z0-9_-]{12})-([A-Za-z0-9_-]{64})")
_OLD_TEXT: Final = re.compile(r"[0-9a-f]{48}")
OLD_PREFIX_DIGITS: Final = 11
# What a tailnet-lock key adds; the client strips it before sending, people paste it all the same.
_LOCK_SUFFIX: Final = "--TL"
# Long enough to say what a key is for, and what the hosted service takes.
DESCRIPTION_MAX: Final = 50
# How long clients take to come again when an answer was lost: their back-off reaches 45 s, a restart takes longer.
SAME_USE: Final = timedelta(minutes=5)
PREFIX_BYTES: Final = 6
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class KeySecret:
    """A freshly drawn key: shown once, then only its hash is left."""

    kind: str
    prefix: str
    secret: str
    brand: str = "hskey"

    def reveal(self) -> str:
        """The text that the user passes to `tailscale up --auth-key`, or a program to the API."""
        return f"{self.brand}-{self.kind}-{self.prefix}-{self.secret}"


def draw_secret(random_bytes: bytes, *, kind: str = "auth") -> KeySecret:
    """A key of the first 6 (prefix) and next 32 (secret) random bytes."""
    return KeySecret(
        kind=kind,
        prefix=random_bytes[:PREFIX_BYTES].hex(),
        secret=random_bytes[PREFIX_BYTES : PREFIX_BYTES + SECRET_BYTES].hex(),
    )


def masked(key: PreAuthKey) -> str:
    """The key as it may be shown later."""
    return f"{key.prefix}***" if len(key.prefix) == OLD_PREFIX_DIGITS else f"hskey-auth-{key.prefix}-***"


def parts_of(text: str) -> tuple[str, str]:
    """The prefix and the secret of a pre-auth key's text; both empty when it is none."""
    plain = text.split(_LOCK_SUFFIX)[0]
    if found := _TEXT.fullmatch(plain):
        return found[1], found[2]
    return (plain[:OLD_PREFIX_DIGITS], plain) if _OLD_TEXT.fullmatch(plain) else ("", "")


def create_key(
    snapshot: Snapshot,
    moment: Moment,
    *,
    secret: KeySecret,
    user_id: int | None,
    tags: tuple[str, ...] = (),
    reusable: bool = False,
    ephemeral: bool = False,
    preauthorized: bool = False,
    expiration: datetime | None = None,
    description: str = "",
) -> Effect[PreAuthKey]:
    """A new key for a user's nodes, or for tagged ones. Raises Malformed or NotFound."""
    if user_id is None and not tags:
        raise Malformed("a pre-auth key needs a user or tags: say whose nodes may join with it")
    if user_id is not None and user_id not in snapshot.users:
        raise NotFound(f"no user has the id {user_id}")
    key = PreAuthKey(
        id=snapshot.last_key_id + 1,
        prefix=secret.prefix,
        secret_hash=hash_secret(secret.secret),
        user_id=user_id,
        tags=plain_tags(tags),
        reusable=reusable,
        ephemeral=ephemeral,
        preauthorized=preauthorized,
        expiration=expiration,
        description=check_description(description),
        created_at=moment.now,
    )
    return Effect(put_key(snapshot, key), key, (Insert(key), Advance(Counter.PRE_AUTH_KEY, key.id)))


def expire_key(snapshot: Snapshot, moment: Moment, *, key_id: int) -> Effect[PreAuthKey]:
    """The key stops working now; nodes that joined with it stay."""
    key = replace(find_key(snapshot, key_id), expiration=moment.now)
    return Effect(put_key(snapshot, key), key, (Update(key),))


def delete_key(snapshot: Snapshot, moment: Moment, *, key_id: int) -> Effect[None]:
    """The key is forgotten; its nodes stay, ephemeral ones too stay ephemeral."""
    return Effect(*_forgotten(snapshot, find_key(snapshot, key_id)))


def revoke_key(snapshot: Snapshot, moment: Moment, *, key_id: int) -> Effect[PreAuthKey]:
    """The key stops working now, and is shown for a while before it is forgotten; nodes that joined with it stay."""
    key = find_key(snapshot, key_id)
    if key.revoked is not None:
        return Effect(snapshot, key)
    ended = key.expiration is not None and key.expiration <= moment.now
    key = replace(key, revoked=moment.now, expiration=key.expiration if ended else moment.now)
    return Effect(put_key(snapshot, key), key, (Update(key),))


def forget_revoked_keys(snapshot: Snapshot, moment: Moment) -> Effect[int]:
    """Delete the keys that were revoked as long ago as the operator has them shown; how many they were."""
    if (shown := snapshot.settings.revoked_retention) is None:
        return Effect(snapshot, 0)
    due = [
        key
        for key in snapshot.pre_auth_keys.values()
        if key.revoked is not None and moment.now - key.revoked >= shown
    ]
    after, writes = snapshot, list[Write]()
    for key in due:
        after, _, more = _forgotten(after, key)
        writes += more
    return Effect(after, len(due), tuple(writes))


def _forgotten(snapshot: Snapshot, key: PreAuthKey) -> tuple[Snapshot, None, tuple[Write, ...]]:
    nodes = [replace(n, auth_key_id=None) for n in snapshot.nodes.values() if n.auth_key_id == key.id]
    after = drop_key(snapshot, key)
    for node in nodes:
        after = replace(after, nodes=after.nodes.set(node.id, node))
    writes: list[Write] = [Update(node) for node in nodes]
    return after, None, (*writes, Delete(key))


def find_key(snapshot: Snapshot, key_id: int) -> PreAuthKey:
    """The key with this id; raises NotFound."""
    key = snapshot.pre_auth_keys.get(key_id)
    if key is None:
        raise NotFound(f"no pre-auth key has the id {key_id}")
    return key


def recognise(snapshot: Snapshot, text: str) -> PreAuthKey:
    """The key that this text is, valid or not; raises Refused for anything else.

    The error is one and the same for a malformed text, an unknown prefix and a wrong secret, so that it
    tells a guesser nothing; the comparison runs in constant time even when the prefix is unknown.
    """
    prefix, secret = parts_of(text)
    key = snapshot.pre_auth_keys.get(snapshot.key_by_prefix.get(prefix, 0))
    stored = key.secret_hash if key else bytes(hashlib.sha256().digest_size)
    if not hmac.compare_digest(hash_secret(secret), stored) or key is None:
        raise Refused("invalid pre-auth key: it does not exist here or was deleted; ask for a new one")
    return key


def check_valid(key: PreAuthKey, now: datetime, *, is_same_use: bool = False) -> None:
    """Raises Refused, in words for the user, when the key may not let a new node in.

    `is_same_use`: it was spent a moment ago by the very machine that comes with it (`is_same_use`).
    """
    if key.revoked is not None:
        raise Refused("this pre-auth key was revoked; ask for a new one")
    if key.expiration is not None and key.expiration <= now:
        raise Refused("this pre-auth key has expired; ask for a new one")
    if key.used and not (key.reusable or is_same_use):
        raise Refused("this pre-auth key is for one use and was used already; ask for a new one")


def is_same_use(key: PreAuthKey, node: Node | None, now: datetime) -> bool:
    """Whether a machine that comes with a spent key is the one that spent it a moment ago, and did not hear so.

    `node` is the machine's own. A client whose connection broke, or whose server was killed, before it read the answer
    begins anew, with a new node key (seen with 1.80.3). Later the key is spent for this machine, too: it would let
    nodes outlive their expiry.
    """
    if not key.used or key.spent_at is None or node is None or node.auth_key_id != key.id:
        return False
    return not node.expired and now - key.spent_at <= SAME_USE


def claim(snapshot: Snapshot, key: PreAuthKey, now: datetime) -> tuple[Snapshot, tuple[Write, ...]]:
    """Mark a single-use key as spent, in the same transaction as the node that it lets in."""
    if key.reusable or key.used:
        return snapshot, ()
    spent = replace(key, used=True, spent_at=now)
    return put_key(snapshot, spent), (Update(spent),)


def hash_secret(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def check_description(text: str) -> str:
    """The text; raises Malformed for a long one."""
    if len(text) > DESCRIPTION_MAX:
        raise Malformed(f"a description has at most {DESCRIPTION_MAX} characters, this has {len(text)}")
    return text
