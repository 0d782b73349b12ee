"""What became of every row, and why: collected while the database is taken over, then read by people and scripts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from headscale.peer.rows import COUNTED, PeerDatabase, Row


class Fate(StrEnum):
    """What becomes of a row; each has exactly one."""

    IMPORTED = "imported"
    THERE = "already there"
    LEFT_OUT = "left out"


class What(StrEnum):
    """What a note tells of a row."""

    REPAIRED = "repaired"
    LEFT_OUT = "left out"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a row that an operator wants to know. Equal texts are shown together."""

    table: str
    row: str
    what: What
    text: str
    number: int


@dataclass(frozen=True, slots=True)
class Clash:
    """A row that would take something that another one of ours has."""

    table: str
    row: str
    text: str


@dataclass(slots=True)
class Ledger:
    """The fates and notes, while they become known."""

    fates: dict[tuple[str, int], Fate] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)

    def came_in(self, row: Row) -> None:
        """The row comes in."""
        self.fates[(row.table, row.number)] = Fate.IMPORTED

    def was_there(self, row: Row) -> None:
        """Ours has it already."""
        self.fates[(row.table, row.number)] = Fate.THERE

    def follows(self, row: Row, parent: Row) -> None:
        """The row is part of another one, and has its fate."""
        self.fates[(row.table, row.number)] = self.fates[(parent.table, parent.number)]

    def left_out(self, row: Row, why: str) -> None:
        """The row does not come in."""
        self.fates[(row.table, row.number)] = Fate.LEFT_OUT
        self._note(row, What.LEFT_OUT, why)

    def repaired(self, row: Row, how: str) -> None:
        """The row comes in otherwise than it was."""
        self._note(row, What.REPAIRED, how)

    def noted(self, row: Row, text: str) -> None:
        """The row comes in as it is, and somebody should look at it."""
        self._note(row, What.NOTED, text)

    def clash(self, row: Row, text: str) -> None:
        """The row cannot come in without harm to ours."""
        self.clashes.append(Clash(row.table, row.name, text))

    def _note(self, row: Row, what: What, text: str) -> None:
        self.notes.append(Note(row.table, row.name, what, text, row.number))


@dataclass(frozen=True, slots=True)
class TableCount:
    """Of one table: `rows` is the sum of the others."""

    table: str
    rows: int
    imported: int
    there: int
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it. `advice` is about what is not in the database: keys of the server, a policy in a file."""

    source: str
    release: str
    ignored: tuple[str, ...]
    counts: tuple[TableCount, ...]
    notes: tuple[Note, ...]
    clashes: tuple[Clash, ...]
    advice: tuple[str, ...] = ()

    @property
    def imported(self) -> int:
        """How many rows come in."""
        return sum(count.imported for count in self.counts)

    def document(self, *, applied: bool) -> dict[str, Any]:
        """For scripts."""
        return {
            "source": self.source,
            "release": self.release,
            "applied": applied,
            "tables": {
                count.table: {
                    "rows": count.rows,
                    "imported": count.imported,
                    "alreadyThere": count.there,
                    "leftOut": count.left_out,
                }
                for count in self.counts
            },
            "notes": [
                {"table": note.table, "row": note.row, "what": note.what.value, "text": note.text}
                for note in self.notes
            ],
            "clashes": [
                {"table": clash.table, "row": clash.row, "text": clash.text} for clash in self.clashes
            ],
            "ignoredTables": list(self.ignored),
            "advice": list(self.advice),
        }


def report_of(database: PeerDatabase, ledger: Ledger, advice: Sequence[str]) -> Report:
    """The report, once every row has its fate. Of rows that are here already there is nothing to tell."""
    fates = Counter((row.table, ledger.fates[(row.table, row.number)]) for row in database.counted())
    return Report(
        source=database.where,
        release=database.release,
        ignored=database.ignored,
        counts=tuple(
            TableCount(
                table,
                len(database.rows(table)),
                fates[(table, Fate.IMPORTED)],
                fates[(table, Fate.THERE)],
                fates[(table, Fate.LEFT_OUT)],
            )
            for table in COUNTED
            if database.has(table)
        ),
        notes=tuple(
            note for note in ledger.notes if ledger.fates[(note.table, note.number)] is not Fate.THERE
        ),
        clashes=tuple(ledger.clashes),
        advice=tuple(advice),
    )
