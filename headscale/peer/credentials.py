"""The peer's pre-auth keys and API keys as ours. Their secrets go on working: a bcrypt hash is kept until the first use
(`state.imported`), and of a key that was kept as a plain text only the SHA-256 comes in.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from headscale.errors import Malformed
from headscale.peer.cells import ZERO_BEFORE, Unreadable, flag_of, id_of, list_of, text_of, time_of
from headscale.peer.people import People
from headscale.peer.report import Ledger
from headscale.peer.rows import API_KEYS, KEY_TAGS, PRE_AUTH_KEYS, Cell, PeerDatabase, Row
from headscale.peer.times import created, is_set, last_seen
from headscale.records import ApiKey, PreAuthKey
from headscale.state.apikeys import OLD_PREFIX_LENGTH
from headscale.state.credentials import hash_secret, parts_of
from headscale.state.imported import is_bcrypt
from headscale.state.tags import plain_tags

_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{12}")
_API_PREFIX: Final = re.compile(rf"[A-Za-z0-9_-]{{12}}|[A-Za-z0-9_-]{{{OLD_PREFIX_LENGTH}}}")


def take_pre_auth_keys(
    database: PeerDatabase, people: People, ledger: Ledger, now: datetime
) -> tuple[tuple[Row, PreAuthKey], ...]:
    """Every key whose secret can be recognised and that lets nodes in under somebody, spent and ended ones too."""
    tags = _separate_tags(database)
    taken: dict[int, tuple[Row, PreAuthKey]] = {}
    prefixes: set[str] = set()
    for row in database.rows(PRE_AUTH_KEYS):
        key = _key_of(row, people, tags, ledger, now)
        if key is None:
            continue
        if key.id in taken or key.prefix in prefixes:
            ledger.left_out(row, "another pre-auth key has the same id or prefix")
            continue
        prefixes.add(key.prefix)
        taken[key.id] = (row, key)
    return tuple(taken.values())


def take_api_keys(database: PeerDatabase, ledger: Ledger, now: datetime) -> tuple[tuple[Row, ApiKey], ...]:
    """Every key whose secret can be recognised, ended ones too."""
    taken: dict[int, tuple[Row, ApiKey]] = {}
    prefixes: set[str] = set()
    for row in database.rows(API_KEYS):
        prefix, secret_hash = text_of(row.get("prefix")), _hash(row.get("hash"))
        if row.id is None or not _API_PREFIX.fullmatch(prefix) or not is_bcrypt(secret_hash):
            ledger.left_out(row, "its prefix or hash is none of an API key's")
        elif row.id in taken or prefix in prefixes:
            ledger.left_out(row, "another API key has the same id or prefix")
        else:
            prefixes.add(prefix)
            at = created(row, now)
            key = ApiKey(
                id=row.id,
                prefix=prefix,
                secret_hash=secret_hash,
                expiration=_expiration(row, at, ledger),
                created_at=at,
                last_seen=last_seen(row),
            )
            taken[row.id] = (row, key)
    return tuple(taken.values())


def _key_of(
    row: Row, people: People, separate: Mapping[int, list[str]], ledger: Ledger, now: datetime
) -> PreAuthKey | None:
    if row.id is None:
        ledger.left_out(row, "its id is no number that an id can be")
        return None
    secret = _secret(row)
    if secret is None:
        ledger.left_out(row, "it has neither a prefix with a bcrypt hash nor 48 hex digits")
        return None
    try:
        tags = plain_tags((*list_of(row.get("tags")), *separate.get(row.id, ())))
    except (Unreadable, Malformed) as problem:
        ledger.left_out(row, f"its tags cannot be used: {problem}")
        return None
    user_id = owner_of(row, people, ledger)
    if user_id is None and not tags:
        ledger.left_out(row, "it belongs to no user and gives no tags")
        return None
    at = created(row, now)
    ends = _expiration(row, at, ledger)
    if is_set(row.get("revoked")):
        ends = min(ends or now, now)
        ledger.repaired(row, "it was revoked: it comes in as expired")
    return PreAuthKey(
        id=row.id,
        prefix=secret[0],
        secret_hash=secret[1],
        user_id=user_id,
        tags=tags,
        reusable=flag_of(row.get("reusable")),
        ephemeral=flag_of(row.get("ephemeral")),
        used=flag_of(row.get("used")),
        expiration=ends,
        created_at=at,
    )


def _secret(row: Row) -> tuple[str, bytes] | None:
    """The prefix and the hash, of either form."""
    prefix, secret_hash = text_of(row.get("prefix")), _hash(row.get("hash"))
    if _PREFIX.fullmatch(prefix) and is_bcrypt(secret_hash):
        return prefix, secret_hash
    found, secret = parts_of(text_of(row.get("key")))
    return (found, hash_secret(secret)) if secret else None


def owner_of(row: Row, people: People, ledger: Ledger) -> int | None:
    """The user whom the row names, if that one comes in."""
    try:
        named = id_of(row.get("user_id"))
    except Unreadable:
        named = -1
    if named is None:
        return None
    owner = people.same_as.get(named)
    if owner is None:
        ledger.repaired(row, "the user that it names does not exist: it has none")
    elif owner != named:
        ledger.repaired(row, f"user {named} is user {owner} here")
    return owner


def _hash(cell: Cell) -> bytes:
    return cell if isinstance(cell, bytes) else text_of(cell).encode(errors="replace")


def _expiration(row: Row, born: datetime, ledger: Ledger) -> datetime | None:
    """NULL never ends. The zero time has ended (a key made without a time), and so has what cannot be read."""
    try:
        ends = time_of(row.get("expiration"))
    except Unreadable:
        ledger.repaired(row, "when it ends cannot be read: it comes in as expired")
        return born
    if ends is not None and ends < ZERO_BEFORE:
        ledger.repaired(row, "it ended before it was made (the zero time): it comes in as expired")
        return born
    return ends


def _separate_tags(database: PeerDatabase) -> Mapping[int, list[str]]:
    """Before 0.24 a key's tags had a table of their own."""
    tags: dict[int, list[str]] = defaultdict(list)
    for row in database.rows(KEY_TAGS):
        try:
            key_id = id_of(row.get("pre_auth_key_id"))
        except Unreadable:
            continue
        if key_id is not None:
            tags[key_id].append(text_of(row.get("tag")))
    return tags


def settle_key_tags(database: PeerDatabase, keys: Mapping[int, Row], ledger: Ledger) -> None:
    """The old table of keys' tags: its rows share the fate of their keys, which are given by the peer's ids."""
    for row in database.rows(KEY_TAGS):
        try:
            parent = keys.get(id_of(row.get("pre_auth_key_id")) or 0)
        except Unreadable:
            parent = None
        if parent is None:
            ledger.left_out(row, "its pre-auth key does not exist or does not come in")
        else:
            ledger.follows(row, parent)
