"""Joins what the server's log tells to the history, by wall time: both clocks are this machine's.

Logs of any server will do whose lines begin with a time: ours as text or JSON, and the Go headscale's.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from harness.history import Entry, History, Source

SERVER_LOG: Final = "server.log"
LINES_READ: Final = 20_000
"""Of a log, its last ones."""

_DATED: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?\s+(.*)", re.DOTALL
)
_OF_THE_DAY: Final = re.compile(r"(\d\d):(\d\d):(\d\d)\s+(.*)", re.DOTALL)
_DAY: Final = timedelta(days=1)


def timeline(folder: Path, history: History) -> list[Entry]:
    """All entries in order of time: the history's, and those of each server's log in the folder of evidence."""
    joined = list(history.entries)
    for log in sorted(folder.glob(f"*/{SERVER_LOG}")):
        lines = log.read_text(errors="replace").splitlines()[-LINES_READ:]
        joined += entries_of_log(lines, history, who=log.parent.name)
    return sorted(joined, key=lambda entry: entry.at)


def entries_of_log(lines: Iterable[str], history: History, *, who: str) -> Iterator[Entry]:
    """The log's events. A line without a time belongs to the one before: a traceback does."""
    wall: datetime | None = None
    text: list[str] = []
    for line in lines:
        found = _read(line, history.began)
        if found is None:
            text.append(line)
            continue
        if wall is not None:
            yield _entry(history, wall, who, text)
        wall, text = found[0], [found[1]]
    if wall is not None:
        yield _entry(history, wall, who, text)


def _entry(history: History, wall: datetime, who: str, text: list[str]) -> Entry:
    first, *rest = text
    fields = {"more": "\n".join(rest)} if rest else {}
    return history.at_wall(wall, Source.SERVER, who, first, fields)


def _read(line: str, began: datetime) -> tuple[datetime, str] | None:
    if line.startswith("{"):
        return _of_json(line)
    if found := _DATED.match(line):
        return _aware(found[1], found[2], found[3]), found[4]
    if found := _OF_THE_DAY.match(line):
        return _of_the_day(found, began), found[4]
    return None


def _of_json(line: str) -> tuple[datetime, str] | None:
    try:
        told = json.loads(line)
        wall = datetime.fromisoformat(str(told["time"]))
    except (ValueError, KeyError, TypeError):
        return None
    if wall.tzinfo is None:
        return None
    return wall, f"{str(told.get('level', '')).upper()} {told.get('message', '')}".strip()


def _aware(day_and_time: str, fraction: str | None, zone: str | None) -> datetime:
    """A time without a zone is this machine's."""
    plain = datetime.fromisoformat(day_and_time)
    plain += timedelta(seconds=float(f"0.{fraction}")) if fraction else timedelta(0)
    if zone is None:
        return plain.astimezone(UTC)
    return plain.replace(tzinfo=datetime.fromisoformat(f"2000-01-01T00:00:00{zone}").tzinfo)


def _of_the_day(found: re.Match[str], began: datetime) -> datetime:
    """Only the time of the day is told: the day is the one that lies closest to the history's beginning."""
    clock = {"hour": int(found[1]), "minute": int(found[2]), "second": int(found[3]), "microsecond": 0}
    guess = began.astimezone().replace(**clock)  # type: ignore[arg-type]
    return min((guess - _DAY, guess, guess + _DAY), key=lambda wall: abs(wall - began)).astimezone(UTC)
