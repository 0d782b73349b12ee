"""Any control server behind the control proxy: clients know the proxy's URL, administrators the server."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from harness.ports import free_port
from harness.proxy.proxy import ControlProxy, start_proxy
from harness.proxy.recording import lines
from harness.servers.base import ControlServer


class ProxiedServer:
    """See ControlServer; what it does not say itself the server behind it says."""

    authority = None

    def __init__(self, server: ControlServer, host: str) -> None:
        self.server = server
        """What it stands for."""
        self._host = host
        self._port = free_port(host)
        self._stack = AsyncExitStack()
        self._proxy: ControlProxy | None = None
        self.url = f"http://{host}:{self._port}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.server, name)

    @property
    def proxy(self) -> ControlProxy:
        """The proxy; there once the server was started."""
        if self._proxy is None:
            raise RuntimeError("the server was not started")
        return self._proxy

    async def start(self) -> None:
        """The proxy stays through restarts of the server."""
        if self._proxy is None:
            ca = (
                ssl.create_default_context(cadata=self.server.authority.decode())
                if self.server.authority
                else None
            )
            self._proxy = await self._stack.enter_async_context(
                start_proxy(self._host, self._port, self.server.url, ca=ca)
            )
        await self.server.start()

    async def close(self) -> None:
        await self._stack.aclose()
        await self.server.close()

    async def evidence(self) -> AsyncIterator[tuple[str, bytes | Path]]:
        async for item in self.server.evidence():
            yield item
        if self._proxy is not None:
            yield "control.jsonl", "".join(f"{line}\n" for line in lines(self._proxy.messages)).encode()
