"""The cache of things that are dear to make."""

from pathlib import Path

import pytest

from harness.cache import Cache, cache_root, entry_name
from harness.progress import silent

INPUTS = {"version": "1"}


def write_value(folder: Path) -> None:
    (folder / "value").write_text("made")


def test_the_variable_overrides_the_directory(tmp_path: Path) -> None:
    """HARNESS_CACHE wins over XDG and home."""
    environ = {"HARNESS_CACHE": str(tmp_path), "XDG_CACHE_HOME": "/x", "HOME": "/h"}
    assert cache_root(environ) == tmp_path


def test_the_directory_is_in_the_users_cache() -> None:
    """XDG_CACHE_HOME if set, else ~/.cache."""
    assert cache_root({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/headscale-harness")
    assert cache_root({"HOME": "/h"}) == Path("/h/.cache/headscale-harness")


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    """The second asker gets the first one's work."""
    calls: list[Path] = []
    cache = Cache(tmp_path, report=silent)
    first = cache.entry("kind", INPUTS, calls.append)
    assert cache.entry("kind", INPUTS, calls.append) == first
    assert len(calls) == 1


def test_other_inputs_make_another_entry() -> None:
    """The name depends on every input and not on their order."""
    assert entry_name("k", {"a": "1", "b": "2"}) == entry_name("k", {"b": "2", "a": "1"})
    assert entry_name("k", {"a": "1"}) != entry_name("k", {"a": "2"})


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """An entry is whole or absent, and the next run tries again."""
    cache = Cache(tmp_path, report=silent)

    def fail(folder: Path) -> None:
        write_value(folder)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.entry("kind", INPUTS, fail)
    assert not list(tmp_path.glob("*kind-*"))
    assert (cache.entry("kind", INPUTS, write_value) / "value").read_text() == "made"


def test_leftovers_of_a_dead_run_are_cleared(tmp_path: Path) -> None:
    """A half-built folder of a killed run goes when the entry is next built."""
    left = tmp_path / f".{entry_name('kind', INPUTS)}.dead"
    left.mkdir()
    Cache(tmp_path, report=silent).entry("kind", INPUTS, write_value)
    assert not left.exists()


def test_an_entry_says_what_it_was_made_from(tmp_path: Path) -> None:
    """A person who looks into the cache can tell the entries apart."""
    entry = Cache(tmp_path, report=silent).entry("kind", INPUTS, write_value)
    assert '"version": "1"' in (entry / "inputs.json").read_text()


def test_a_second_run_waits_for_the_first(tmp_path: Path) -> None:
    """While one run builds, another says that it waits, and builds nothing itself."""
    from threading import Event, Thread

    building, waiting = Event(), Event()
    built: list[str] = []

    def slow(folder: Path) -> None:
        building.set()
        assert waiting.wait(10)
        built.append("slow")

    first = Thread(target=Cache(tmp_path, report=silent).entry, args=("kind", INPUTS, slow))
    first.start()
    assert building.wait(10)
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        waiting.set()

    Cache(tmp_path, report=hear).entry("kind", INPUTS, lambda folder: built.append("second"))
    first.join()
    assert built == ["slow"]
    assert "waiting for another run" in said[0]
