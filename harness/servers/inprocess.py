"""Our server inside the test process: the real application on real sockets, and its state to look at."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

from harness.errors import Unsupported
from harness.servers.local import LocalSettings, remove_data
from harness.servers.rest import RestAdmin
from headscale.app import App, running
from headscale.config.file import load_config
from headscale.config.settings import Config


class InProcessServer(RestAdmin):
    """See ControlServer. `app` is the running application, for tests that look inside."""

    name = "inprocess"

    def __init__(self, settings: LocalSettings, *, grace: timedelta = timedelta(seconds=2)) -> None:
        super().__init__(settings.socket)
        self.settings = settings
        self.url = settings.url
        self.folder = settings.data
        self.authority = settings.authority
        self._grace = grace
        self._stack: AsyncExitStack | None = None
        self._app: App | None = None
        self._log = _LogKeeper()

    @property
    def app(self) -> App:
        """The running application."""
        if self._app is None:
            raise Unsupported("the server is not running")
        return self._app

    async def start(self) -> None:
        logger = logging.getLogger("headscale")
        logger.addHandler(self._log)
        logger.setLevel(logging.INFO)
        self._stack = AsyncExitStack()
        self._app = await self._stack.enter_async_context(
            running(config_of(self.settings), grace_s=self._grace.total_seconds())
        )

    async def stop(self) -> None:
        stack, self._stack, self._app = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    async def kill(self) -> None:
        raise Unsupported("a server inside the test process cannot be killed: use --server=process")

    async def close(self) -> None:
        await self.stop()
        logging.getLogger("headscale").removeHandler(self._log)
        await asyncio.to_thread(remove_data, self.settings)

    async def evidence(self) -> AsyncIterator[tuple[str, bytes | Path]]:
        yield "server.log", "\n".join(self._log.lines).encode()
        if not self.settings.elsewhere:
            yield "db.sqlite", self.settings.database
        if self._app is not None:
            yield "nodes.json", json.dumps([asdict(node) for node in await self.nodes()], indent=1).encode()


def config_of(settings: LocalSettings) -> Config:
    """The configuration that these settings stand for, read as an operator's.

    Only here may ephemeral nodes go sooner than operators may want them to.
    """
    file = (
        settings.file if settings.configuration.keys else Path(os.devnull)
    )  # not one that lies on this machine
    config = load_config(file, settings.variables)
    tailnet = replace(config.tailnet, ephemeral_timeout=settings.ephemeral_timeout)
    return replace(config, source=None, tailnet=tailnet)


class _LogKeeper(logging.Handler):
    """Keeps the server's log lines for the evidence."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))
