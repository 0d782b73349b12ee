"""The two doors to the API: the Unix socket, and the main listener with an API key."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from unittest.mock import Mock

import aiohttp

from harness.servers.inprocess import InProcessServer
from headscale.api.door import PUBLIC
from headscale.api.server import api_routes

# Every route of REST v1 that is not for everybody: method and path. (v2's are in its table.)
ROUTES = [
    (route.method, route.path)
    for route in api_routes(Mock())
    if route.path not in PUBLIC and route.path.startswith("/api/v1/")
]


class Door:
    """Asks the API, v1 if not told otherwise, through one of its doors."""

    def __init__(
        self, session: aiohttp.ClientSession, headers: Mapping[str, str], base: str = "/api/v1/"
    ) -> None:
        self._session = session
        self._headers = headers
        self._base = base

    async def __call__(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any]:
        """The status and the document; `path` is what follows the base."""
        headers = {**self._headers, **more.pop("headers", {})}
        content = {} if "data" in more else {"json": body}
        url = f"{self._base}{path.removeprefix(self._base)}"
        async with self._session.request(method, url, headers=headers, **content, **more) as answer:
            if answer.status != 200:
                is_v1 = self._base == "/api/v1/"
                assert answer.content_type == ("application/problem+json" if is_v1 else "application/json")
            return answer.status, await answer.json(content_type=None)

    @property
    def v2(self) -> "Door":
        """The same door to REST v2."""
        return Door(self._session, self._headers, "/api/v2/")

    def with_headers(self, **headers: str) -> "Door":
        """The same door for somebody else."""
        return Door(self._session, headers, self._base)

    def with_key(self, text: str) -> "Door":
        """The same door with this credential."""
        return self.with_headers(Authorization=f"Bearer {text}")

    async def token(self, secret: str, **asked: str) -> str:
        """The access token of an OAuth client with this secret."""
        form = {"grant_type": "client_credentials", "client_secret": secret, **asked}
        status, document = await self.v2("POST", "oauth/token", data=form)
        assert status == 200, document
        return str(document["access_token"])


@asynccontextmanager
async def doors_of(server: InProcessServer) -> AsyncIterator[tuple[Door, Door]]:
    """The socket, and the main listener without a key."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.UnixConnector(str(server.settings.socket))
        socket = await stack.enter_async_context(
            aiohttp.ClientSession("http://headscale", connector=connector)
        )
        main = await stack.enter_async_context(aiohttp.ClientSession(server.url))
        yield Door(socket, {}), Door(main, {})
