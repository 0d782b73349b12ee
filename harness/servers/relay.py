"""A relay of the harness's own, for control servers whose own relay clients would not trust.

It runs in the test process, on TLS with a certificate that clients are told not to check, and serves whoever
connects. Servers learn of it from a DERP map file in the form that the Go headscale and ours both read.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from harness.ports import free_port
from harness.runs import prefix
from headscale import tls
from headscale.clock import SystemClock
from headscale.derp.server import DerpServer
from headscale.derp.stun import StunProtocol
from headscale.keys import NodeKey, generate_private_key

REGION_ID = 901


async def start_relay(stack: AsyncExitStack, host: str) -> str:
    """Run a relay on this address until the stack unwinds; returns the DERP map file's text."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix("relay"))))
    certificate, key = folder / "relay.crt", folder / "relay.key"
    tls.load_or_create([host], certificate_path=certificate, key_path=key, now=datetime.now(UTC))
    derp_port, stun_port = free_port(host), free_port(host, udp=True)
    relay = DerpServer(generate_private_key(), SystemClock(), _everyone)
    app = web.Application()
    app.add_routes(relay.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.push_async_callback(relay.close)
    context = tls.server_context(certificate_path=certificate, key_path=key)
    await web.TCPSite(runner, host, derp_port, ssl_context=context).start()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        StunProtocol, local_addr=(host, stun_port)
    )
    stack.callback(transport.close)
    return map_text(host, derp_port=derp_port, stun_port=stun_port)


def map_text(host: str, *, derp_port: int, stun_port: int) -> str:
    """The map file: one region, one relay."""
    return f"""regions:
  {REGION_ID}:
    regionid: {REGION_ID}
    regioncode: harness
    regionname: the harness's relay
    nodes:
      - name: {REGION_ID}a
        regionid: {REGION_ID}
        hostname: {host}
        ipv4: {host}
        ipv6: none
        stunport: {stun_port}
        derpport: {derp_port}
        insecurefortests: true
"""


async def _everyone(key: NodeKey, source: str) -> bool:
    return True
