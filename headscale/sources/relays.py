"""Where the DERP map comes from: URLs, files, and the relay inside this server.

Later sources win: URLs, then files, each in the operator's order, then the embedded region. A source that fails keeps
what it said last; a URL also after a restart, by the copy in the data directory. A server with any region at all starts
at once and never waits for a URL: what is fetched later reaches the clients as a change.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

from headscale.config.settings import DerpSources
from headscale.derp.fetch import MapCache, fetch, shown
from headscale.derp.regions import MAX_SOURCE_BYTES, Regions, merge, parse, parse_json, spread
from headscale.errors import HeadscaleError, Malformed, Unavailable
from headscale.sources.watchedfile import POLL_S, Unreadable, WatchedFile
from headscale.state.derp import set_derp_map
from headscale.state.writer import Writer
from headscale.tailcfg.derpmap import DERPMap, DERPRegion

log = logging.getLogger(__name__)

# After a failure: the first pause, doubled each time up to the last, or up to the usual frequency if that is less.
RETRY_MIN_S: Final = 10.0
RETRY_MAX_S: Final = 900.0

Fetch = Callable[[str], Awaitable[bytes]]


class DerpSource:
    """Makes the map that a server starts with, and keeps it up to date.

    `tailnet` is what a region's relays are ordered by (`regions.spread`).
    """

    def __init__(
        self,
        sources: DerpSources,
        *,
        embedded: DERPRegion | None,
        tailnet: str,
        cache: MapCache,
        fetch: Fetch = fetch,
    ) -> None:
        self._sources = sources
        self._embedded = embedded
        self._tailnet = tailnet
        self._cache = cache
        self._fetch = fetch
        self._files = [WatchedFile(path, max_bytes=MAX_SOURCE_BYTES) for path in sources.paths]
        self._of_file: dict[Path, Regions] = {}
        self._of_url: dict[str, Regions] = {}
        self._copies: dict[str, bytes] = {}
        self._fetched: set[str] = set()
        self._replaced = asyncio.Event()

    async def first(self) -> DERPMap:
        """The map to start with. Raises Unavailable or Malformed: for a file with a mistake, or without any region."""
        for file in self._files:
            self._of_file[file.path] = await asyncio.to_thread(read_map, file)
        for url in self._sources.urls:
            await asyncio.to_thread(self._recall, url)
        if not self._merged().regions:
            await self._fetch_at_start()
        found = self._merged()
        if not found.regions:
            raise Malformed(
                "no DERP relay is configured, and clients cannot work without one: "
                "set derp.server.enabled, or name a map with regions in derp.urls or derp.paths"
            )
        return found

    async def run(self, writer: Writer) -> None:
        """Follow the sources for ever. One task runs this for the life of the server."""
        while True:
            self._replaced.clear()
            async with asyncio.TaskGroup() as tasks:
                following = [tasks.create_task(self._watch_files(writer))]
                following += [tasks.create_task(self._follow(url, writer)) for url in self._sources.urls]
                await self._replaced.wait()
                for task in following:
                    task.cancel()

    async def use(self, sources: DerpSources, writer: Writer) -> None:
        """From now on these sources; what those that stay said last is kept, and new URLs are fetched in time.

        Raises Unavailable or Malformed for a file that cannot be used or a map without any region; then nothing
        changes.
        """
        files = [WatchedFile(path, max_bytes=MAX_SOURCE_BYTES) for path in sources.paths]
        of_file = {file.path: await asyncio.to_thread(read_map, file) for file in files}
        before = (self._sources, self._files, self._of_file)
        self._sources, self._files, self._of_file = sources, files, of_file
        for url in set(sources.urls) - self._of_url.keys():
            await asyncio.to_thread(self._recall, url)
        if not self._merged().regions:
            await asyncio.gather(*map(self._fetch_now, sources.urls))
        derp_map = self._merged()
        if not derp_map.regions:
            self._sources, self._files, self._of_file = before
            raise Malformed("derp: no relay would be left, and clients cannot work without one")
        await writer.apply(partial(set_derp_map, derp_map=derp_map))
        self._replaced.set()

    # ---- files

    async def _watch_files(self, writer: Writer) -> None:
        while self._files:
            await asyncio.sleep(POLL_S)
            for file in self._files:
                found = await asyncio.to_thread(file.look, time.time_ns())
                if found is not None:
                    await self._take_file(file.path, found, writer)

    async def _take_file(self, path: Path, found: bytes | Unreadable, writer: Writer) -> None:
        try:
            if isinstance(found, Unreadable):
                raise Unavailable(found.reason)
            regions = await asyncio.to_thread(parse, found)
        except HeadscaleError as problem:
            log.error(
                "DERP map not taken, what it said before stays in force: %s. Mend the file; it is read "
                "again when it changes",
                _in(path, problem),
            )
            return
        self._of_file[path] = regions
        await self._publish(writer, str(path))

    # ---- URLs

    def _recall(self, url: str) -> None:
        copy = self._cache.load(url)
        if copy is None:
            return
        try:
            self._of_url[url] = parse_json(copy)
            self._copies[url] = copy
        except Malformed as problem:
            log.warning("the copy of the DERP map at %s cannot be used: %s", shown(url), problem)

    async def _fetch_at_start(self) -> None:
        """Nothing else has a region: now the URLs are waited for."""
        problems = await asyncio.gather(*map(self._fetch_now, self._sources.urls))
        reasons = [problem for problem in problems if problem]
        if reasons and not self._merged().regions:
            raise Unavailable(
                "no DERP relay is known, and clients cannot work without one: "
                + "; ".join(reasons)
                + ". See to it that this machine reaches the URL, name a map in derp.paths, or set "
                "derp.server.enabled"
            )

    async def _fetch_now(self, url: str) -> str | None:
        """Fetch and keep; what is wrong, in words."""
        try:
            text = await self._fetch(url)
            self._of_url[url] = parse_json(text)
        except HeadscaleError as problem:
            return f"{shown(url)}: {problem}"
        self._fetched.add(url)
        if text != self._copies.get(url):
            self._copies[url] = text
            try:
                await asyncio.to_thread(self._cache.store, url, text)
            except OSError as problem:
                log.warning("no copy of the DERP map at %s is kept: %s", shown(url), problem)
        return None

    async def _follow(self, url: str, writer: Writer) -> None:
        """Fetch at once, unless that was done, and then as often as the operator wants; sooner after a failure."""
        frequency = self._sources.frequency
        usual_s = frequency.total_seconds() if frequency is not None else None
        retry_s = RETRY_MIN_S
        is_due = url not in self._fetched
        while True:
            if is_due:
                problem = await self._fetch_now(url)
                if problem is not None:
                    pause = min(retry_s, usual_s or RETRY_MAX_S) * random.uniform(0.8, 1.2)  # noqa: S311
                    retry_s = min(2 * retry_s, RETRY_MAX_S)
                    _tell_of_failure(problem, pause, is_known=url in self._of_url)
                    await asyncio.sleep(pause)
                    continue
                retry_s = RETRY_MIN_S
                await self._publish(writer, shown(url))
            if usual_s is None:
                return
            await asyncio.sleep(usual_s)
            is_due = True

    # ---- both

    def _merged(self) -> DERPMap:
        sources = [self._of_url.get(url, {}) for url in self._sources.urls]
        sources += [self._of_file.get(path, {}) for path in self._sources.paths]
        return spread(merge(sources, embedded=self._embedded), tailnet=self._tailnet)

    async def _publish(self, writer: Writer, what: str) -> None:
        """The map as it is now takes effect, but for one without regions, which would leave clients without relays."""
        derp_map = self._merged()
        if not derp_map.regions:
            log.error(
                "%s leaves no DERP region, the map before it stays in force: name one that has some", what
            )
            return
        try:
            changed = await writer.apply(partial(set_derp_map, derp_map=derp_map))
        except Unavailable as problem:  # going down
            log.warning("DERP map of %s put off: %s", what, problem)
            return
        if changed:
            log.info("DERP map changed source=%s regions=%d", what, len(derp_map.regions))


def read_map(file: WatchedFile) -> Regions:
    """The map in a file now; raises Unavailable or Malformed, naming key and file."""
    try:
        return parse(file.read())
    except Malformed as problem:
        raise Malformed(f"derp.paths: {_in(file.path, problem)}") from None
    except Unavailable as problem:
        raise Unavailable(f"derp.paths: {problem}") from problem


def _tell_of_failure(problem: str, pause: float, *, is_known: bool) -> None:
    stays = "what it said last stays in force" if is_known else "the map goes without it"
    log.warning(
        "DERP map not fetched, %s: %s. Next try in %.0f s; if this lasts, see to it that this machine reaches the "
        "URL, or take it out of derp.urls",
        stays,
        problem,
        pause,
    )


def _in(path: Path, problem: HeadscaleError) -> str:
    text = str(problem)
    return text if str(path) in text else f"{path}: {text}"
