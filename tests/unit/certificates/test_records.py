"""The records that are out, and when they go."""

from datetime import timedelta
from pathlib import Path

import pytest

from headscale.certificates.records import (
    ATTEMPTS_MAX,
    RETRY_FIRST,
    RETRY_MAX,
    Published,
    due,
    later,
    load,
    store,
    with_record,
    without,
)
from headscale.errors import Malformed
from tests.builders import NOW

HOUR = timedelta(hours=1)


def record(name: str = "a", value: str = "v", *, after: timedelta = HOUR) -> Published:
    return Published(name, value, NOW + after)


def test_several_values_stand_at_one_name_and_the_same_only_once() -> None:
    """Published again, it stays for longer."""
    records = with_record(
        with_record((record(value="1"),), record(value="2")), record(value="1", after=2 * HOUR)
    )
    assert sorted((r.value, r.until - NOW) for r in records) == [("1", 2 * HOUR), ("2", HOUR)]
    assert without(records, record(value="2", after=9 * HOUR)) == (record(value="1", after=2 * HOUR),)


def test_the_first_to_go_goes_first_and_not_before_its_time() -> None:
    records = (record("late", after=2 * HOUR), record("soon"))
    assert due((), NOW) is None
    assert due(records, NOW + HOUR - timedelta(microseconds=1)) is None
    assert due(records, NOW + HOUR) == record("soon")


def test_a_removal_that_fails_is_tried_again_ever_more_slowly_and_then_no_more() -> None:
    waits, current = [], later(record(), NOW)
    while current is not None:
        waits.append(current.until - NOW)
        current = later(current, NOW)
    assert len(waits) == ATTEMPTS_MAX - 1
    assert (waits[0], waits[1], waits[-1]) == (RETRY_FIRST, 2 * RETRY_FIRST, RETRY_MAX)


def test_a_file_keeps_them_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "records.json"
    assert load(path) == ()
    records = (record("a"), record("b", after=2 * HOUR))
    store(path, records)
    assert load(path) == records
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '[{"name": "a"}]', '[{"name": 1, "value": "v", "until": ""}]']
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "records.json"
    path.write_text(text)
    with pytest.raises(Malformed, match=r"records\.json"):
        load(path)
