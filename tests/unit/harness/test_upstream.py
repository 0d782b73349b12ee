"""Releases that are out and not listed."""

from datetime import date

from harness.upstream import findings
from harness.versions import Release, Waiting

TODAY = date(2026, 11, 30)
LISTED = (Release("go", "1.80.3", 113), Release("go", "1.82.5", 115))
WAITS = (Waiting("1.84", "it cannot be built", date(2026, 12, 1)),)


def missing(*go: str, rust: str = "0.6.1", today: date = TODAY) -> tuple[str, ...]:
    return findings(go, rust, today=today, releases=LISTED, waiting=WAITS, listed_rust="0.6.1").missing


def test_nothing_is_missing_when_each_minor_is_listed() -> None:
    """Development minors, candidates and what is older than the oldest do not count."""
    assert missing("v1.78.1", "v1.80.3", "v1.81.0-pre", "v1.82.5", "v1.83.1", "v1.86.0-rc1") == ()


def test_a_new_minor_is_named_with_its_newest_patch() -> None:
    """Numbers are compared as numbers."""
    assert missing("v1.100.2", "v1.100.10", "v1.82.5") == ("the client 1.100.10 is not listed",)


def test_a_newer_patch_is_told_and_no_failure() -> None:
    """One release stands for each minor, the newest that was built."""
    found = findings(["v1.82.6"], "0.6.1", today=TODAY, releases=LISTED, waiting=(), listed_rust="0.6.1")
    assert found.missing == ()
    assert found.notes == ("1.82.6 is a newer patch than the one that is built",)


def test_a_minor_waits_until_its_day() -> None:
    """Afterwards it is missing like any other."""
    assert missing("v1.84.0") == ()
    assert missing("v1.84.0", today=date(2026, 12, 2)) == (
        "the client 1.84.0 is not listed; it waited until 2026-12-01",
    )


def test_a_newer_rust_client_is_missing() -> None:
    """It has one release only."""
    assert missing(rust="0.7.0") == ("the Rust client 0.7.0 is not listed, only 0.6.1",)
    assert missing(rust="0.5.9") == ()
