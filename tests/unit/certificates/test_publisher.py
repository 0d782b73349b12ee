"""Publishing records, and taking them away at their time whatever happens in between."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from headscale.certificates.publisher import FILE, Publisher, PublishFailed
from headscale.certificates.records import RETRY_FIRST, load
from headscale.clock import ManualClock
from headscale.errors import Unavailable
from tests.builders import NOW

BUDGET_S = 5.0
LIFETIME = timedelta(hours=1)


class Zone:
    """A nameserver in memory; `broken` fails, `stuck` never answers."""

    def __init__(self) -> None:
        self.records: set[tuple[str, str]] = set()
        self.broken = False
        self.stuck = False
        self.at_once = self.most_at_once = 0

    async def add(self, name: str, value: str) -> None:
        await self._answer()
        self.records.add((name, value))

    async def remove(self, name: str, value: str) -> None:
        await self._answer()
        self.records.discard((name, value))

    async def _answer(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(BUDGET_S * 2 if self.stuck else 0)
        finally:
            self.at_once -= 1
        if self.broken:
            raise PublishFailed("nameserver 192.0.2.53 answered REFUSED")


@asynccontextmanager
async def running(
    zone: Zone,
    folder: Path,
    clock: ManualClock,
    *,
    timeout: timedelta = timedelta(seconds=5),  # noqa: ASYNC109
) -> AsyncIterator[Publisher]:
    publisher = Publisher(zone, folder, clock, timeout=timeout, lifetime=LIFETIME)
    await publisher.start()
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_empty(zone: Zone) -> None:
    async with asyncio.timeout(BUDGET_S):
        while zone.records:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_values_of_one_name_stand_beside_each_other_until_their_time(tmp_path: Path) -> None:
    zone, clock = Zone(), ManualClock(NOW)
    async with running(zone, tmp_path, clock) as publisher:
        await publisher.publish("n", "1")
        clock.advance(LIFETIME / 2)
        await publisher.publish("n", "2")
        assert zone.records == {("n", "1"), ("n", "2")}
        clock.advance(LIFETIME / 2)
        await publisher.publish("m", "3")  # wakes it
        async with asyncio.timeout(BUDGET_S):
            while ("n", "1") in zone.records:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert zone.records == {("n", "2"), ("m", "3")}


async def test_a_restart_forgets_none(tmp_path: Path) -> None:
    """What was due meanwhile goes at once, the rest at its time."""
    zone, clock = Zone(), ManualClock(NOW)
    async with running(zone, tmp_path, clock) as publisher:
        await publisher.publish("n", "1")
        clock.advance(LIFETIME / 2)
        await publisher.publish("n", "2")
    clock.advance(LIFETIME / 2)
    async with running(zone, tmp_path, clock):
        async with asyncio.timeout(BUDGET_S):
            while len(load(tmp_path / FILE)) != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert zone.records == {("n", "2")}


async def test_what_fails_is_told_without_the_reason_and_logged_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The value is in neither; the record is written down, because it may be out all the same."""
    zone = Zone()
    zone.broken = True
    async with running(zone, tmp_path, ManualClock(NOW)) as publisher:
        with caplog.at_level(logging.INFO), pytest.raises(Unavailable, match="administrator") as told:
            await publisher.publish("n", "the-value")
    assert len(str(told.value)) <= 140  # clients show 200 bytes with the status
    assert "REFUSED" in caplog.text
    assert "the-value" not in caplog.text + str(told.value)
    assert [r.value for r in load(tmp_path / FILE)] == ["the-value"]


async def test_a_removal_that_fails_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    zone, clock = Zone(), ManualClock(NOW)
    async with running(zone, tmp_path, clock) as publisher:
        await publisher.publish("n", "1")
        zone.broken = True
    clock.advance(LIFETIME)
    async with running(zone, tmp_path, clock):
        async with asyncio.timeout(BUDGET_S):
            while not load(tmp_path / FILE)[0].attempts:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert zone.records == {("n", "1")}
        assert "tried again later" in caplog.text
        zone.broken = False
    clock.advance(RETRY_FIRST)
    async with running(zone, tmp_path, clock):
        await until_empty(zone)


async def test_a_nameserver_that_hangs_holds_nobody_for_longer_than_the_timeout(tmp_path: Path) -> None:
    """Not those who wait for their turn either."""
    zone = Zone()
    zone.stuck = True
    async with running(zone, tmp_path, ManualClock(NOW), timeout=timedelta(seconds=1)) as publisher:
        async with asyncio.timeout(BUDGET_S):
            asked = [publisher.publish("n", str(number)) for number in range(12)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) and "too long" in str(answer) for answer in answers)
    assert zone.most_at_once == 4


async def test_a_broken_file_is_logged_and_the_server_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_text("{")
    zone = Zone()
    async with running(zone, tmp_path, ManualClock(NOW)) as publisher:
        assert FILE in caplog.text
        await publisher.publish("n", "1")
    assert zone.records == {("n", "1")}
