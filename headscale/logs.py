"""Logging set-up: events in fixed words with fields, for people on stderr or as JSON lines on stdout.

Fields stand in a message as `name=%s`; in JSON each is a field of the line, too. What is done for a request has that
request's fields (`about`), whoever logs it.

Keys and tokens are never fields. Whatever slips into a message all the same (a client's error text, say) is
taken out here.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
# Our credentials and private keys, by their shape; the prefix of a credential may stay.
_SECRET: Final = re.compile(
    r"((?:hs|ts)key-[a-z]+-(?:[A-Za-z0-9_-]{12}-)?)[A-Za-z0-9_-]{64}|(privkey:)[0-9a-fA-F]{64}"
)


# A placeholder of a message, with its field's name where it has one.
_PLACE: Final = re.compile(r"(?:\b(\w+)=)?%(?:%|[-#0 +]*\d*(?:\.\d+)?[a-zA-Z])")
# What a record has of itself; everything else came as `extra`.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ABOUT: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)


@contextmanager
def about(**fields: Any) -> Iterator[dict[str, Any]]:
    """Lines that are logged inside are about this; `note` adds to it. For one task and what it awaits."""
    known = dict(fields)
    token = _ABOUT.set(known)
    try:
        yield known
    finally:
        _ABOUT.reset(token)


def note(**fields: Any) -> None:
    """More that is known of the request that is being answered; nothing outside of one."""
    if (known := _ABOUT.get()) is not None:
        known.update(fields)


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """By name, as they were given: the request's, then those of the message and of `extra`."""
    found = dict(_ABOUT.get() or {})
    if isinstance(record.args, tuple) and isinstance(record.msg, str):
        places = [place for place in _PLACE.finditer(record.msg) if not place[0].endswith("%%")]
        found |= {
            place[1]: value for place, value in zip(places, record.args, strict=False) if place[1] is not None
        }
    return found | {name: value for name, value in vars(record).items() if name not in _OWN}


def redact(text: str) -> str:
    """The text without secrets."""
    return _SECRET.sub(lambda found: f"{found.group(1) or found.group(2)}[redacted]", text)


class TextFormatter(logging.Formatter):
    """Time, level, event."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        for name, value in fields_of(record).items():
            is_plain = value is None or isinstance(value, bool | int | float)
            line.setdefault(name, value if is_plain else redact(str(value)))
        return json.dumps(line, ensure_ascii=False)


def set_level(level: str) -> None:
    """From now on this level."""
    logging.getLogger().setLevel(LEVELS[level])


def set_up(*, level: str, as_json: bool) -> None:
    """Log to stderr as text, or to stdout as JSON lines (where the peer writes them)."""
    handler = logging.StreamHandler(sys.stdout if as_json else sys.stderr)
    handler.setFormatter(
        JSONFormatter() if as_json else TextFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    for noisy in ("alembic", "aiosqlite", "sqlalchemy", "hpack", "h2", "aiohttp.access", "aiohttp.server"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
