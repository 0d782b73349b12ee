"""Where the DERP map comes from, and what happens when a source fails."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from headscale.clock import ManualClock
from headscale.config.settings import DerpSources
from headscale.derp.fetch import MapCache
from headscale.errors import Malformed, Unavailable
from headscale.records import Write
from headscale.sources import relays as module
from headscale.sources.relays import DerpSource
from headscale.state.derp import set_derp_map
from headscale.state.writer import Writer
from headscale.tailcfg.derpmap import DERPMap, DERPNode, DERPRegion
from tests.builders import NOW, tailnet

URL = "https://maps.example/derp?token=secret"
OTHER = "https://other.example/derp"
BUDGET_S = 5.0


def region(region_id: int, host: str = "relay.example") -> DERPRegion:
    node = DERPNode(name=f"{region_id}a", region_id=region_id, host_name=host)
    return DERPRegion(region_id=region_id, region_code="r", region_name="R", nodes=(node,))


def text(*numbers: int, host: str = "relay.example", gone: Sequence[int] = ()) -> bytes:
    """A map with these regions."""
    node = {"Name": "a", "HostName": host}
    regions: dict[int, object] = {
        n: {"RegionID": n, "RegionCode": "r", "RegionName": "R", "Nodes": [node]} for n in numbers
    }
    return json.dumps({"Regions": regions | dict.fromkeys(gone)}).encode()


class Web:
    """What URLs answer; None and what is not there: nothing."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes | None] = {}
        self.asked: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        found = self.texts.get(url)
        if found is None:
            raise Unavailable("no route to host")
        return found


@pytest.fixture
def web() -> Web:
    return Web()


Make = Callable[..., DerpSource]


@pytest.fixture
def make(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Sources with one data directory, that are quick to look and to try again."""
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "RETRY_MIN_S", 0.02)

    def made(*, embedded: DERPRegion | None = None, **sources: object) -> DerpSource:
        return DerpSource(
            DerpSources(**sources),  # type: ignore[arg-type]
            embedded=embedded,
            tailnet="ts.example",
            cache=MapCache(tmp_path / "maps"),
            fetch=web.fetch,
        )

    return made


class NoStore:
    async def commit(self, writes: Sequence[Write]) -> None:
        return


@asynccontextmanager
async def followed(source: DerpSource) -> AsyncIterator[Writer]:
    """The sources at work."""
    snapshot = set_derp_map(tailnet(), None, derp_map=await source.first()).snapshot  # type: ignore[arg-type]
    writer = Writer(snapshot, NoStore(), ManualClock(NOW))
    tasks = [asyncio.create_task(writer.run()), asyncio.create_task(source.run(writer))]
    yield writer
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(BUDGET_S):
        while not holds():  # noqa: ASYNC110 - of what has no event
            await asyncio.sleep(0.01)


def ids(derp_map: DERPMap) -> list[int]:
    return list(derp_map.regions)


async def test_urls_then_files_then_our_own_relay(make: Make, web: Web, tmp_path: Path) -> None:
    """By region id the later source wins, and null removes what an earlier one has."""
    web.texts = {URL: text(1, 2, 3, 4, host="url"), OTHER: text(2, host="other")}
    first, second = tmp_path / "a.yaml", tmp_path / "b.json"
    first.write_bytes(text(3, host="first", gone=[4]))
    second.write_bytes(text(3, 999, host="second"))
    source = make(urls=(URL, OTHER), paths=(first, second), embedded=region(999, "ours"))
    async with followed(source) as writer:
        await until(lambda: ids(writer.snapshot.derp_map) == [1, 2, 3, 999])
        regions = writer.snapshot.derp_map.regions.values()
        await until(lambda: [r.nodes[0].host_name for r in regions] == ["url", "other", "second", "ours"])


async def test_a_server_with_a_region_does_not_wait_for_urls(make: Make, web: Web) -> None:
    """What is fetched comes as a change."""
    source = make(urls=(URL,), embedded=region(999))
    assert ids(await source.first()) == [999]
    assert web.asked == []
    web.texts[URL] = text(1)
    async with followed(source) as writer:
        await until(lambda: ids(writer.snapshot.derp_map) == [1, 999])


async def test_a_failed_url_is_tried_again(make: Make, web: Web, caplog: pytest.LogCaptureFixture) -> None:
    """With a line that says what to do, and shows nothing secret."""
    async with followed(make(urls=(URL,), embedded=region(999))) as writer:
        await until(lambda: len(web.asked) > 2)
        web.texts[URL] = text(1)
        await until(lambda: ids(writer.snapshot.derp_map) == [1, 999])
    assert "https://maps.example/derp: no route to host. Next try in" in caplog.text
    assert "secret" not in caplog.text


async def test_the_last_map_survives_a_restart_without_a_network(make: Make, web: Web) -> None:
    """The copy in the data directory is used at once and followed later."""
    web.texts[URL] = text(1, 2)
    assert ids(await make(urls=(URL,)).first()) == [1, 2]
    web.texts[URL] = None
    async with followed(make(urls=(URL,))) as writer:
        assert ids(writer.snapshot.derp_map) == [1, 2]
        web.texts[URL] = text(3)
        await until(lambda: ids(writer.snapshot.derp_map) == [3])


async def test_a_copy_is_its_urls_only(make: Make, web: Web) -> None:
    """Another URL in the configuration starts from nothing."""
    web.texts[URL] = text(1)
    await make(urls=(URL,)).first()
    with pytest.raises(Unavailable, match="no DERP relay is known"):
        await make(urls=(OTHER,)).first()


async def test_a_spoilt_copy_is_not_used(make: Make, web: Web, tmp_path: Path) -> None:
    web.texts[URL] = text(1)
    await make(urls=(URL,)).first()
    [copy] = (tmp_path / "maps").iterdir()
    copy.write_bytes(b"{")
    web.texts[URL] = text(2)
    assert ids(await make(urls=(URL,)).first()) == [2]


async def test_without_any_region_the_server_does_not_start(make: Make, web: Web) -> None:
    """The message says why, and what would help."""
    with pytest.raises(Unavailable, match=r"other.example/derp: no route to host.*derp.server.enabled"):
        await make(urls=(OTHER,)).first()
    web.texts[OTHER] = text()
    with pytest.raises(Malformed, match=r"set derp.server.enabled"):
        await make(urls=(OTHER,)).first()
    with pytest.raises(Malformed, match=r"set derp.server.enabled"):
        await make().first()


async def test_one_of_two_urls_is_enough(make: Make, web: Web) -> None:
    web.texts[OTHER] = text(1)
    assert ids(await make(urls=(URL, OTHER)).first()) == [1]


async def test_urls_are_fetched_again(make: Make, web: Web) -> None:
    """As often as `update_frequency` says; what is the same changes nothing."""
    web.texts[URL] = text(1)
    async with followed(make(urls=(URL,), frequency=timedelta(milliseconds=20))) as writer:
        before = writer.snapshot
        await until(lambda: len(web.asked) > 3)
        assert writer.snapshot is before
        web.texts[URL] = text(1, 2)
        await until(lambda: ids(writer.snapshot.derp_map) == [1, 2])


async def test_without_updates_a_url_is_fetched_once(make: Make, web: Web, tmp_path: Path) -> None:
    web.texts[URL] = text(1)
    path = tmp_path / "map.yaml"
    path.write_bytes(text(2))
    async with followed(make(urls=(URL,), paths=(path,))) as writer:
        await until(lambda: ids(writer.snapshot.derp_map) == [1, 2])
        web.texts[URL] = text(3)
        path.write_bytes(text(4))
        await until(lambda: ids(writer.snapshot.derp_map) == [1, 4])
    assert web.asked == [URL]


@pytest.mark.parametrize("bad", [b"{", b"", text(), b"x" * (4 * 1024 * 1024 + 1)])
async def test_a_bad_answer_keeps_the_map(
    make: Make, web: Web, caplog: pytest.LogCaptureFixture, bad: bytes
) -> None:
    """Also one that would leave clients without any relay."""
    web.texts[URL] = text(1)
    async with followed(make(urls=(URL,), frequency=timedelta(milliseconds=20))) as writer:
        web.texts[URL] = bad
        count = len(web.asked)
        await until(lambda: len(web.asked) > count + 1)
        assert ids(writer.snapshot.derp_map) == [1]
    assert "stays in force" in caplog.text


async def test_a_changed_file_is_noticed_and_a_broken_one_keeps_the_map(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(
        "regions:\n  7:\n    regioncode: r\n    regionname: R\n    nodes: [{name: a, hostname: h}]\n"
    )
    async with followed(make(paths=(path,))) as writer:
        path.write_text("regions:\n  8: [\n")
        await until(lambda: f"{path}: not a DERP map" in caplog.text)
        path.unlink()
        await until(lambda: f"{path} cannot be read" in caplog.text)
        assert ids(writer.snapshot.derp_map) == [7]
        path.write_bytes(text(8))
        await until(lambda: ids(writer.snapshot.derp_map) == [8])


@pytest.mark.parametrize("content", [b"regions: [", b"\xff", None])
async def test_a_broken_file_at_the_start_is_refused(
    make: Make, tmp_path: Path, content: bytes | None
) -> None:
    """It is in the hands of who starts the server, even with a relay of our own."""
    path = tmp_path / "map.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((Malformed, Unavailable), match=r"derp.paths: .*map.yaml"):
        await make(paths=(path,), embedded=region(999)).first()


async def test_a_copy_that_cannot_be_kept_is_no_failure(
    make: Make, web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "maps").write_text("in the way")
    web.texts[URL] = text(1)
    with caplog.at_level(logging.WARNING):
        assert ids(await make(urls=(URL,)).first()) == [1]
    assert "no copy of the DERP map" in caplog.text
