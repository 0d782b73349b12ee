"""Logins that wait: a client was given a URL and holds a request until somebody vouches for it or turns it away.

They live in memory only. After a restart a client is given a new URL, which it shows by itself. A login belongs to
the machine key and node key that opened it; a follow-up from any other is not told that it exists. Both the number
and the time are bounded, and what one address opens pushes out only what that address opened before.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Generic, TypeVar

from headscale.clock import Clock
from headscale.errors import Conflict, Malformed, NotFound
from headscale.state.admission import Request

# The peer's form, which its command line and pages check: 12 random bytes.
PREFIX: Final = "hskey-authreq-"
ID_BYTES: Final = 12
_ID: Final = re.compile(PREFIX + r"[0-9a-f]{24}")
REGISTER_PATH: Final = "/register/"
AUTH_PATH: Final = "/auth/"

# Of one address (many machines may stand behind one).
LOGINS_OF_ONE_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Approved:
    """Somebody vouched, and the node is in."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Somebody said no; `reason` is for the client's user."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lapsed:
    """Nobody came in time, or too many others did: the client is to be given a new URL."""


Verdict = Approved | Rejected | Lapsed


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class Waits:
    """Something that somebody is to decide in time."""

    id: str
    lapses_at: float
    verdict: asyncio.Future[Verdict] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def end(self, verdict: Verdict) -> None:
        """Tell who waits; the first verdict counts."""
        if not self.verdict.done():
            self.verdict.set_result(verdict)

    async def decided(self, clock: Clock) -> Verdict:
        """What somebody decides, or that nobody did in time."""
        try:
            async with asyncio.timeout(max(0.0, self.lapses_at - clock.monotonic())):
                return await asyncio.shield(self.verdict)  # others may wait for it too
        except TimeoutError:
            return Lapsed()


W = TypeVar("W", bound=Waits)


class WaitingRoom(Generic[W]):
    """All of one kind that wait, oldest first; bounded in time and number."""

    def __init__(
        self,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        lifetime: timedelta,
        at_most: int,
    ) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._lifetime_s = lifetime.total_seconds()
        self._at_most = at_most
        self._waiting: OrderedDict[str, W] = OrderedDict()
        # Decided, and nobody heard it yet: a client on its way to wait is to read so, not to be asked anew.
        self._untold: OrderedDict[str, W] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def sweep(self) -> None:
        """End what nobody came for in time."""
        now = self._clock.monotonic()
        while self._waiting and (oldest := next(iter(self._waiting.values()))).lapses_at <= now:
            self._end(oldest, Lapsed())
        while self._untold and next(iter(self._untold.values())).lapses_at <= now:
            self._untold.popitem(last=False)

    async def decided(self, waits: W) -> Verdict:
        """What somebody decides, or that nobody did in time; whoever asks for the same once more has been told."""
        verdict = await waits.decided(self._clock)
        self._untold.pop(waits.id, None)
        return verdict

    def _draw_id(self) -> str:
        return PREFIX + self._random_bytes(ID_BYTES).hex()

    def _lapses_at(self) -> float:
        return self._clock.monotonic() + self._lifetime_s

    def _add(self, new: W, *, instead_of: Iterable[W]) -> W:
        """The new one waits, and these lapse; with too many in all the oldest does, too."""
        for each in instead_of:
            self._end(each, Lapsed())
        while len(self._waiting) >= self._at_most:
            self._end(next(iter(self._waiting.values())), Lapsed())
        self._waiting[new.id] = new
        return new

    def _get(self, waits_id: str) -> W | None:
        self.sweep()
        return self._waiting.get(waits_id)

    def _get_to_tell(self, waits_id: str) -> W | None:
        """One that waits, or was decided before its client came to hear it."""
        return self._get(waits_id) or self._untold.get(waits_id)

    def _end(self, waits: W, verdict: Verdict) -> None:
        if self._waiting.pop(waits.id, None) is not None and not isinstance(verdict, Lapsed):
            self._untold[waits.id] = waits
            while len(self._untold) > self._at_most:
                self._untold.popitem(last=False)
        waits.end(verdict)


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class PendingLogin(Waits):
    """A login that waits. `request` is what the client asked for; `source` the address from which it asked."""

    request: Request
    source: str


class PendingLogins(WaitingRoom[PendingLogin]):
    """All logins that wait, oldest first."""

    @property
    def waiting(self) -> tuple[PendingLogin, ...]:
        """All of them, oldest first, to look at."""
        self.sweep()
        return tuple(self._waiting.values())

    def open(self, request: Request, source: str, *, login_id: str | None = None) -> PendingLogin:
        """A login for this request, in place of one that the same node key waits in already.

        Its id is drawn, unless there is one that `check_free` has seen.
        """
        self.sweep()
        same = [login for login in self._waiting.values() if _is_same_client(login, request)]
        of_source = [
            login for login in self._waiting.values() if login.source == source and login not in same
        ]
        too_many = max(0, len(of_source) + 1 - LOGINS_OF_ONE_MAX)
        new = PendingLogin(
            id=login_id or self._draw_id(), request=request, source=source, lapses_at=self._lapses_at()
        )
        return self._add(new, instead_of=[*same, *of_source[:too_many]])

    def followed_up(self, url: str, request: Request) -> PendingLogin | None:
        """The login whose URL the client names, if it is this client's own, and waits or was just decided."""
        login = self._get_to_tell(url.rpartition("/")[2])
        return login if login is not None and _is_same_client(login, request) else None

    def find(self, login_id: str) -> PendingLogin:
        """The login with this id; raises Malformed for what is no id, NotFound when it does not wait (any more)."""
        check_id(login_id)
        login = self._get(login_id)
        if login is None:
            raise NotFound(
                "no login with this id is waiting: it lapsed, or was decided already. Let the client ask again "
                "with `tailscale up` and use the new id"
            )
        return login

    def check_free(self, login_id: str) -> None:
        """Raises Malformed for what is no id, Conflict for one under which a login waits."""
        check_id(login_id)
        if self._get(login_id) is not None:
            raise Conflict("a login with this id is waiting already")

    def approve(self, login: PendingLogin) -> None:
        """The node is in: who waits learns it."""
        self._end(login, Approved())

    def reject(self, login: PendingLogin, reason: str) -> None:
        """The client's user is told why not."""
        self._end(login, Rejected(reason))


def check_id(login_id: str) -> None:
    """Raises Malformed for what is no id."""
    if not _ID.fullmatch(login_id):
        raise Malformed(f"{login_id[:60]!r} is not a login's id: expected {PREFIX} and 24 hex digits")


def _is_same_client(login: PendingLogin, request: Request) -> bool:
    ours = login.request
    return ours.machine_key == request.machine_key and ours.node_key == request.node_key
