"""OAuth clients and access tokens: what they are made of, what they may do, and when they end."""

from dataclasses import replace
from datetime import timedelta

import pytest

from headscale.errors import Malformed, NotFound, Refused
from headscale.records import AccessToken, Delete, OAuthClient
from headscale.state.credentials import (
    PREFIX_BYTES,
    SECRET_BYTES,
    KeySecret,
    check_valid,
    draw_secret,
    forget_revoked_keys,
    revoke_key,
)
from headscale.state.effect import Effect
from headscale.state.oauth import (
    SCOPE_MAX,
    SCOPES_MAX,
    TOKEN_KIND,
    TOKEN_LIFETIME,
    TOKENS_MAX,
    BadScope,
    BadTags,
    change_client,
    create_client,
    delete_client,
    draw_client_secret,
    drop_expired_tokens,
    issue_token,
    may_give,
    recognise_client,
    recognise_token,
)
from headscale.state.scopes import Grant
from headscale.state.snapshot import Snapshot
from tests.builders import NOW, moment, tailnet, with_key, with_policy_text

TAGS = '{"tagOwners": {"tag:ci": [], "tag:web": ["tag:ci"], "tag:db": ["tag:web"], "tag:other": []}}'


def random_bytes(number: int) -> bytes:
    return number.to_bytes(PREFIX_BYTES, "big") + number.to_bytes(SECRET_BYTES, "big")


def token_secret(number: int) -> KeySecret:
    return draw_secret(random_bytes(number), kind=TOKEN_KIND)


def with_client(
    *scopes: str, tags: tuple[str, ...] = (), snapshot: Snapshot | None = None
) -> tuple[Snapshot, OAuthClient, str]:
    """A tailnet with one client: also its secret's text."""
    here = snapshot or with_policy_text(tailnet("alice"), TAGS)
    secret = draw_client_secret(random_bytes(1))
    effect = create_client(here, moment(), secret=secret, scopes=scopes, tags=tags)
    return effect.snapshot, effect.result, secret.reveal()


def issued(
    snapshot: Snapshot, client: OAuthClient, number: int = 7, **asked: tuple[str, ...]
) -> Effect[AccessToken]:
    return issue_token(snapshot, moment(), secret=token_secret(number), client_id=client.prefix, **asked)


def grant(snapshot: Snapshot, number: int = 7) -> Grant:
    """What the token of this number may do now."""
    return recognise_token(snapshot, token_secret(number).reveal(), NOW)[1]


def test_a_secret_is_one_that_stock_clients_trade_themselves() -> None:
    """And its id is no number to anybody, whatever was drawn."""
    for number in (0, 1, 0x123456789012):
        text = draw_client_secret(random_bytes(number)).reveal()
        assert text.startswith("tskey-client-k")
        _, _, client_id, secret = text.split("-")
        assert (len(client_id), len(secret)) == (12, 64)


def test_a_client_is_recognised_by_its_secret_alone() -> None:
    snapshot, client, text = with_client("all")
    peers = text.replace("tskey", "hskey")
    for good in (text, peers, f"{text}?ephemeral=false&preauthorized=true"):
        assert recognise_client(snapshot, good) == client
    for bad in (
        text[:-1],
        text + "0",
        text[:-1] + ("0" if text[-1] != "0" else "1"),
        "",
        client.prefix,
        f"?{text}",
    ):
        with pytest.raises(Refused):
            recognise_client(snapshot, bad)


@pytest.mark.parametrize(
    ("scopes", "tags", "words"),
    [
        ((), (), "needs scopes"),
        (("devices:core",), (), "needs tags"),
        (("auth_keys", "all"), (), "needs tags"),
        (("a b",), (), "not a scope"),
        (("",), (), "not a scope"),
        (("x" * (SCOPE_MAX + 1),), (), "not a scope"),
        (tuple(f"s{n}" for n in range(SCOPES_MAX + 1)), (), "at most"),
        (("users",), ("ci",), "not a tag"),
    ],
)
def test_what_a_client_cannot_be(scopes: tuple[str, ...], tags: tuple[str, ...], words: str) -> None:
    with pytest.raises(Malformed, match=words):
        with_client(*scopes, tags=tags)


def test_a_token_has_all_that_its_client_has_unless_it_asks_for_less() -> None:
    snapshot, client, _ = with_client("auth_keys", "users", tags=("tag:ci",))
    assert grant(issued(snapshot, client).snapshot) == Grant(
        frozenset({"auth_keys", "users"}), frozenset({"tag:ci"})
    )
    less = issued(snapshot, client, scopes=("users:read",), tags=("tag:db",)).snapshot
    assert grant(less) == Grant(frozenset({"users:read"}), frozenset({"tag:db"}))
    for scope in ("all", "all:read", "dns", "devices:core"):
        with pytest.raises(BadScope, match=scope):
            issued(snapshot, client, scopes=("users", scope))
    for tag in ("tag:other", "tag:undefined", "web"):
        with pytest.raises(BadTags, match=tag):
            issued(snapshot, client, tags=("tag:ci", tag))


def test_a_client_with_all_has_every_tag_and_a_token_of_some_only_those() -> None:
    snapshot, client, _ = with_client("all")
    whole, some, few = (
        grant(issued(snapshot, client, **asked).snapshot)
        for asked in ({}, {"tags": ("tag:any",)}, {"scopes": ("auth_keys",)})
    )
    policy = snapshot.policy
    assert [may_give(policy, each, "tag:other") for each in (whole, some, few)] == [True, False, True]
    assert some.tags == {"tag:any"}
    assert few.scopes == {"auth_keys"}


def test_a_tag_gives_the_tags_that_it_owns() -> None:
    policy = with_policy_text(tailnet(), TAGS).policy
    ci = Grant(frozenset({"auth_keys"}), frozenset({"tag:ci"}))
    assert [tag for tag in ("tag:ci", "tag:web", "tag:db", "tag:other") if may_give(policy, ci, tag)] == [
        "tag:ci",
        "tag:web",
        "tag:db",
    ]


def test_a_token_ends_after_an_hour_and_is_forgotten() -> None:
    snapshot, client, _ = with_client("users")
    snapshot = issued(snapshot, client).snapshot
    text, end = token_secret(7).reveal(), NOW + TOKEN_LIFETIME
    assert timedelta(hours=1) == TOKEN_LIFETIME
    assert recognise_token(snapshot, text, end - timedelta(seconds=1))[0] == client
    with pytest.raises(Refused):
        recognise_token(snapshot, text, end)
    assert drop_expired_tokens(snapshot, moment(end - timedelta(seconds=1))).result == 0
    swept = drop_expired_tokens(snapshot, moment(end))
    assert (swept.result, len(swept.writes), len(swept.snapshot.access_tokens)) == (1, 1, 0)
    assert not swept.snapshot.token_by_prefix


def test_a_wrong_text_is_no_token() -> None:
    snapshot, client, secret = with_client("users")
    snapshot = issued(snapshot, client).snapshot
    text = token_secret(7).reveal()
    for bad in (
        text[:-1] + "x",
        text[:-1],
        text.replace("oauthtok", "api"),
        secret,
        "",
        text[:-64] + "0" * 64,
    ):
        with pytest.raises(Refused):
            recognise_token(snapshot, bad, NOW)


def test_tokens_go_with_their_client() -> None:
    snapshot, client, text = with_client("users")
    snapshot = issued(snapshot, client).snapshot
    effect = delete_client(snapshot, moment(), client_id=client.prefix)
    assert [type(write.record) for write in effect.writes if isinstance(write, Delete)] == [
        AccessToken,
        OAuthClient,
    ]
    with pytest.raises(Refused):
        recognise_token(effect.snapshot, token_secret(7).reveal(), NOW)
    with pytest.raises(Refused):
        recognise_client(effect.snapshot, text)
    with pytest.raises(NotFound):
        delete_client(effect.snapshot, moment(), client_id=client.prefix)


def test_what_a_client_loses_its_tokens_lose() -> None:
    """At once; and what it gains they do not get."""
    snapshot, client, _ = with_client("users", "auth_keys", tags=("tag:ci", "tag:other"))
    snapshot = issued(snapshot, client).snapshot
    changed = change_client(
        snapshot, moment(), client_id=client.prefix, scopes=("users:read", "users", "dns"), tags=("tag:web",)
    )
    assert grant(changed.snapshot) == Grant(frozenset({"users"}), frozenset())
    assert changed.result.secret_hash == client.secret_hash
    assert changed.result.updated_at == NOW


def test_a_client_with_all_that_loses_it_loses_every_tag() -> None:
    snapshot, client, _ = with_client("all")
    snapshot = issued(snapshot, client).snapshot
    changed = change_client(snapshot, moment(), client_id=client.prefix, scopes=("users",))
    assert grant(changed.snapshot) == Grant(frozenset())


def test_a_client_has_so_many_tokens_and_no_more() -> None:
    """The oldest makes way."""
    snapshot, client, _ = with_client("users")
    for number in range(TOKENS_MAX + 1):
        snapshot = issued(snapshot, client, number).snapshot
    assert len(snapshot.access_tokens) == TOKENS_MAX
    with pytest.raises(Refused):
        grant(snapshot, 0)
    assert grant(snapshot, 1) == grant(snapshot, TOKENS_MAX)


def test_a_revoked_key_lets_nobody_in_and_is_shown_for_a_week() -> None:
    """For older front ends, which know of no revoking, it has expired."""
    snapshot, key, _ = with_key(tailnet("alice"), reusable=True, expiration=NOW + timedelta(days=1))
    revoked = revoke_key(snapshot, moment(), key_id=key.id)
    assert (revoked.result.revoked, revoked.result.expiration) == (NOW, NOW)
    with pytest.raises(Refused, match="revoked"):
        check_valid(revoked.result, NOW - timedelta(days=1))
    assert revoke_key(revoked.snapshot, moment(NOW + timedelta(days=1)), key_id=key.id).writes == ()
    soon, due = (
        forget_revoked_keys(revoked.snapshot, moment(NOW + timedelta(days=7) - rest))
        for rest in (timedelta(seconds=1), timedelta())
    )
    assert (soon.result, due.result) == (0, 1)
    assert soon.snapshot.pre_auth_keys
    assert not due.snapshot.pre_auth_keys
    assert forget_revoked_keys(snapshot, moment(NOW + timedelta(days=999))).result == 0


@pytest.mark.parametrize(("kept", "forgotten_after_a_day"), [(timedelta(days=1), 1), (None, 0)])
def test_a_revoked_key_is_shown_as_long_as_the_operator_says(
    kept: timedelta | None, forgotten_after_a_day: int
) -> None:
    snapshot, key, _ = with_key(tailnet("alice"), reusable=True)
    revoked = revoke_key(snapshot, moment(), key_id=key.id).snapshot
    settings = replace(revoked.settings, revoked_retention=kept)
    revoked = replace(revoked, settings=settings)
    later = forget_revoked_keys(revoked, moment(NOW + timedelta(days=1)))
    assert later.result == forgotten_after_a_day
