"""The server image: built as its script says, it runs without root and serves real clients."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from harness.backends.base import Capability
from harness.backends.network import Backend
from harness.history import History
from harness.plugin import check_needs
from harness.servers.base import all_online
from harness.servers.container import ContainerServer
from harness.tailnet import Tailnet, open_tailnet
from harness.versions import Release
from harness.wait import Budget

BUILD = Path(__file__).parent.parent / "dockerfiles" / "build-server"
BUILD_SECONDS = 900


async def run(*command: str | Path) -> str:
    """Run a command to its end; its output is shown when it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": path},
    )
    output, _ = await asyncio.wait_for(process.communicate(), BUILD_SECONDS)
    assert process.returncode == 0, output.decode(errors="replace")[-3000:]
    return output.decode()


@pytest_asyncio.fixture(loop_scope="session")
async def image(request: pytest.FixtureRequest, backend: Backend) -> AsyncIterator[str]:
    """The image of this checkout's server."""
    check_needs(request.node, backend)
    tag = f"headscale-under-test:{os.getpid()}"
    await run(BUILD, tag)
    yield tag
    await run("docker", "rmi", "--force", tag)


@pytest_asyncio.fixture(loop_scope="session")
async def tailnet(backend: Backend, releases: tuple[Release, ...], image: str) -> AsyncIterator[Tailnet]:
    """A tailnet whose server runs from that image."""
    async with backend.network("server-image") as network:
        server = ContainerServer(network, image, ephemeral_timeout=timedelta(minutes=30))
        async with open_tailnet(server, network, releases, History()) as made:
            yield made


@pytest.mark.needs(Capability.TUN)
@pytest.mark.timeout(1200)
@pytest.mark.asyncio(loop_scope="session")
async def test_the_image_serves_clients_and_survives_a_kill(tailnet: Tailnet) -> None:
    """Clients of all releases join a server that runs from the image, and are themselves after its SIGKILL."""
    clients = await tailnet.join_each()
    before = [(node.id, node.addresses) for node in await tailnet.server.nodes()]
    await tailnet.server.kill()
    await tailnet.server.start()
    after = await tailnet.until_nodes(all_online(len(clients)), Budget.RECONNECT)
    assert [(node.id, node.addresses) for node in after] == before
    await tailnet.all_hear(clients)
    await tailnet.reach(clients)
