"""Logins that are at the identity provider, or wait for a person's yes: each bound to the browser that began it.

In memory, bounded in number and time. What is found is taken out, so that nothing can be used twice.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Generic, TypeVar

from headscale.clock import Clock

LIFETIME: Final = timedelta(minutes=15)
AT_MOST: Final = 1024
SECRET_BYTES: Final = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Held(Generic[T]):
    """Something that waits; `browser` is a digest of the secret in the cookie of the browser that it belongs to."""

    value: T
    browser: bytes
    lapses_at: float


class Attempts(Generic[T]):
    """By a secret key each; the oldest go when there are too many."""

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes], *, at_most: int = AT_MOST) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._at_most = at_most
        self._held: OrderedDict[str, Held[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def secret(self) -> str:
        """A new secret, 64 hex digits."""
        return self._random_bytes(SECRET_BYTES).hex()

    def hold(self, value: T, *, browser: str) -> str:
        """Keep this for the browser with this secret; returns the key."""
        self._sweep()
        while len(self._held) >= self._at_most:
            self._held.popitem(last=False)
        key = self.secret()
        lapses_at = self._clock.monotonic() + LIFETIME.total_seconds()
        self._held[key] = Held(value, digest(browser), lapses_at)
        return key

    def take(self, key: str, *, browser: str) -> T | None:
        """What was kept under this key for this browser, once; None for anything else.

        Another browser takes nothing away: who guesses or sees a key does not end somebody's login.
        """
        self._sweep()
        held = self._held.get(key)
        if held is None or not hmac.compare_digest(held.browser, digest(browser)):
            return None
        del self._held[key]
        return held.value

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        while self._held and next(iter(self._held.values())).lapses_at <= now:
            self._held.popitem(last=False)


def digest(secret: str) -> bytes:
    """What is kept of a browser's secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def nonce_of(browser: str, state: str) -> str:
    """The nonce of a login: it follows from the browser's own secret, and nobody else can tell it."""
    return hmac.new(browser.encode(), state.encode(), hashlib.sha256).hexdigest()
