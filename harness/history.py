"""What was done and seen, in order, kept to be written beside the other evidence of a failed test."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headscale.clock import Clock, SystemClock

Field = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `at` is seconds since the history began."""

    at: float
    wall: datetime
    event: str
    fields: dict[str, Field]

    def line(self) -> str:
        """As one line of JSON."""
        wall = self.wall.isoformat(timespec="milliseconds")
        return json.dumps({"at": round(self.at, 4), "wall": wall, "event": self.event, **self.fields})


class History:
    """An append-only record. Secrets are never fields."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._start = self._clock.monotonic()
        self._entries: list[Entry] = []

    def record(self, event: str, **fields: Field) -> None:
        """Add an entry: fixed words and the fields that differ."""
        self._entries.append(Entry(self._clock.monotonic() - self._start, self._clock.now(), event, fields))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All so far, oldest first."""
        return tuple(self._entries)

    def write(self, path: Path) -> None:
        """Write it as JSON lines."""
        path.write_text("".join(f"{entry.line()}\n" for entry in self._entries))
