"""What waits at the provider or for a yes: for one browser, once, for a time, and not too many."""

import secrets
from datetime import timedelta

from headscale.clock import ManualClock
from headscale.login.oidc.attempts import AT_MOST, LIFETIME, Attempts, nonce_of
from tests.builders import NOW

SECOND = timedelta(seconds=1)


def made(clock: ManualClock | None = None) -> Attempts[str]:
    return Attempts(clock or ManualClock(NOW), secrets.token_bytes)


def test_it_is_taken_once_by_its_own_browser() -> None:
    attempts = made()
    mine, other = attempts.secret(), attempts.secret()
    key = attempts.hold("x", browser=mine)
    assert attempts.take(key, browser=other) is None
    assert attempts.take(key, browser="") is None
    assert attempts.take("0" * 64, browser=mine) is None
    assert attempts.take(key, browser=mine) == "x"
    assert attempts.take(key, browser=mine) is None


def test_it_lapses() -> None:
    clock = ManualClock(NOW)
    attempts = made(clock)
    keys = []
    for _ in range(2):
        keys.append(attempts.hold("x", browser="b"))
        clock.advance(LIFETIME - SECOND)
    assert attempts.take(keys[0], browser="b") is None
    assert attempts.take(keys[1], browser="b") == "x"
    assert timedelta(minutes=15) >= LIFETIME


def test_the_oldest_goes_when_there_are_too_many() -> None:
    attempts = made()
    keys = [attempts.hold(str(n), browser="b") for n in range(AT_MOST + 1)]
    assert len(attempts) == AT_MOST
    assert attempts.take(keys[0], browser="b") is None
    assert attempts.take(keys[1], browser="b") == "1"


def test_a_nonce_is_of_one_browser_and_one_login() -> None:
    assert len({nonce_of(browser, state) for browser in ("a", "b") for state in ("1", "2")}) == 4
    assert nonce_of("a", "1") == nonce_of("a", "1")


def test_what_a_browser_sends_may_be_anything() -> None:
    attempts = made()
    key = attempts.hold("x", browser="b")
    for nonsense in ("\udcff", "\x00", "b" * 10_000):
        assert attempts.take(key, browser=nonsense) is None
    assert attempts.take(key, browser="b") == "x"
