"""Publishes nodes' records and takes them away again.

What is published is written down first: whatever happens in between, the record goes at its time, after a restart too.
"""

import asyncio
import contextlib
import logging
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from headscale.certificates.records import Published, Records, due, later, load, store, with_record, without
from headscale.clock import Clock
from headscale.errors import Malformed, Unavailable

log = logging.getLogger(__name__)

FILE: Final = "acme-challenges.json"
# So many nodes at once; more wait for as long as one may take.
AT_ONCE_MAX: Final = 4
# Between two looks at the clock, which may be set meanwhile.
LOOK_S: Final = 60.0


class PublishFailed(Exception):
    """The record is not published, or may not be; the text is for the operator's log."""


class Nameserver(Protocol):
    """Where records are published. Whoever calls bounds the time by cancelling."""

    async def add(self, name: str, value: str) -> None:
        """Add a TXT value beside those that the name has. Raises PublishFailed."""

    async def remove(self, name: str, value: str) -> None:
        """Remove that value alone. Raises PublishFailed; what is gone already is no failure."""


class Publisher:
    """See the module. `timeout` and `lifetime` are `config.Certificates`'."""

    def __init__(
        self, nameserver: Nameserver, folder: Path, clock: Clock, *, timeout: timedelta, lifetime: timedelta
    ) -> None:
        self._nameserver = nameserver
        self._path = folder / FILE
        self._clock = clock
        self._timeout_s = timeout.total_seconds()
        self._lifetime = lifetime
        self._records: Records = ()
        self._removing: Published | None = None
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)
        self._writing = asyncio.Lock()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Take up the records of an earlier run."""
        try:
            self._records = await asyncio.to_thread(load, self._path)
        except (Malformed, Unavailable) as problem:
            log.error("records of certificates that are still in the DNS are not known: %s", problem)

    async def publish(self, name: str, value: str) -> None:
        """Publish one, for its lifetime. Raises Unavailable with what a node's user may be told."""
        record = Published(name, value, self._clock.now() + self._lifetime)
        if self._removing is not None and self._removing.is_same(record):
            raise Unavailable("this record is being removed just now: try again")
        try:
            async with asyncio.timeout(self._timeout_s), self._turns:
                await self._keep(with_record(self._records, record))
                await self._nameserver.add(name, value)
        except TimeoutError:
            log.error("record not published name=%s: not within %g s", name, self._timeout_s)
            raise Unavailable(
                "publishing the DNS record took too long: try again, or ask an administrator"
            ) from None
        except (PublishFailed, OSError) as problem:
            log.error("record not published name=%s: %s", name, problem)
            raise Unavailable(
                "the DNS record for the certificate could not be published: an administrator finds why in the "
                "control server's log"
            ) from problem

    async def run(self) -> None:
        """Remove what is due, for ever. One task runs this for the life of the server."""
        while True:
            self._changed.clear()
            record = due(self._records, self._clock.now())
            if record is not None:
                await self._remove(record)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._wait_s())

    def _wait_s(self) -> float:
        first = min((record.until for record in self._records), default=None)
        left = (first - self._clock.now()).total_seconds() if first is not None else LOOK_S
        return min(max(left, 0.0), LOOK_S)

    async def _remove(self, record: Published) -> None:
        self._removing = record
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._nameserver.remove(record.name, record.value)
            left = without(self._records, record)
        except (PublishFailed, TimeoutError) as problem:
            again = later(record, self._clock.now())
            what = "it is tried again later" if again else "it stays: remove it by hand"
            log.warning("record not removed name=%s, %s: %s", record.name, what, problem or "took too long")
            rest = without(self._records, record)
            left = with_record(rest, again) if again else rest
        finally:
            self._removing = None
        try:
            await self._keep(left)
        except OSError as problem:
            log.error("%s cannot be written: %s", self._path, problem)

    async def _keep(self, records: Records) -> None:
        """These are what is out, in memory at once and then on disk. Raises OSError."""
        self._records = records
        self._changed.set()
        async with self._writing:  # the last to write has written the newest
            await asyncio.to_thread(store, self._path, self._records)
