"""The page of a failure, as text; how it looks and works a browser tells (tests/integration/test_report_browser.py)."""

import json
from html.parser import HTMLParser
from pathlib import Path

from harness.history import History, Source, Way
from harness.report.failure import RESPONSE_SHOWN, ROWS_SHOWN, Failure, write_failure

SECRET = "hskey-auth-abc-0123456789abcdef"


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [
            str(attrs.get("href") or attrs.get("src"))
            for _, attrs in self.starts
            if {"href", "src"} & set(attrs)
        ]


def maps_of(folder: Path, name: str, *, response: object = None) -> None:
    netmap = {
        "self": {
            "name": f"{name}-given",
            "addresses": ["100.64.0.1"],
            "online": True,
            "tags": [],
            "routes": [],
        },
        "peers": [
            {"name": "b-given", "addresses": ["100.64.0.2"], "online": False, "tags": ["tag:x"], "routes": []}
        ],
        "rules": ["* → *:*"],
    }
    line = {
        "logged": None,
        "kind": "full map",
        "response": response or {"PeersRemoved": [2]},
        "netmap": netmap,
    }
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "maps.jsonl").write_text(json.dumps(line) + "\n{half a line")


def failure(**more: object) -> Failure:
    return Failure(test="test_x.py::test_y", reason="it is <not> so", rerun="pytest test_x.py", **more)  # type: ignore[arg-type]


def test_all_that_is_known_is_on_the_page(tmp_path: Path) -> None:
    """Text is text, and every link leads to a file of the folder."""
    maps_of(tmp_path, "a")
    history = History()
    history.ways["a", "b", "tcp"] = Way("a", "b", "tcp 1:80", True, False, False, "timeout: nothing came")
    history.add(Source.PROBE, "a", "probe", {"expected": "yes", "actual": "no"})
    history.add(Source.FAULT, "a", "cable is pulled")
    page = Page(write_failure(tmp_path, failure(releases={"a": "1.80.3", "b": "rust"}), history))
    for words in (
        "it is <not> so",
        "pytest test_x.py",
        "b-given",
        "offline",
        "tag:x",
        "NO, not yes",
        "cable is pulled",
    ):
        assert words in page.text, words
    assert "1 removed" in page.text
    assert "It showed no netmap." in page.text
    files = [link for link in page.links() if not link.startswith("data:")]
    assert {"timeline.jsonl", "a/maps.jsonl"} <= set(files)
    assert all((tmp_path / link).is_file() for link in files)
    assert len((tmp_path / "timeline.jsonl").read_text().splitlines()) == 2


def test_without_a_matrix_netmaps_are_drawn(tmp_path: Path) -> None:
    """By the names that the harness has for machines."""
    maps_of(tmp_path, "a")
    page = Page(write_failure(tmp_path, failure(releases={"a": "1.80.3"}), History()))
    assert "No matrix was probed" in page.text
    assert "a has as a peer b-given" in page.text


def test_secrets_are_not_on_it(tmp_path: Path) -> None:
    """Neither in what was raised nor in the report of the test."""
    path = write_failure(tmp_path, failure(trace=f"up {SECRET}", facts=[("key", SECRET)]), History())
    assert SECRET not in path.read_text()


def test_a_long_story_is_cut_and_says_so(tmp_path: Path) -> None:
    """A browser must be able to show it; the file has the rest."""
    history = History()
    for number in range(ROWS_SHOWN + 5):
        history.record("event", number=number)
    maps_of(tmp_path, "a", response={"Domain": "x" * 2 * RESPONSE_SHOWN})
    page = Page(write_failure(tmp_path, failure(releases={"a": "1"}), history))
    assert "The first 5 entries are in" in page.text
    assert "the rest is in maps.jsonl" in page.text
    assert len((tmp_path / "timeline.jsonl").read_text().splitlines()) == ROWS_SHOWN + 5
