"""SSH sessions that wait until somebody says that it is really them, and those that somebody said it of lately.

In memory only: after a restart a session is asked about anew. A check belongs to one source, one destination and one
local user; nothing else can answer for it or use it.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from headscale.clock import Clock
from headscale.errors import NotFound
from headscale.login.pending import Approved, Rejected, WaitingRoom, Waits, check_id

# Of one destination: whoever may come can open as many sessions as they like.
CHECKS_OF_ONE_MAX: Final = 64
PASSED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """What a check is about: nodes by number, the source's owner at that time, and the local user."""

    source_id: int
    owner_id: int | None
    target_id: int
    local_user: str


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Check(Waits):
    """One that waits."""

    session: Session


class PendingChecks(WaitingRoom[Check]):
    """All checks that wait, oldest first, and when which were passed."""

    def __init__(
        self, clock: Clock, random_bytes: Callable[[int], bytes], *, lifetime: timedelta, at_most: int
    ) -> None:
        super().__init__(clock, random_bytes, lifetime=lifetime, at_most=at_most)
        self._passed: OrderedDict[Session, float] = OrderedDict()

    def open(self, session: Session) -> Check:
        """A check of this session."""
        self.sweep()
        same = [check for check in self._waiting.values() if check.session.target_id == session.target_id]
        too_many = max(0, len(same) + 1 - CHECKS_OF_ONE_MAX)
        new = Check(id=self._draw_id(), session=session, lapses_at=self._lapses_at())
        return self._add(new, instead_of=same[:too_many])

    def find(self, check_id_: str) -> Check:
        """The check with this id; raises Malformed for what is no id, NotFound when it does not wait (any more)."""
        check_id(check_id_)
        check = self._get(check_id_)
        if check is None:
            raise NotFound(
                "no SSH session waits under this id: it took too long, or was decided already. Connect again and use "
                "the new one"
            )
        return check

    def of(self, check_id_: str, session: Session) -> Check | None:
        """The check with this id, if it is about exactly this session, and waits or was just decided."""
        check = self._get_to_tell(check_id_)
        return check if check is not None and check.session == session else None

    def approve(self, check: Check) -> None:
        """It is really them: the session goes on, and so do others like it for a while."""
        self._passed[check.session] = self._clock.monotonic()
        self._passed.move_to_end(check.session)
        while len(self._passed) > PASSED_MAX:
            self._passed.popitem(last=False)
        self._end(check, Approved())

    def reject(self, check: Check, reason: str) -> None:
        """The session ends; its user reads why."""
        self._passed.pop(check.session, None)
        self._end(check, Rejected(reason))

    def has_passed(self, session: Session, period: timedelta) -> bool:
        """Whether somebody said within this period that it is really them."""
        passed = self._passed.get(session)
        return passed is not None and self._clock.monotonic() - passed < period.total_seconds()
