"""What clients take for a control server: its key, and a listener with its routes."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

from headscale.keys import ZERO_MACHINE_KEY, PrivateKey, machine_key


def key_answer(private: PrivateKey) -> web.Response:
    """The answer to `GET /key`. Both fields: tailscale-rs needs the legacy one to exist."""
    return web.json_response({"legacyPublicKey": ZERO_MACHINE_KEY, "publicKey": machine_key(private.public)})


@asynccontextmanager
async def listening(host: str, port: int, routes: Iterable[web.RouteDef]) -> AsyncIterator[str]:
    """Serve these there, at a free port for 0, as long as the context lasts; the URL."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
