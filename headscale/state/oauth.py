"""OAuth clients and their access tokens: make, change, delete, recognise, narrow.

A client's secret reads `tskey-client-<id>-<64 hex>`, because stock clients trade only texts that begin so for a
pre-auth key by themselves; `hskey-client-…`, the peer's, is understood too. A token reads
`hskey-oauthtok-<12 hex>-<64 hex>`. Of each one SHA-256 is kept (docs/decisions/0003).

Who has a token may do what its client asked for then and may do still: taking a scope or a tag from a client takes it
from its tokens.
"""

import hmac
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from headscale.errors import Malformed, NotFound, Refused
from headscale.policy.compiled import Compiled
from headscale.records import AccessToken, Advance, Counter, Delete, Insert, OAuthClient, Update, Write
from headscale.state.credentials import KeySecret, check_description, draw_secret, hash_secret
from headscale.state.effect import Effect, Moment
from headscale.state.scopes import ALL, AUTH_KEYS, DEVICES, Grant, allows
from headscale.state.snapshot import Snapshot, drop_client, drop_token, put_client, put_token
from headscale.state.tags import plain_tags

CLIENT_KIND: Final = "client"
TOKEN_KIND: Final = "oauthtok"  # noqa: S105  (how tokens begin)
TOKEN_START: Final = f"hskey-{TOKEN_KIND}-"
TOKEN_LIFETIME: Final = timedelta(hours=1)
# More than any client of one tailnet needs at a time; the oldest make way.
TOKENS_MAX: Final = 1000
SCOPES_MAX: Final = 64
SCOPE_MAX: Final = 64
_CLIENT: Final = re.compile(r"(?:ts|hs)key-client-([A-Za-z0-9_-]{12})-([A-Za-z0-9_-]{64})")
_TOKEN: Final = re.compile(r"hskey-oauthtok-([A-Za-z0-9_-]{12})-([A-Za-z0-9_-]{64})")
# What an OAuth scope may be spelled with (RFC 6749, 3.3).
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_NOBODYS_HASH: Final = bytes(32)
# Of these a client makes or owns devices, which are its tags'.
_NEED_TAGS: Final = frozenset({DEVICES, AUTH_KEYS})


class BadScope(Malformed):
    """A scope that the client may not have."""


class BadTags(Malformed):
    """Tags that the client may not have."""


def draw_client_secret(random_bytes: bytes) -> KeySecret:
    """A client's secret. Its id has a letter first, because a YAML file with twelve digits has a number."""
    drawn = draw_secret(random_bytes, kind=CLIENT_KIND)
    return replace(drawn, brand="tskey", prefix=f"k{drawn.prefix[1:]}")


def create_client(
    snapshot: Snapshot,
    moment: Moment,
    *,
    secret: KeySecret,
    scopes: Iterable[str],
    tags: Iterable[str] = (),
    description: str = "",
) -> Effect[OAuthClient]:
    """A new client. Raises Malformed when it would have no scopes, or none of the tags that they need."""
    client = OAuthClient(
        id=snapshot.last_client_id + 1,
        prefix=secret.prefix,
        secret_hash=hash_secret(secret.secret),
        scopes=(),
        created_at=moment.now,
    )
    client = _described(client, scopes, tags, description)
    return Effect(
        put_client(snapshot, client), client, (Insert(client), Advance(Counter.OAUTH_CLIENT, client.id))
    )


def change_client(
    snapshot: Snapshot,
    moment: Moment,
    *,
    client_id: str,
    scopes: Iterable[str],
    tags: Iterable[str] = (),
    description: str = "",
) -> Effect[OAuthClient]:
    """All that a client is but its secret; raises Malformed or NotFound."""
    old = find_client(snapshot, client_id)
    client = _described(old, scopes, tags, description)
    if client == old:
        return Effect(snapshot, old)
    client = replace(client, updated_at=moment.now)
    return Effect(put_client(snapshot, client), client, (Update(client),))


def delete_client(snapshot: Snapshot, moment: Moment, *, client_id: str) -> Effect[None]:
    """The client and its tokens are forgotten; keys that it made stay. Raises NotFound."""
    client = find_client(snapshot, client_id)
    after, writes = _without(snapshot, _tokens_of(snapshot, client))
    return Effect(drop_client(after, client), None, (*writes, Delete(client)))


def find_client(snapshot: Snapshot, client_id: str) -> OAuthClient:
    """The client with this id, which is the middle of its secret; raises NotFound."""
    client = snapshot.oauth_clients.get(snapshot.client_by_prefix.get(client_id, 0))
    if client is None:
        raise NotFound(f"no OAuth client has the id {client_id[:40]!r}")
    return client


def recognise_client(snapshot: Snapshot, text: str) -> OAuthClient:
    """The client whose secret this is, with or without what a device's user wrote behind it (`?ephemeral=false`).

    Raises Refused for anything else, with one and the same error, after one and the same work.
    """
    found = _CLIENT.fullmatch(text.partition("?")[0])
    prefix, secret = found.groups() if found else ("", "")
    client = snapshot.oauth_clients.get(snapshot.client_by_prefix.get(prefix, 0))
    is_right = hmac.compare_digest(hash_secret(secret), client.secret_hash if client else _NOBODYS_HASH)
    if not is_right or client is None:
        raise Refused("this OAuth client secret is unknown")
    return client


def issue_token(
    snapshot: Snapshot,
    moment: Moment,
    *,
    secret: KeySecret,
    client_id: str,
    scopes: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> Effect[AccessToken]:
    """A token for an hour, for these scopes and tags or for all that the client has.

    Raises BadScope or BadTags for more than that.
    """
    client = find_client(snapshot, client_id)
    token = AccessToken(
        id=snapshot.last_token_id + 1,
        prefix=secret.prefix,
        secret_hash=hash_secret(secret.secret),
        client_id=client.id,
        scopes=_narrowed_scopes(client, scopes),
        tags=_narrowed_tags(snapshot.policy, client, tags),
        any_tag=not tags and grant_of(client).any_tag,
        expiration=moment.now + TOKEN_LIFETIME,
        created_at=moment.now,
    )
    oldest = _tokens_of(snapshot, client)[: -TOKENS_MAX + 1]
    after, writes = _without(snapshot, oldest)
    return Effect(
        put_token(after, token), token, (*writes, Insert(token), Advance(Counter.ACCESS_TOKEN, token.id))
    )


def recognise_token(snapshot: Snapshot, text: str, now: datetime) -> tuple[OAuthClient, Grant]:
    """Whose token this is, and what it may do; raises Refused for anything else, and for one that has expired."""
    found = _TOKEN.fullmatch(text)
    prefix, secret = found.groups() if found else ("", "")
    token = snapshot.access_tokens.get(snapshot.token_by_prefix.get(prefix, 0))
    is_right = hmac.compare_digest(hash_secret(secret), token.secret_hash if token else _NOBODYS_HASH)
    if not is_right or token is None or token.expiration <= now:
        raise Refused("this access token is unknown or has expired")
    client = snapshot.oauth_clients[token.client_id]
    return client, _grant(snapshot.policy, client, token)


def drop_expired_tokens(snapshot: Snapshot, moment: Moment) -> Effect[int]:
    """Forget the tokens that have expired; how many they were."""
    expired = [token for token in snapshot.access_tokens.values() if token.expiration <= moment.now]
    after, writes = _without(snapshot, expired)
    return Effect(after, len(expired), writes)


def may_give(policy: Compiled, grant: Grant, tag: str) -> bool:
    """Whether the holder of the grant may give a device or a key this tag: one that it has, or that a tag owns which
    it has."""
    return grant.any_tag or tag in grant.tags or policy.owns_tag(tag, tags=grant.tags)


def grant_of(client: OAuthClient) -> Grant:
    """All that the client may do; with `all` it may give any tag."""
    return Grant(frozenset(client.scopes), frozenset(client.tags), any_tag=ALL in client.scopes)


def _grant(policy: Compiled, client: OAuthClient, token: AccessToken) -> Grant:
    whole = grant_of(client)
    return Grant(
        frozenset(scope for scope in token.scopes if whole.allows(scope)),
        frozenset(tag for tag in token.tags if may_give(policy, whole, tag)),
        any_tag=token.any_tag and whole.any_tag,
    )


def _narrowed_scopes(client: OAuthClient, asked: tuple[str, ...]) -> tuple[str, ...]:
    beyond = [scope for scope in asked if not allows(client.scopes, scope)]
    if beyond:
        raise BadScope(f"{', '.join(scope[:80] for scope in beyond)}: the client has no such scope")
    return tuple(sorted(set(asked))) or client.scopes


def _narrowed_tags(policy: Compiled, client: OAuthClient, asked: tuple[str, ...]) -> tuple[str, ...]:
    try:
        wanted = plain_tags(asked)
    except Malformed as problem:
        raise BadTags(str(problem)) from None
    whole = grant_of(client)
    beyond = [tag for tag in wanted if not may_give(policy, whole, tag)]
    if beyond:
        raise BadTags(f"{', '.join(beyond)}: the client has no such tag, nor one that owns it")
    return wanted or client.tags


def _described(
    client: OAuthClient, scopes: Iterable[str], tags: Iterable[str], description: str
) -> OAuthClient:
    wanted = tuple(sorted(set(scopes)))
    if not wanted:
        raise Malformed("an OAuth client needs scopes: say what it may do")
    wrong = [scope for scope in wanted if len(scope) > SCOPE_MAX or not _SCOPE.fullmatch(scope)]
    if wrong or len(wanted) > SCOPES_MAX:
        raise Malformed(f"{wrong[0][:80]!r} is not a scope" if wrong else f"at most {SCOPES_MAX} scopes")
    given = plain_tags(tags)
    if not given and not _NEED_TAGS.isdisjoint(wanted):
        raise Malformed(
            f"an OAuth client with {' or '.join(sorted(_NEED_TAGS))} needs tags: its devices and keys are theirs"
        )
    return replace(client, scopes=wanted, tags=given, description=check_description(description))


def _tokens_of(snapshot: Snapshot, client: OAuthClient) -> list[AccessToken]:
    """Oldest first."""
    tokens = (token for token in snapshot.access_tokens.values() if token.client_id == client.id)
    return sorted(tokens, key=lambda token: token.id)


def _without(snapshot: Snapshot, tokens: Iterable[AccessToken]) -> tuple[Snapshot, tuple[Write, ...]]:
    gone = tuple(tokens)
    for token in gone:
        snapshot = drop_token(snapshot, token)
    return snapshot, tuple(Delete(token) for token in gone)
