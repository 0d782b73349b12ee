"""The operator's certificate, followed while the server runs (`tls_cert_path`, `tls_key_path`).

Whoever renews it replaces two files, one after the other. The pair is taken when both have stood still and belong
together; until then, and for a pair that is wrong, the former one is served. Connections that are open go on.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509

from headscale.errors import Unavailable
from headscale.sources.watchedfile import POLL_S, Unreadable, WatchedFile
from headscale.tls import server_context

log = logging.getLogger(__name__)

# A chain of four certificates has 8 KB.
MAX_BYTES = 1024 * 1024


class CertificateSource:
    """`context` serves the pair that was taken last. Raises Unavailable for files that cannot be served at first."""

    def __init__(self, *, certificate_path: Path, key_path: Path) -> None:
        self._certificate = certificate_path
        self._key = key_path
        self._files = [WatchedFile(path, max_bytes=MAX_BYTES) for path in (certificate_path, key_path)]
        self.context = server_context(certificate_path=certificate_path, key_path=key_path)
        for file in self._files:
            file.read()

    async def run(self) -> None:
        """Follow the files for ever. One task runs this for the life of the server."""
        changed = False
        while True:
            await asyncio.sleep(POLL_S)
            found = await asyncio.to_thread(self._look)
            if any(each is not None for each in found):
                changed = True  # the other one may be about to follow
            elif changed:
                changed = False
                await self._take()

    def _look(self) -> Sequence[bytes | Unreadable | None]:
        return [file.look(time.time_ns()) for file in self._files]

    async def _take(self) -> None:
        try:
            # First where nobody is served: a pair that does not belong together would spoil the context. Then between
            # two steps of the loop, and so of every handshake: one that has the new chain and the old key is reset.
            await asyncio.to_thread(server_context, certificate_path=self._certificate, key_path=self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except (Unavailable, ssl.SSLError, OSError) as problem:
            log.error("the certificate is not taken, the one before is still served: %s", problem)
            return
        log.info("certificate taken file=%s ends=%s", self._certificate, _end_of(self._certificate))


def _end_of(path: Path) -> datetime | str:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):  # replaced again meanwhile
        return "unknown"
