"""The records that are out, and when each is to go. Kept in a file, so that a restart forgets none."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from headscale.errors import Malformed
from headscale.files import replace_file
from headscale.sources.watchedfile import read_file

# Each is some 150 bytes.
FILE_MAX_BYTES: Final = 4 * 1024 * 1024
# The waits between attempts to remove a record add up to a day and a half.
RETRY_FIRST: Final = timedelta(minutes=1)
RETRY_MAX: Final = timedelta(hours=2)
ATTEMPTS_MAX: Final = 24


class Published(msgspec.Struct, frozen=True):
    """A TXT record that is or may be in the DNS; several values may stand at one name.

    `until` is when it is to be removed, `attempts` how often that failed.
    """

    name: str
    value: str
    until: datetime
    attempts: int = 0

    def is_same(self, other: "Published") -> bool:
        """Whether it is the same record, whenever it goes."""
        return (self.name, self.value) == (other.name, other.value)


Records = tuple[Published, ...]


def with_record(records: Records, record: Published) -> Records:
    """With this one in place of the same that may be there."""
    return (*without(records, record), record)


def without(records: Records, record: Published) -> Records:
    """Without it."""
    return tuple(other for other in records if not other.is_same(record))


def due(records: Records, now: datetime) -> Published | None:
    """The one that is to go next, once its time has come."""
    first = min(records, key=lambda record: record.until, default=None)
    return first if first is not None and first.until <= now else None


def later(record: Published, now: datetime) -> Published | None:
    """The record after a removal that failed, to be tried again; None when it was tried often enough."""
    attempts = record.attempts + 1
    if attempts >= ATTEMPTS_MAX:
        return None
    wait = min(RETRY_FIRST * 2 ** min(attempts - 1, 16), RETRY_MAX)
    return Published(record.name, record.value, now + wait, attempts)


def load(path: Path) -> Records:
    """What the file has, nothing when there is none. Raises Malformed or Unavailable for one that cannot be used."""
    if not path.exists():
        return ()
    try:
        return msgspec.json.decode(read_file(path, max_bytes=FILE_MAX_BYTES), type=Records)
    except msgspec.DecodeError as problem:
        raise Malformed(f"{path}: {problem}") from None


def store(path: Path, records: Iterable[Published]) -> None:
    """Replace the file, whole or not at all; raises OSError."""
    replace_file(path, msgspec.json.encode(tuple(records)), mode=0o600)
