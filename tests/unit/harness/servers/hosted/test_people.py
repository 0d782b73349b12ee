"""Who a scenario's users are where API keys are people's."""

import pytest

from harness.errors import HarnessError
from harness.servers.hosted.people import credentials, key_of, translated


def test_one_key_is_the_first_users() -> None:
    """Whoever a scenario names first; a second user has none."""
    known = credentials("tskey-api-x-y")
    assert key_of("carol", known, taken=0) == "tskey-api-x-y"
    assert key_of("bob", known, taken=1) is None


def test_keys_with_names_are_those_users() -> None:
    """In any order of mention, and nobody else's."""
    known = credentials("alice=tskey-api-a, bob=tskey-api-b=")
    assert [key_of(name, known, taken=1) for name in ("bob", "alice", "carol")] == [
        "tskey-api-b=",
        "tskey-api-a",
        None,
    ]


@pytest.mark.parametrize("text", ["", " , ", "alice=a,b", "a,b"])
def test_what_is_no_credential_says_what_is_expected(text: str) -> None:
    with pytest.raises(HarnessError, match="HARNESS_API_KEY must be"):
        credentials(text)


def test_a_policy_names_the_real_people() -> None:
    """Whole names only: neither part of a longer one, nor of an address, nor a group's."""
    text = '["alice@", "malice@", "x-alice@", "alice@corp", "group:alice", "bob@"]'
    told = translated(text, {"alice": "ann@example.com", "bob": "bob"})
    assert told == '["ann@example.com", "malice@", "x-alice@", "alice@corp", "group:alice", "bob@"]'
