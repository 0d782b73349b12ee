"""What the peer's cells say, in whichever of its historic spellings.

Raises Unreadable for what says nothing; the caller knows what to do without it.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import msgspec

from headscale.peer.rows import Cell

# Go's zero time is in year 1, and old releases wrote it for "never" in several zones.
ZERO_BEFORE: Final = datetime(1900, 1, 1, tzinfo=UTC)
# Past every key's end, and far enough from the last year that a time zone cannot leave it.
FAR: Final = datetime(9999, 1, 1, tzinfo=UTC)
LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[ T](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?P<part>\.[0-9]+)?"
    r" ?(?:Z|UTC|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?(?::[0-9]{2})?)?"
    r"(?P<bc> BC)?(?: [A-Z]{1,5})?(?: m=\S*)?",
    re.ASCII,
)
_TRUE: Final = frozenset({1, "1", "t", "true", "TRUE", "T", "True"})


class Unreadable(ValueError):
    """The cell holds something that is not what its column is for."""


def text_of(cell: Cell) -> str:
    """A text; empty for NULL."""
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")
    return str(cell)


def flag_of(cell: Cell) -> bool:
    """1 and true are, everything else is not."""
    return cell in _TRUE


def id_of(cell: Cell) -> int | None:
    """A reference to another table's id; None for NULL and for zero. Raises Unreadable."""
    text = text_of(cell)
    if text in ("", "0"):
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Unreadable(f"{text[:40]!r} is no id")
    return int(text)


def time_of(cell: Cell) -> datetime | None:
    """A moment in UTC; None for NULL. Go's zero time is `LONG_AGO`, or a day around it. Raises Unreadable."""
    if isinstance(cell, int | float):
        try:
            return min(datetime.fromtimestamp(cell, UTC), FAR)
        except (OverflowError, OSError, ValueError):
            raise Unreadable(f"{cell} is no time") from None
    text = text_of(cell)
    if not text:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise Unreadable(f"{text[:40]!r} is no time")
    if found["bc"]:
        return LONG_AGO
    try:
        naive = datetime.fromisoformat(f"{found['date']} {found['time']}{(found['part'] or '')[:7]}")
        offset = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
        there = timezone(-offset if found["sign"] == "-" else offset)
        return min(naive.replace(tzinfo=there).astimezone(UTC), FAR)
    except OverflowError:
        return LONG_AGO if naive.year == 1 else FAR
    except ValueError:
        raise Unreadable(f"{text[:40]!r} is no time") from None


def list_of(cell: Cell) -> tuple[str, ...]:
    """A list of texts; NULL, an empty text, `null` and `[]` are all the empty one. Raises Unreadable."""
    text = text_of(cell).strip()
    if text in ("", "null"):
        return ()
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise Unreadable(f"{text[:40]!r} is no list of texts") from None
