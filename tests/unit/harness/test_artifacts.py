"""The folder of a failed test."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

from harness.artifacts import NAME_LIMIT, Item, collect, folder_for
from harness.history import History


class Part:
    """Shows a file and some bytes, and may break after that."""

    def __init__(self, name: str, log: Path, *, broken: bool = False) -> None:
        self.name = name
        self.log = log
        self.broken = broken

    async def evidence(self) -> AsyncIterator[Item]:
        yield "a.log", self.log
        yield "status.json", b"{}"
        if self.broken:
            raise ValueError("the daemon is gone")


async def test_everything_is_in_its_place(tmp_path: Path) -> None:
    """One folder a part, the history and the command beside them."""
    log = tmp_path / "a.log"
    log.write_text("line\n")
    history = History()
    history.record("up", node="a")
    folder = await collect(tmp_path / "out", [Part("a", log)], history=history, rerun="pytest x")
    assert (folder / "a" / "a.log").read_text() == "line\n"
    assert (folder / "a" / "status.json").read_bytes() == b"{}"
    assert json.loads((folder / "history.jsonl").read_text())["event"] == "up"
    assert (folder / "rerun.txt").read_text() == "pytest x\n"
    assert not (folder / "missing.txt").exists()


async def test_a_broken_part_keeps_nothing_from_the_others(tmp_path: Path) -> None:
    """What it gave before is kept, and its error is named."""
    log = tmp_path / "a.log"
    log.write_text("line\n")
    parts = [Part("a", log, broken=True), Part("b", log)]
    folder = await collect(tmp_path / "out", parts, history=History(), rerun="")
    assert "a: ValueError('the daemon is gone')" in (folder / "missing.txt").read_text()
    assert (folder / "a" / "status.json").exists()
    assert (folder / "b" / "status.json").exists()


async def test_secrets_stay_behind(tmp_path: Path) -> None:
    """A log that a client wrote may hold the key that it was given."""
    log = tmp_path / "a.log"
    log.write_text("up --auth-key=hskey-auth-abc-0123456789abcdef\n")
    folder = await collect(tmp_path / "out", [Part("a", log)], history=History(), rerun="")
    assert (folder / "a" / "a.log").read_text() == "up --auth-key=…\n"


def test_a_folders_name_is_plain_and_short() -> None:
    """A test id with any characters becomes a name that every file system takes."""
    name = folder_for(Path("/r"), "scenarios/test_x.py::test_y[1.80-a b/ü]" + "z" * 200).name
    assert len(name) == NAME_LIMIT
    assert folder_for(Path("/r"), "a/b.py::test[1.80]").name == "a-b.py-test-1.80"
