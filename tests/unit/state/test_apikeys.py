"""API keys: what the peer's texts and answers are, and what a guesser learns."""

from datetime import timedelta

import pytest

from headscale.errors import Malformed, NotFound, Refused
from headscale.records import ApiKey
from headscale.state import apikeys
from headscale.state.apikeys import (
    KIND,
    SEEN_EVERY,
    create_api_key,
    delete_api_key,
    expire_api_key,
    find_api_key,
    mark_api_key_seen,
    recognise_api_key,
)
from headscale.state.credentials import draw_secret, hash_secret
from headscale.state.snapshot import Snapshot
from tests.builders import HOUR, NOW, moment, tailnet

SECRET = draw_secret(bytes(range(38)), kind=KIND)


def with_api_key(end_in: timedelta = HOUR) -> tuple[Snapshot, ApiKey]:
    """A tailnet with the one key."""
    effect = create_api_key(tailnet(), moment(), secret=SECRET, expiration=NOW + end_in)
    return effect.snapshot, effect.result


def test_a_key_is_recognised_until_it_ends() -> None:
    snapshot, key = with_api_key()
    assert SECRET.reveal().startswith("hskey-api-000102030405-0607")
    assert recognise_api_key(snapshot, SECRET.reveal(), NOW + HOUR - timedelta(seconds=1)) == key
    with pytest.raises(Refused):
        recognise_api_key(snapshot, SECRET.reveal(), NOW + HOUR)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "hskey-api-" + "0" * 12 + "-" + "0" * 64,  # unknown
        SECRET.reveal()[:-1] + "0",  # wrong secret
        SECRET.reveal() + "\n",
        SECRET.reveal().replace("-api-", "-auth-"),
    ],
)
def test_whatever_is_wrong_the_answer_and_the_work_are_the_same(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """One hash and one comparison, for a prefix that there is as for one that there is not."""
    snapshot, _ = with_api_key()
    work: list[str] = []
    compare = apikeys.hmac.compare_digest

    def hashed(secret: str) -> bytes:
        work.append("hash")
        return hash_secret(secret)

    def compared(one: bytes, other: bytes) -> bool:
        work.append("compare")
        return compare(one, other)

    monkeypatch.setattr(apikeys, "hash_secret", hashed)
    monkeypatch.setattr(apikeys.hmac, "compare_digest", compared)
    with pytest.raises(Refused, match="unknown or has expired"):
        recognise_api_key(snapshot, text, NOW)
    assert work == ["hash", "compare"]


def test_an_ended_or_deleted_key_is_none() -> None:
    snapshot, key = with_api_key()
    ended = expire_api_key(snapshot, moment(), key_id=key.id).snapshot
    gone = delete_api_key(snapshot, moment(), prefix=key.prefix).snapshot
    for after in (ended, gone):
        with pytest.raises(Refused):
            recognise_api_key(after, SECRET.reveal(), NOW)
    assert (gone.last_api_key_id, len(gone.api_key_by_prefix)) == (1, 0)


@pytest.mark.parametrize("prefix", ["000102030405", "hskey-api-000102030405", "hskey-api-000102030405-***"])
def test_a_key_is_found_by_its_prefix_bare_or_masked(prefix: str) -> None:
    snapshot, key = with_api_key()
    assert find_api_key(snapshot, key_id=None, prefix=prefix) == key


def test_a_key_is_named_once() -> None:
    snapshot, key = with_api_key()
    for key_id, prefix in ((None, ""), (1, key.prefix)):
        with pytest.raises(Malformed):
            find_api_key(snapshot, key_id=key_id, prefix=prefix)
    for key_id, prefix in ((2, ""), (None, "0" * 12), (None, SECRET.reveal())):
        with pytest.raises(NotFound) as refusal:
            find_api_key(snapshot, key_id=key_id, prefix=prefix)
        assert SECRET.secret not in str(refusal.value)


def test_uses_are_noted_once_a_minute() -> None:
    """And nothing is written for those between; a key that is gone meanwhile is no error."""
    snapshot, key = with_api_key()
    first = mark_api_key_seen(snapshot, moment(), key_id=key.id)
    assert first.snapshot.api_keys[key.id].last_seen == NOW
    again = mark_api_key_seen(first.snapshot, moment(NOW + SEEN_EVERY - HOUR / 3600), key_id=key.id)
    assert (again.snapshot, again.writes) == (first.snapshot, ())
    later = mark_api_key_seen(first.snapshot, moment(NOW + SEEN_EVERY), key_id=key.id)
    assert later.snapshot.api_keys[key.id].last_seen == NOW + SEEN_EVERY
    assert mark_api_key_seen(snapshot, moment(), key_id=7).writes == ()
