"""Extra DNS records from a file of the operator's, followed while the server runs (`dns.extra_records_path`).

A file that is gone, empty or wrong keeps the records that it had last: whoever replaces it step by step must not take
names away from everybody in between.
"""

import asyncio
import logging
import time
from functools import partial
from pathlib import Path

from headscale.errors import Malformed, Unavailable
from headscale.sources.extrarecords import MAX_BYTES, parse_records
from headscale.sources.watchedfile import POLL_S, Unreadable, WatchedFile
from headscale.state.dns import set_extra_records
from headscale.state.writer import Writer
from headscale.tailcfg.dns import DNSRecord

log = logging.getLogger(__name__)


class RecordSource:
    """The records that a server starts with, and those that follow. Without a file, `static` is all there is."""

    def __init__(self, path: Path | None, static: tuple[DNSRecord, ...] = ()) -> None:
        self._file = _watched(path)
        self._static = static

    async def first(self) -> tuple[DNSRecord, ...]:
        """What to start with. Raises Unavailable without the file, Malformed for one with a mistake."""
        if self._file is None:
            return self._static
        return await asyncio.to_thread(read_records, self._file)

    async def run(self, writer: Writer) -> None:
        """Follow the file for ever. One task runs this for the life of the server."""
        while True:
            await asyncio.sleep(POLL_S)
            file = self._file
            found = await asyncio.to_thread(file.look, time.time_ns()) if file is not None else None
            if file is not None and file is self._file and found is not None:
                await self._take(file.path, found, writer)

    async def use(self, path: Path | None, static: tuple[DNSRecord, ...], writer: Writer) -> None:
        """From now on these records, or those of this file. Raises as `first` does; then nothing changes."""
        file = self._file if self._file is not None and self._file.path == path else _watched(path)
        records = await asyncio.to_thread(read_records, file) if file is not None else static
        await writer.apply(partial(set_extra_records, records=records))
        self._file, self._static = file, static

    async def _take(self, path: Path, found: bytes | Unreadable, writer: Writer) -> None:
        if isinstance(found, Unreadable):
            log.warning("%s; the extra records that it had stay in force until it is back", found.reason)
            return
        if not found.strip():
            return  # about to be written, or truncated by mistake; [] is how to have none
        try:
            records = await asyncio.to_thread(parse_records, found)
            changed = await writer.apply(partial(set_extra_records, records=records))
        except (Malformed, Unavailable) as problem:
            log.error("extra records not taken, those before stay in force: %s", _in(path, str(problem)))
            return
        if changed:
            log.info("extra records changed file=%s records=%d", path, len(records))


def _watched(path: Path | None) -> WatchedFile | None:
    return WatchedFile(path, max_bytes=MAX_BYTES) if path is not None else None


def read_records(file: WatchedFile) -> tuple[DNSRecord, ...]:
    """The records in the file now, none in an empty one; raises Unavailable or Malformed, naming key and file."""
    try:
        text = file.read()
        return parse_records(text) if text.strip() else ()
    except Malformed as problem:
        raise Malformed(f"dns.extra_records_path: {_in(file.path, str(problem))}") from None
    except Unavailable as problem:
        raise Unavailable(f"dns.extra_records_path: {problem}") from problem


def _in(path: Path, problem: str) -> str:
    """The complaint with its file, as compilers write it."""
    if str(path) in problem:
        return problem
    return f"{path}:{problem}" if problem[:1].isdigit() else f"{path}: {problem}"
