"""The `headscale` command on another machine: over TLS, with an API key."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from tests.integration.commands import Headscale, Ran, run


@pytest.fixture
async def server() -> AsyncIterator[InProcessServer]:
    """A server with a certificate of an authority that nobody knows."""
    made = InProcessServer(local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5), with_tls=True))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def remote(tmp_path: Path) -> Headscale:
    """Run the command to its end, with these CLI settings in the environment."""

    async def ran(*words: str, **settings: str) -> Ran:
        given = {f"HEADSCALE_CLI_{name.upper()}": value for name, value in settings.items()}
        return await run(*words, given={"HEADSCALE_DATA_DIR": str(tmp_path), **given}, folder=tmp_path)

    return ran


async def test_a_key_opens_a_server_elsewhere(
    server: InProcessServer, remote: Headscale, tmp_path: Path
) -> None:
    """Given the authority, or with cli.insecure; every verb is the socket's."""
    key = (await server.call("POST", "apikey", {}))["apiKey"]
    address = server.url.removeprefix("https://")
    made = await remote("users", "create", "carol", address=address, api_key=key, insecure="true")
    assert made == Ran(0, "User created: carol (ID 1)\n", "")
    file = tmp_path / "remote.yaml"
    file.write_text(f"cli:\n  address: {address}\n  api_key: {key}\n  insecure: true\n")
    listed = await remote("-c", str(file), "users", "list", "-o", "json-line")
    assert listed.out.count('"name": "carol"') == 1


async def test_what_goes_wrong_elsewhere_is_said(server: InProcessServer, remote: Headscale) -> None:
    """An unknown authority, a wrong key, no key; the key is never repeated."""
    key = "hskey-api-000000000000-" + "a1b2" * 16
    settings = {"address": server.url, "api_key": key, "timeout": "5s"}
    untrusted, refused, none = await asyncio.gather(
        remote("users", "list", **settings),
        remote("users", "list", "-o", "json", **settings, insecure="true"),
        remote("users", "list", address=server.url),
    )
    assert {(ran.code, ran.out) for ran in (untrusted, refused, none)} == {(1, "")}
    assert f"Error: the certificate of {server.url} cannot be trusted: " in untrusted.err
    assert refused.err.startswith(f'{{"error": "{server.url} does not accept this API key (cli.api_key)')
    assert "HEADSCALE_CLI_API_KEY environment variable needs to be set" in none.err
    assert key not in untrusted.err + refused.err


async def test_who_is_no_headscale_does_not_get_the_key_passed_on(remote: Headscale) -> None:
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
    assert (ran, seen) == (Ran(1, "", expected), ["/api/v1/user"])
