"""People who are signed in: each session bound to a secret in one browser's cookie, and forms bound to a session.

In memory, bounded in number and time; after a restart of the server everybody signs in again. What somebody may do is
no part of a session: it follows from their role at each request.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from headscale.clock import Clock

# Whatever happens, and without a request.
LIFETIME: Final = timedelta(hours=12)
IDLE: Final = timedelta(hours=1)
AT_MOST: Final = 4096
OF_ONE_MAX: Final = 16
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """Somebody in a browser. `provider` is the identity provider that vouched; `key` makes the tokens of forms.

    Times are of the monotonic clock.
    """

    user_id: int
    provider: str
    key: bytes
    ends_at: float
    idle_at: float

    def token(self, target: str, shown: str) -> str:
        """What a form to `target` has hidden, 64 hex digits; it is good while what it is about is as it was shown."""
        return hmac.new(self.key, f"{target}\n{shown}".encode(), hashlib.sha256).hexdigest()

    def is_token(self, text: str, target: str, shown: str) -> bool:
        """Whether a form has this session's token, compared in constant time."""
        wanted = self.token(target, shown)
        return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), wanted.encode())


class Sessions:
    """All of them, the longest unused first."""

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._by_digest: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_digest)

    def open(self, user_id: int, provider: str) -> str:
        """A new session; the result is the cookie's secret, of which only a digest is kept."""
        now = self._clock.monotonic()
        theirs = [digest for digest, each in self._by_digest.items() if each.user_id == user_id]
        for digest in theirs[: max(0, len(theirs) + 1 - OF_ONE_MAX)]:
            del self._by_digest[digest]
        while len(self._by_digest) >= AT_MOST:
            self._by_digest.popitem(last=False)
        secret = self._random_bytes(SECRET_BYTES).hex()
        self._by_digest[_digest(secret)] = Session(
            user_id=user_id,
            provider=provider,
            key=self._random_bytes(SECRET_BYTES),
            ends_at=now + LIFETIME.total_seconds(),
            idle_at=now + IDLE.total_seconds(),
        )
        return secret

    def find(self, secret: str) -> Session | None:
        """The session of the cookie with this secret, which is in use now; None for anything else."""
        digest, now = _digest(secret), self._clock.monotonic()
        session = self._by_digest.get(digest)
        if session is None:
            return None
        if min(session.ends_at, session.idle_at) <= now:
            del self._by_digest[digest]
            return None
        used = replace(session, idle_at=now + IDLE.total_seconds())
        self._by_digest[digest] = used
        self._by_digest.move_to_end(digest)
        return used

    def end(self, secret: str) -> None:
        """The browser's session is over."""
        self._by_digest.pop(_digest(secret), None)

    def end_all_of(self, user_id: int) -> None:
        """All sessions of a person are over."""
        for digest in [digest for digest, each in self._by_digest.items() if each.user_id == user_id]:
            del self._by_digest[digest]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
