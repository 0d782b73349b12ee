"""Differences that are known: each with the servers between which it is, where it shows, and why.

The ledger is strict. A difference that is not in it fails the run, and so does an entry that nothing matched: what was
mended, or cannot be seen any more, goes.
"""

import fnmatch
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import HarnessError

LEDGER: Final = Path(__file__).parent / "ledger.toml"
ABSENT: Final = "(absent)"
_FIELDS: Final = {"between", "at", "reason", "first", "second"}


class BadLedger(HarnessError):
    """The ledger cannot be read; the text names the entry and what was expected."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`at` is where: the step, then the way into the picture, by slashes. What each side has there."""

    at: str
    first: Any
    second: Any

    def told(self, sides: Sequence[str]) -> str:
        """In a line."""
        return f"{self.at}: {sides[0]} has {self.first!r}, {sides[1]} has {self.second!r}"


@dataclass(frozen=True, slots=True)
class Known:
    """An entry. `at` is a pattern (`*`); `first` and `second`, where given, are what the servers must have there."""

    between: tuple[str, str]
    at: str
    reason: str
    first: Any = None
    second: Any = None

    def covers(self, difference: Difference) -> bool:
        """Whether it speaks of this one."""
        return (
            fnmatch.fnmatchcase(difference.at, self.at)
            and self.first in (None, difference.first)
            and self.second in (None, difference.second)
        )


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is left after the ledger: differences that nobody explained, and entries that explain nothing."""

    unknown: Sequence[Difference]
    idle: Sequence[Known]

    @property
    def is_clean(self) -> bool:
        """Whether the run passes."""
        return not self.unknown and not self.idle


def differences(first: Any, second: Any, *, at: str) -> Iterator[Difference]:
    """Every place where two documents differ, as deep as it goes in objects. Lists are compared whole."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted({*first, *second}):
            yield from differences(first.get(key, ABSENT), second.get(key, ABSENT), at=f"{at}/{key}")
    elif first != second:
        yield Difference(at, first, second)


def read_ledger(text: str, between: tuple[str, str]) -> Sequence[Known]:
    """The entries about these two servers, in this order. Raises BadLedger."""
    try:
        entries = tomllib.loads(text).get("difference", [])
    except tomllib.TOMLDecodeError as problem:
        raise BadLedger(f"the ledger is no TOML: {problem}") from None
    return [
        known
        for number, each in enumerate(entries, start=1)
        if (known := _known(each, number)).between == between
    ]


def rule(found: Iterable[Difference], known: Sequence[Known]) -> Ruling:
    """Hold the differences against the ledger."""
    used: set[int] = set()
    unknown = []
    for difference in found:
        covering = [number for number, entry in enumerate(known) if entry.covers(difference)]
        used.update(covering)
        if not covering:
            unknown.append(difference)
    return Ruling(unknown, [entry for number, entry in enumerate(known) if number not in used])


def _known(entry: Mapping[str, Any], number: int) -> Known:
    missing = {"between", "at", "reason"} - set(entry)
    unknown = set(entry) - _FIELDS
    between = entry.get("between")
    if (
        missing
        or unknown
        or not isinstance(between, list)
        or len(between) != 2
        or not entry["reason"].strip()
    ):
        raise BadLedger(
            f"entry {number} of the ledger needs between = [two servers], at and reason, and may have first and "
            f"second; it has {', '.join(sorted(entry))}"
        )
    return Known(
        (between[0], between[1]), entry["at"], entry["reason"], entry.get("first"), entry.get("second")
    )
