"""Sessions of the console: bounded in number and time, and what a form's token is good for."""

import itertools
from datetime import timedelta

import pytest

from headscale.clock import ManualClock
from headscale.console.sessions import AT_MOST, IDLE, LIFETIME, OF_ONE_MAX, Sessions
from tests.builders import NOW

SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def sessions(clock: ManualClock) -> Sessions:
    numbers = itertools.count(1)
    return Sessions(clock, lambda size: next(numbers).to_bytes(size, "big"))


def test_a_session_is_found_by_its_secret_alone(sessions: Sessions) -> None:
    secret = sessions.open(7, "oidc")
    found = sessions.find(secret)
    assert found is not None
    assert (found.user_id, found.provider) == (7, "oidc")
    for wrong in ("", "x", secret[:-1], secret.upper() + "0", "\ud800"):
        assert sessions.find(wrong) is None
    sessions.end(secret)
    assert sessions.find(secret) is None


def test_one_that_is_not_used_ends(sessions: Sessions, clock: ManualClock) -> None:
    used, unused = sessions.open(1, "oidc"), sessions.open(2, "oidc")
    clock.advance(IDLE - SECOND)
    assert sessions.find(used) is not None
    clock.advance(SECOND)
    assert (sessions.find(used) is None, sessions.find(unused) is None) == (False, True)


def test_one_that_is_used_ends_too(sessions: Sessions, clock: ManualClock) -> None:
    secret = sessions.open(1, "oidc")
    step = IDLE / 2
    for _ in range(LIFETIME // step - 1):
        clock.advance(step)
        assert sessions.find(secret) is not None
    clock.advance(step)
    assert sessions.find(secret) is None
    assert len(sessions) == 0


def test_somebody_has_some_and_all_have_not_too_many(sessions: Sessions) -> None:
    """The longest unused makes way."""
    first = sessions.open(1, "oidc")
    second = sessions.open(1, "oidc")
    assert sessions.find(first) is not None
    more = [sessions.open(1, "oidc") for _ in range(OF_ONE_MAX - 1)]
    assert [sessions.find(each) is not None for each in (first, second, *more)] == [True, False] + [
        True
    ] * len(more)
    for user_id in range(2, AT_MOST + 2):
        last = sessions.open(user_id, "oidc")
    assert len(sessions) == AT_MOST
    assert sessions.find(last) is not None


def test_all_of_somebody_end_at_once(sessions: Sessions) -> None:
    mine, theirs = [sessions.open(1, "oidc") for _ in range(3)], sessions.open(2, "oidc")
    sessions.end_all_of(1)
    assert [sessions.find(each) for each in mine] == [None] * 3
    assert sessions.find(theirs) is not None


def test_a_token_is_of_its_session_form_and_state(sessions: Sessions) -> None:
    one, two = sessions.find(sessions.open(1, "oidc")), sessions.find(sessions.open(1, "oidc"))
    assert one is not None
    assert two is not None
    token = one.token("/admin/device/1/remove", "as it is")
    assert one.is_token(token, "/admin/device/1/remove", "as it is")
    assert not two.is_token(token, "/admin/device/1/remove", "as it is")
    assert not one.is_token(token, "/admin/device/2/remove", "as it is")
    assert not one.is_token(token, "/admin/device/1/remove", "as it was")
    for wrong in ("", token[:-1], "\ud800"):
        assert not one.is_token(wrong, "/admin/device/1/remove", "as it is")
