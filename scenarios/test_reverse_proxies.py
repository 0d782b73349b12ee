"""Real clients through the reverse proxies of docs/reverse-proxies.md, each as the guide has it."""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import trustme

from harness.backends.base import Capability
from harness.backends.network import Backend
from harness.clients.base import Ability
from harness.errors import Missing
from harness.faults import direct_blocked
from harness.history import History
from harness.ports import free_port
from harness.servers.configuration import Configuration
from harness.servers.fronts import FRONTS, start_front
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.strict import unavailable
from harness.tailnet import Tailnet, open_tailnet
from harness.versions import Release

pytestmark = pytest.mark.asyncio(loop_scope="session")

GUIDE = Path(__file__).parent.parent / "docs" / "reverse-proxies.md"


@pytest_asyncio.fixture(loop_scope="session", params=sorted(FRONTS))
async def fronted(
    request: pytest.FixtureRequest, backend: Backend, releases: tuple[Release, ...]
) -> AsyncIterator[Tailnet]:
    """One whose clients know its server by the proxy."""
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(backend.network(f"front-{request.param}"))
        host = network.host_address
        port, authority = free_port(host), trustme.CA()
        issued = authority.issue_cert(host)
        settings = local_settings(
            host,
            ephemeral_timeout=timedelta(minutes=5),
            configuration=Configuration({"trusted_proxies": [f"{host}/32"]}),
        )
        server = InProcessServer(replace(settings, public_url=f"https://{host}:{port}"))
        server.authority = authority.cert_pem.bytes()
        try:
            await start_front(
                stack,
                request.param,
                GUIDE.read_text(),
                host=host,
                port=port,
                upstream=f"{host}:{settings.port}",
                chain=b"".join(part.bytes() for part in issued.cert_chain_pems),
                key=issued.private_key_pem.bytes(),
            )
        except Missing as problem:
            unavailable(str(problem))
        yield await stack.enter_async_context(open_tailnet(server, network, releases, History()))


async def test_clients_talk_to_the_server_and_relay_through_it(
    fronted: Tailnet, caplog: pytest.LogCaptureFixture
) -> None:
    """They join, reach each other directly and by the relay, and the server knows where they are."""
    tailnet = fronted
    able = tailnet.able(Ability.OWN_ROOTS)
    clients = [await tailnet.join("alice", release) for release in (able[0], able[-1])]
    await tailnet.reach(clients)
    async with direct_blocked(*clients):
        await tailnet.reach(clients)
    assert isinstance(tailnet.server, InProcessServer)
    seen = re.findall(r"node registered .* remote=(\S+)", caplog.text)
    assert len(seen) >= len(clients)
    if Capability.OWN_PORTS in tailnet.network.capabilities:  # else all of them are at the proxy's address
        assert tailnet.network.host_address not in seen
        assert len(set(seen)) == len(clients)
    trust = ssl.create_default_context(
        cadata=tailnet.server.authority.decode() if tailnet.server.authority else ""
    )
    async with aiohttp.ClientSession() as http:
        for path, protocol in (("/derp", "derp"), ("/ts2021", "tailscale-control-protocol")):
            url = f"{tailnet.server.url}{path}"
            async with http.ws_connect(url, protocols=[protocol], ssl=trust) as socket:
                assert socket.protocol == protocol
