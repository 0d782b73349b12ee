"""The `headscale` command on another machine: over TLS, with an API key."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings

Ran = tuple[int | None, str, str]
Remote = Callable[..., Awaitable[Ran]]


@pytest.fixture
async def server() -> AsyncIterator[InProcessServer]:
    """A server with a certificate of an authority that nobody knows."""
    made = InProcessServer(local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5), with_tls=True))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Run the command to its end, with these CLI settings in the environment: code, stdout, stderr."""

    async def ran(*words: str, **settings: str) -> Ran:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADSCALE_")}
        given = {f"HEADSCALE_CLI_{name.upper()}": value for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headscale.cli.main", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**kept, "HEADSCALE_DATA_DIR": str(tmp_path), **given},
            cwd=tmp_path,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return ran


async def test_a_key_opens_a_server_elsewhere(
    server: InProcessServer, remote: Remote, tmp_path: Path
) -> None:
    """Given the authority, or with cli.insecure; every verb is the socket's."""
    key = (await server.call("POST", "apikey", {}))["apiKey"]
    address = server.url.removeprefix("https://")
    made = await remote("users", "create", "carol", address=address, api_key=key, insecure="true")
    assert made == (0, "User created: carol (ID 1)\n", "")
    file = tmp_path / "remote.yaml"
    file.write_text(f"cli:\n  address: {address}\n  api_key: {key}\n  insecure: true\n")
    assert (await remote("-c", str(file), "users", "list", "-o", "json-line"))[1].count(
        '"name": "carol"'
    ) == 1


async def test_what_goes_wrong_elsewhere_is_said(server: InProcessServer, remote: Remote) -> None:
    """An unknown authority, a wrong key, no key; the key is never repeated."""
    key = "hskey-api-000000000000-" + "a1b2" * 16
    settings = {"address": server.url, "api_key": key, "timeout": "5s"}
    untrusted, refused, none = await asyncio.gather(
        remote("users", "list", **settings),
        remote("users", "list", "-o", "json", **settings, insecure="true"),
        remote("users", "list", address=server.url),
    )
    assert untrusted[:2] == refused[:2] == none[:2] == (1, "")
    assert f"Error: the certificate of {server.url} cannot be trusted: " in untrusted[2]
    assert refused[2].startswith(f'{{"error": "{server.url} does not accept this API key (cli.api_key)')
    assert "HEADSCALE_CLI_API_KEY environment variable needs to be set" in none[2]
    assert key not in untrusted[2] + refused[2]


async def test_who_is_no_headscale_does_not_get_the_key_passed_on(remote: Remote) -> None:
    """A redirection is not followed, and a page is no answer."""
    seen: list[str] = []

    async def moved(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=301, headers={"Location": "/elsewhere"}, text="<html>")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", moved)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        ran = await remote("users", "list", address=f"http://127.0.0.1:{port}", api_key="k")
    finally:
        await runner.cleanup()
    expected = (
        f"Error: http://127.0.0.1:{port} answered 301 and points to /elsewhere, and not as a headscale does\n"
    )
    assert (ran, seen) == ((1, "", expected), ["/api/v1/user"])
