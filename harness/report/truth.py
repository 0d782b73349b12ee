"""The matrix that was measured last as a truth table: a row a target, a column a prober, expected against actual."""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.history import Way


@dataclass(frozen=True, slots=True)
class Cell:
    """`kind` is `yes` or `no` as expected, `wrong`, or empty where nothing was probed."""

    kind: str
    word: str
    title: str


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` are targets with their cells, in the order of `probers`."""

    probers: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    wrong: tuple[Way, ...]
    total: int


NOT_PROBED = Cell("", "·", "not probed")


def truth_table(ways: Iterable[Way]) -> Table:
    """Of all ways; rows with a surprise come first."""
    found = list(ways)
    probers = tuple(sorted({way.prober for way in found}))
    by_place = {(f"{way.target} {way.how}", way.prober): way for way in found}
    rows = [
        (target, tuple(_cell(by_place.get((target, prober))) for prober in probers))
        for target in sorted({target for target, _ in by_place})
    ]
    rows.sort(key=lambda row: all(cell.kind != "wrong" for cell in row[1]))
    return Table(probers, tuple(rows), tuple(way for way in found if not way.as_wanted), len(found))


def _cell(way: Way | None) -> Cell:
    if way is None:
        return NOT_PROBED
    want, got = ("yes" if value else "no" for value in (way.want, way.got))
    title = f"{way.prober} → {way.target} {way.how}: expected {want}, {way.reason}"
    if way.as_wanted:
        return Cell(got, got, title)
    return Cell("wrong", f"{got.upper()}, not {want}", title)
