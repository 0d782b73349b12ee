"""A running tailscaled over its Unix socket: the LocalAPI paths that the harness reads, and the stream of its
notifications.

Source for paths, parameters and masks: tailscale 1.80.3 and 1.102.4, ipn/localapi and ipn/backend.go. A mask
bit that a release does not know is ignored by it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from harness.errors import NotAnswering

HOST = "http://local-tailscaled.sock"
"""tailscaled refuses any other Host header, so that no web page can talk to it."""

CALL_SECONDS = 10.0
"""One answer from a daemon on the same machine."""

MAX_LINE_BYTES = 32 * 1024 * 1024
"""One notification; the longest carries the netmap of a large tailnet."""

ENGINE_UPDATES = 1 << 0
INITIAL_STATE = 1 << 1
INITIAL_PREFS = 1 << 2
INITIAL_NETMAP = 1 << 3
NO_PRIVATE_KEYS = 1 << 4
INITIAL_HEALTH = 1 << 7
PEER_CHANGES = 1 << 12
"""From about 1.100 on, changes of peers come only to watchers that ask for them."""
PEER_PATCHES = 1 << 15

EVERY_CHANGE = ENGINE_UPDATES | INITIAL_STATE | INITIAL_HEALTH | NO_PRIVATE_KEYS | PEER_CHANGES | PEER_PATCHES
"""With the engine's updates, as the graphical clients ask for them: the daemon then looks at its engine every two
seconds. Without them one may miss that its relay is connected, and stay in Starting (1.92.5, docs/protocol.md)."""

Notification = dict[str, Any]


class LocalAPI:
    """One daemon's socket. Holds a connection pool; `close` ends it."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """GET a JSON answer. Raises NotAnswering when the daemon is not there or answers with an error."""
        return await self._json("GET", path, params)

    async def post(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """POST without a body for a JSON answer, as `get` otherwise."""
        return await self._json("POST", path, params)

    async def watch(self, mask: int) -> AsyncIterator[Notification]:
        """The notification stream, until the daemon ends it. Raises NotAnswering when it cannot begin."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CALL_SECONDS)
        url = f"{HOST}/localapi/v0/watch-ipn-bus"
        try:
            async with self._open().get(url, params={"mask": str(mask)}, timeout=timeout) as response:
                await _check(response)
                while line := await response.content.readline():
                    yield json.loads(line)
        except (aiohttp.ClientError, OSError) as error:
            raise NotAnswering(f"no notifications from {self._socket}: {error!r}") from error

    async def netmap(self) -> dict[str, Any]:
        """The whole netmap as the client holds it (types/netmap, Go's JSON). Raises NotAnswering without one."""
        stream = self.watch(INITIAL_NETMAP | NO_PRIVATE_KEYS)
        try:
            async for notification in stream:
                if netmap := notification.get("NetMap"):
                    return dict(netmap)
                break  # it comes with the first notification or not at all
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        raise NotAnswering(f"{self._socket}: the client has no netmap")

    async def close(self) -> None:
        """End the pool; a later call opens another."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.UnixConnector(str(self._socket))
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=MAX_LINE_BYTES)
        return self._session

    async def _json(self, method: str, path: str, params: Mapping[str, str] | None) -> Any:
        url = f"{HOST}/localapi/v0/{path}"
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        try:
            async with self._open().request(method, url, params=params, timeout=timeout) as response:
                await _check(response)
                return json.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise NotAnswering(f"{path} at {self._socket}: {error!r}") from error


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        text = (await response.text()).strip()
        raise NotAnswering(f"{response.url.path}: status {response.status}: {text}")
