"""Cells of the peer's database, in all the spellings that its releases left behind."""

from datetime import UTC, datetime, timedelta

import pytest

from headscale.peer.cells import FAR, LONG_AGO, Unreadable, flag_of, id_of, list_of, time_of

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2026-01-02 03:04:05+00:00", MOMENT),
        ("2026-01-02 03:04:05.123456789+00:00", MOMENT + timedelta(microseconds=123456)),
        ("2026-01-02T05:04:05+02:00", MOMENT),
        ("2026-01-01 22:34:05-0430", MOMENT),
        ("2026-01-02 03:04:05Z", MOMENT),
        ("2026-01-02 03:04:05", MOMENT),
        ("2026-01-02 03:04:05.000001+00", MOMENT + timedelta(microseconds=1)),
        ("2026-01-02 04:04:05 +0100 CET m=+12.5", MOMENT),
        (int(MOMENT.timestamp()), MOMENT),
        ("0001-01-01 00:00:00+00:00", LONG_AGO),
        ("0001-01-01 00:00:00+05:30", LONG_AGO),
        ("0001-12-31 23:59:59+00 BC", LONG_AGO),
        ("9999-12-31 23:59:59-12:00", FAR),
        (None, None),
        ("", None),
    ],
)
def test_times_are_read_in_every_spelling(cell: str | int | None, moment: datetime | None) -> None:
    """Go's, SQLite's and PostgreSQL's, in UTC; years that a time zone could leave are brought in."""
    assert time_of(cell) == moment


@pytest.mark.parametrize("cell", ["soon", "2026-13-01 00:00:00", "2026-01-02", 1e300, b"\xff"])
def test_what_is_no_time_is_unreadable(cell: str | float | bytes) -> None:
    """The caller decides what to do without it."""
    with pytest.raises(Unreadable):
        time_of(cell)


@pytest.mark.parametrize(
    ("cell", "texts"),
    [(None, ()), ("", ()), ("null", ()), ("[]", ()), (b'["a"]', ("a",)), (' ["a","b"] ', ("a", "b"))],
)
def test_lists_are_read_in_every_spelling(cell: str | bytes | None, texts: tuple[str, ...]) -> None:
    """A list was NULL, an empty text, `null` or `[]` when it was empty, and a blob in one migration."""
    assert list_of(cell) == texts


@pytest.mark.parametrize("cell", ["{}", "[1]", "[", "a", b"\xff"])
def test_what_is_no_list_of_texts_is_unreadable(cell: str | bytes) -> None:
    """Also a list of something else."""
    with pytest.raises(Unreadable):
        list_of(cell)


def test_flags_and_references() -> None:
    """1 and true are; no reference is NULL or 0."""
    assert [flag_of(cell) for cell in (1, "true", "t", 0, "false", None, "x", 2)] == [True] * 3 + [False] * 5
    assert [id_of(cell) for cell in (7, "7", 0, None, "")] == [7, 7, None, None, None]
    with pytest.raises(Unreadable):
        id_of(-1)
