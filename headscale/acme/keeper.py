"""Keeps a certificate: what is in the cache is served, and renewed before it ends.

The cache is a folder with one file for the name, key and chain in it, as Go's autocert keeps it: who comes from the Go
headscale brings the certificate along. Until there is one a self-signed one is served, which no client takes.
"""

import asyncio
import logging
import random
import tempfile
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from ssl import SSLContext
from typing import Final

from aiohttp import web
from cryptography import x509

from headscale import tls
from headscale.acme.answers import Answers
from headscale.acme.authority import Issued, obtain
from headscale.clock import Clock
from headscale.config.settings import ACMESettings
from headscale.errors import HeadscaleError, Unavailable
from headscale.files import replace_file

CHALLENGES: Final = "/.well-known/acme-challenge/"
# Before its end, or at two thirds of a life that is shorter: authorities begin to issue for a week.
RENEW_BEFORE: Final = timedelta(days=30)
# Between two looks, so that servers that were started together do not ask together.
LOOK_MINUTES: Final = (30, 60)
# After an attempt that failed: authorities count failures by the hour.
RETRY_S: Final = (60.0, 300.0, 900.0, 3600.0)

log = logging.getLogger(__name__)


class Keeper:
    """See the module. `context` serves the newest certificate; `obtained` is set once the authority gave one."""

    def __init__(self, settings: ACMESettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._answers = Answers()
        self._file = settings.cache / settings.hostname
        self.obtained = asyncio.Event()
        if find_spec("acme") is None:
            raise Unavailable(
                "tls_letsencrypt_hostname needs the ACME library: pip install 'headscale[acme]'"
            )
        settings.cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.context = self._first()

    def application(self, server_url: str) -> web.Application:
        """The listener that HTTP-01 needs on port 80: the proofs, and the way to the server for everybody else."""

        async def answer(request: web.Request) -> web.StreamResponse:
            text = self._answers.file(request.path.removeprefix(CHALLENGES))
            if request.path.startswith(CHALLENGES) and text is not None:
                return web.Response(text=text)
            if request.method not in ("GET", "HEAD"):
                return web.Response(status=400, text="use HTTPS\n")
            raise web.HTTPFound(server_url.rstrip("/") + request.path_qs)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        return app

    async def run(self) -> None:
        """Obtain, renew, for ever. One task runs this for the life of the server."""
        failures = 0
        while True:
            if self.due():
                try:
                    await asyncio.to_thread(self._renew)
                    failures = 0
                except HeadscaleError as problem:
                    wait = RETRY_S[min(failures, len(RETRY_S) - 1)] * random.uniform(1.0, 1.2)  # noqa: S311
                    failures += 1
                    log.error("%s; tried again in %d s", problem, wait)
                    await asyncio.sleep(wait)
                    continue
            await asyncio.sleep(random.uniform(*LOOK_MINUTES) * 60)  # noqa: S311

    def due(self) -> bool:
        """Whether there is no certificate, or one that ends soon."""
        certificate = self._kept()
        if certificate is None:
            return True
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return self._clock.now() >= end - min(RENEW_BEFORE, (end - begin) / 3)

    def _renew(self) -> None:
        issued = obtain(self._settings, _Shown(self._answers, self))
        self._keep(issued)
        self.context.load_cert_chain(self._file)
        self.obtained.set()

    def _keep(self, issued: Issued) -> None:
        try:
            replace_file(self._file, issued.key + issued.chain, mode=0o600)
        except OSError as problem:
            raise Unavailable(f"the new certificate cannot be kept in {self._file}: {problem}") from problem

    def _kept(self) -> x509.Certificate | None:
        """The one in the cache, if it is for the name and not over."""
        try:
            certificate = x509.load_pem_x509_certificate(self._file.read_bytes())
        except (OSError, ValueError):
            return None
        over = self._clock.now() >= certificate.not_valid_after_utc
        return None if over or not _is_for(certificate, self._settings.hostname) else certificate

    def _first(self) -> SSLContext:
        if self._kept() is not None:
            self.obtained.set()
            return tls.server_context(certificate_path=self._file, key_path=self._file)
        log.info("no certificate for %s yet: it is asked for now", self._settings.hostname)
        with tempfile.TemporaryDirectory(prefix="hs-acme-") as folder:
            return _placeholder(self._settings.hostname, Path(folder), self._clock.now())

    @property
    def settings(self) -> ACMESettings:
        """What the operator wants."""
        return self._settings


class _Shown:
    """See authority.Shows."""

    def __init__(self, answers: Answers, keeper: Keeper) -> None:
        self._answers = answers
        self._keeper = keeper

    def file(self, token: str, text: str) -> AbstractContextManager[None]:
        return self._answers.serving_file(token, text)

    def certificate(self, text: str) -> AbstractContextManager[None]:
        return self._answers.serving_certificate(self._keeper.context, self._keeper.settings.hostname, text)


def _placeholder(hostname: str, folder: Path, now: datetime) -> SSLContext:
    paths = folder / "placeholder.crt", folder / "placeholder.key"
    tls.save_certificate(
        tls.create_certificate([hostname], now=now), certificate_path=paths[0], key_path=paths[1]
    )
    return tls.server_context(certificate_path=paths[0], key_path=paths[1])


def _is_for(certificate: x509.Certificate, hostname: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return hostname in names.get_values_for_type(x509.DNSName)
