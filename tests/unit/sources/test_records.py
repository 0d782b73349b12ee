"""Extra records from a file that changes while the server runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from headscale.clock import ManualClock
from headscale.errors import Malformed, Unavailable
from headscale.records import Write
from headscale.sources import records as module
from headscale.sources.extrarecords import MAX_BYTES
from headscale.sources.records import RecordSource
from headscale.state.writer import Writer
from headscale.tailcfg.dns import DNSRecord
from tests.builders import NOW, tailnet

BUDGET_S = 5.0


def text(*hosts: int) -> str:
    """A file with a record for each of these."""
    return (
        "["
        + ",".join(f'{{"name": "h{n}.example", "type": "A", "value": "192.0.2.{n}"}}' for n in hosts)
        + "]"
    )


def records(*hosts: int) -> tuple[DNSRecord, ...]:
    return tuple(DNSRecord(f"h{n}.example", f"192.0.2.{n}", "A") for n in hosts)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    made = tmp_path / "records.json"
    made.write_text(text(1))
    return made


class NoStore:
    async def commit(self, writes: Sequence[Write]) -> None:
        return


@asynccontextmanager
async def followed(path: Path) -> AsyncIterator[Writer]:
    """The file at work."""
    source = RecordSource(path)
    writer = Writer(replace(tailnet(), extra_records=await source.first()), NoStore(), ManualClock(NOW))
    tasks = [asyncio.create_task(writer.run()), asyncio.create_task(source.run(writer))]
    yield writer
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(BUDGET_S):
        while not holds():  # noqa: ASYNC110 - of what has no event
            await asyncio.sleep(0.01)


async def test_every_way_to_replace_a_file_is_followed(path: Path) -> None:
    """Written in place, renamed over, deleted and made anew; while it is away its records stay."""
    async with followed(path) as writer:
        assert writer.snapshot.extra_records == records(1)
        path.write_text(text(2))
        await until(lambda: writer.snapshot.extra_records == records(2))
        new = path.with_suffix(".new")
        new.write_text(text(3))
        new.rename(path)
        await until(lambda: writer.snapshot.extra_records == records(3))
        path.unlink()
        path.write_text(text(3, 4))
        await until(lambda: writer.snapshot.extra_records == records(3, 4))


async def test_a_file_that_is_gone_or_empty_keeps_its_records(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with followed(path) as writer:
        path.unlink()
        await until(lambda: "stay in force until it is back" in caplog.text)
        path.write_text("")
        await asyncio.sleep(0.1)
        assert writer.snapshot.extra_records == records(1)
        path.write_text("[]")
        await until(lambda: writer.snapshot.extra_records == ())


async def test_a_mistake_keeps_the_records_and_is_told_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With the file, the line and the column, or the entry."""
    async with followed(path) as writer:
        before = writer.snapshot
        path.write_text("[\n oops]")
        await until(lambda: f"{path}:2:2: JSON is malformed" in caplog.text)
        path.write_text('[{"name": "a.example", "value": "b"}]')
        await until(lambda: f"{path}: entry 1 (a.example): expected an IP address" in caplog.text)
        await asyncio.sleep(0.1)
        assert writer.snapshot is before
    assert len([line for line in caplog.records if line.levelno >= logging.WARNING]) == 2


async def test_the_same_records_in_other_words_change_nothing(path: Path) -> None:
    async with followed(path) as writer:
        before = writer.snapshot
        path.write_text(text(1).replace(":", " : "))
        await asyncio.sleep(0.1)
        assert writer.snapshot is before


async def test_the_file_must_be_there_and_right_at_the_start(path: Path) -> None:
    """Nobody would know the names otherwise; an empty file has none yet."""
    path.write_text("\n")
    assert await RecordSource(path).first() == ()
    path.write_text("{")
    with pytest.raises(Malformed, match=r"dns\.extra_records_path: .*records\.json"):
        await RecordSource(path).first()
    path.write_text(" " * (MAX_BYTES + 1))
    with pytest.raises(Malformed, match="too large"):
        await RecordSource(path).first()
    path.unlink()
    with pytest.raises(Unavailable, match=r"dns\.extra_records_path: .*cannot be read"):
        await RecordSource(path).first()
    path.mkdir()
    with pytest.raises(Unavailable, match="is not a file"):
        await RecordSource(path).first()


async def test_without_a_file_the_configured_records_are_all() -> None:
    assert await RecordSource(None, records(1)).first() == records(1)
