"""Logging set-up: events in fixed words with fields, for people on stderr or as JSON lines on stdout.

Keys and tokens are never fields. Whatever slips into a message all the same (a client's error text, say) is
taken out here.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final

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


def redact(text: str) -> str:
    """The text without secrets."""
    return _SECRET.sub(lambda found: f"{found.group(1) or found.group(2)}[redacted]", text)


class TextFormatter(logging.Formatter):
    """Time, level, event."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
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
