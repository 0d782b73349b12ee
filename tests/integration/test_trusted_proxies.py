"""Behind a real nginx the server knows its clients' addresses, if it is told to believe it and nobody else."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import aiohttp
import pytest

from harness.clients.derp import DerpClient
from harness.clients.fake import FakeClient
from harness.errors import Missing
from harness.ports import free_port
from harness.servers.configuration import Configuration
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.servers.nginx import start_nginx
from harness.strict import unavailable
from tests.integration.fakes import registered, until

pytestmark = pytest.mark.bar("A14")

HOST = "127.0.0.1"
FORWARDS = (
    "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; "
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
)
SPOOFED = {"X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", "True-Client-IP": "6.6.6.6"}

Place = Callable[..., Awaitable[tuple[InProcessServer, str]]]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """A server that trusts these proxies, and the URL of an nginx before it, which may say who its client is."""
    async with AsyncExitStack() as stack:

        async def made(*, trusted: list[str], client: str = "") -> tuple[InProcessServer, str]:
            keys = {"trusted_proxies": trusted}
            settings = local_settings(
                HOST, ephemeral_timeout=timedelta(minutes=5), configuration=Configuration(keys)
            )
            server = InProcessServer(settings)
            stack.push_async_callback(server.close)
            await server.start()
            port = free_port(HOST)
            said = f'proxy_set_header X-Forwarded-For "{client}";' if client else ""
            location = FORWARDS if not client else FORWARDS.partition("proxy_set_header X-F")[0] + said
            text = (
                f"server {{ listen {HOST}:{port}; location / {{ proxy_pass {server.url}; proxy_http_version 1.1; "
                f"{location} }} }}"
            )
            try:
                await start_nginx(stack, port, text)
            except Missing as problem:
                unavailable(str(problem))
            await server.create_user("alice")
            return server, f"http://{HOST}:{port}"

        yield made


async def remote_of(server: InProcessServer, url: str, caplog: pytest.LogCaptureFixture) -> str:
    """From where the server says that a client registered which came by this URL; it also polls and relays."""
    more = {"reusable": False, "ephemeral": False, "lifetime": timedelta(hours=1), "tags": ()}
    key = (await server.create_key("1", **more)).text  # type: ignore[arg-type]
    caplog.clear()
    async with FakeClient(url, hostname="one") as client:
        await registered(client, key)
        await until(await client.stream_map(), lambda netmap: netmap.updates > 0)
    found = re.search(r"node registered .* remote=(\S+)", caplog.text)
    assert found is not None, caplog.text
    return found[1]


async def test_a_trusted_proxy_is_believed(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Inside the Noise session too."""
    server, url = await place(trusted=["127.0.0.0/8"], client="198.51.100.7")
    assert await remote_of(server, url, caplog) == "198.51.100.7"


async def test_another_one_is_not(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    server, url = await place(trusted=["10.0.0.0/8"], client="198.51.100.7")
    assert await remote_of(server, url, caplog) == HOST
    assert await remote_of(server, server.url, caplog) == HOST


async def test_what_a_client_writes_itself_is_never_believed(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Directly, and through a proxy that adds to what it gets: refused registrations name who asked."""
    server, url = await place(trusted=["127.0.0.1"])
    for way in (server.url, url):
        async with aiohttp.ClientSession(way, headers=SPOOFED) as http, http.get("/health") as answer:
            assert answer.status == 200
    assert await remote_of(server, url, caplog) == HOST
    assert "6.6.6.6" not in caplog.text


async def test_the_relay_is_reached_through_it(place: Place) -> None:
    """An upgraded connection with the headers in its request."""
    server, url = await place(trusted=["127.0.0.1"], client="198.51.100.7")
    more = {"reusable": False, "ephemeral": False, "lifetime": timedelta(hours=1), "tags": ()}
    async with FakeClient(url, hostname="one") as one:
        await registered(one, (await server.create_key("1", **more)).text)
        relayed = await DerpClient.login(one.node_private, HOST, int(url.rpartition(":")[2]))
        await relayed.close()
