"""What a check is given, and what it finds."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from headscale.clock import Clock
from headscale.config.settings import Config
from headscale.db.inspection import Inspection


class Verdict(StrEnum):
    """How it stands. A WARN works today; a FAIL keeps somebody from working."""

    PASS = "PASS"  # noqa: S105  (no password)
    WARN = "WARN"
    FAIL = "FAIL"
    SKIP = "SKIP"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: which, how it stands, in words, and what to do next (empty for nothing)."""

    check: str
    verdict: Verdict
    what: str
    next: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is examined: `url` is where clients find the server, `database` what is kept (None for no file yet).

    `trust` is whom TLS connections trust; `idle_s` how long a connection is held without a word.
    """

    config: Config
    url: str
    clock: Clock
    database: Inspection | None
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    idle_s: float = 0.0
    time_url: str = ""


Check = Callable[[Case], Awaitable[list[Finding]]]


def passed(check: str, what: str) -> Finding:
    return Finding(check, Verdict.PASS, what)


def warned(check: str, what: str, next: str) -> Finding:
    return Finding(check, Verdict.WARN, what, next)


def failed(check: str, what: str, next: str) -> Finding:
    return Finding(check, Verdict.FAIL, what, next)


def skipped(check: str, what: str, next: str = "") -> Finding:
    return Finding(check, Verdict.SKIP, what, next)
