"""What a run left at somebody else's server is found by the next."""

from pathlib import Path

from harness.servers.hosted.journal import Journal, Left, journal_of


def test_what_was_made_is_read_by_another_run(tmp_path: Path) -> None:
    """The policy is the first that was found: later ones are a test's own."""
    path = tmp_path / "deep" / "journal.jsonl"
    for kind, what in (
        ("policy", "{}"),
        ("device", "7"),
        ("key", "k1"),
        ("policy", "a test's"),
        ("key", "2"),
    ):
        Journal(path).made(kind, what)  # type: ignore[arg-type]
    assert Journal(path).read() == Left({"7"}, {"k1", "2"}, "{}")
    assert path.stat().st_mode & 0o077 == 0
    Journal(path).clear()
    assert Journal(path).read() == Left()


def test_a_line_that_a_crash_cut_off_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).made("device", "7")
    with path.open("a") as file:
        file.write('{"kind": "dev')
    assert Journal(path).read() == Left({"7"})


def test_each_server_has_its_own(tmp_path: Path) -> None:
    here = {"HARNESS_CACHE": str(tmp_path)}
    journal_of("https://one.example", here).made("key", "1")
    assert journal_of("https://other.example", here).read() == Left()
    assert journal_of("https://one.example", here).read() == Left(keys={"1"})
