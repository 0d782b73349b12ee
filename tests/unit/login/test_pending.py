"""Logins that wait: whose they are, how they end, and how many there can be."""

from datetime import timedelta
from itertools import count

import pytest

from headscale.clock import ManualClock
from headscale.errors import Malformed, NotFound
from headscale.login.pending import (
    LOGINS_OF_ONE_MAX,
    PREFIX,
    Approved,
    Lapsed,
    PendingLogin,
    PendingLogins,
    Rejected,
)
from tests.builders import NOW, nkey, request

LIFETIME = timedelta(minutes=15)


class Place:
    """Logins with a clock that stands still, and ids of 1, 2, 3, …"""

    def __init__(self, *, at_most: int = 1024) -> None:
        self.clock = ManualClock(NOW)
        numbers = count(1)
        self.logins = PendingLogins(
            self.clock, lambda size: next(numbers).to_bytes(size, "big"), lifetime=LIFETIME, at_most=at_most
        )

    def open(self, number: int, source: str = "192.0.2.1") -> PendingLogin:
        return self.logins.open(request(number), source)


@pytest.fixture
async def place() -> Place:
    return Place()


def url_of(login: PendingLogin) -> str:
    return f"http://127.0.0.1:8080/register/{login.id}"


async def test_an_id_has_the_peers_form(place: Place) -> None:
    login = place.open(1)
    assert login.id == PREFIX + "0" * 23 + "1"
    assert place.logins.find(login.id) is login


async def test_only_the_client_that_opened_it_may_wait_for_it(place: Place) -> None:
    """A URL is no secret: it is shown to people, and passed on."""
    login = place.open(1)
    assert place.logins.followed_up(url_of(login), request(1)) is login
    assert place.logins.followed_up(url_of(login), request(2)) is None
    assert place.logins.followed_up(url_of(login), request(2, node=nkey(1))) is None
    assert place.logins.followed_up(url_of(login), request(1, node=nkey(2))) is None
    assert place.logins.followed_up("", request(1)) is None


@pytest.mark.parametrize(
    "wanted", ["", "x", PREFIX, PREFIX + "0" * 23, PREFIX + "0" * 25, "../" + PREFIX, "<b>"]
)
async def test_what_is_no_id_is_refused(place: Place, wanted: str) -> None:
    with pytest.raises(Malformed, match="is not a login's id"):
        place.logins.find(wanted)


async def test_an_id_that_does_not_wait_says_what_to_do(place: Place) -> None:
    with pytest.raises(NotFound, match="Let the client ask again"):
        place.logins.find(PREFIX + "f" * 24)


async def test_a_verdict_is_given_once(place: Place) -> None:
    login = place.open(1)
    place.logins.approve(login)
    place.logins.reject(login, "too late")
    assert login.verdict.result() == Approved()
    with pytest.raises(NotFound):
        place.logins.find(login.id)


async def test_a_rejection_carries_its_reason(place: Place) -> None:
    login = place.open(1)
    place.logins.reject(login, "no")
    assert login.verdict.result() == Rejected("no")


async def test_a_login_lapses_at_its_time_and_not_before(place: Place) -> None:
    login = place.open(1)
    place.clock.advance(LIFETIME - timedelta(seconds=1))
    assert place.logins.find(login.id) is login
    place.clock.advance(timedelta(seconds=1))
    with pytest.raises(NotFound):
        place.logins.find(login.id)
    assert login.verdict.result() == Lapsed()
    assert len(place.logins) == 0


async def test_a_client_that_asks_anew_has_one_login(place: Place) -> None:
    first, second = place.open(1), place.open(1)
    assert first.verdict.result() == Lapsed()
    assert (len(place.logins), place.logins.find(second.id)) == (1, second)


async def test_one_address_pushes_out_only_its_own() -> None:
    place = Place()
    honest = place.open(1, "192.0.2.1")
    flood = [place.open(number, "192.0.2.66") for number in range(2, LOGINS_OF_ONE_MAX + 12)]
    assert place.logins.find(honest.id) is honest
    assert len(place.logins) == LOGINS_OF_ONE_MAX + 1
    assert [login.verdict.done() for login in flood] == [True] * 10 + [False] * LOGINS_OF_ONE_MAX


async def test_all_together_are_bounded() -> None:
    place = Place(at_most=3)
    logins = [place.open(number, f"192.0.2.{number}") for number in range(1, 6)]
    assert [login.verdict.done() for login in logins] == [True, True, False, False, False]
