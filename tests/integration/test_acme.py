"""The server's own certificate from a real authority (Pebble): obtained, kept, renewed, and what failure says."""

import asyncio
import contextlib
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from harness.clients.fake import FakeClient
from harness.errors import Missing
from harness.nameserver import start_nameserver
from harness.ports import free_port
from harness.servers.configuration import Configuration
from harness.servers.inprocess import InProcessServer
from harness.servers.local import LocalSettings, local_settings
from harness.servers.pebble import Pebble, start_pebble
from harness.strict import unavailable
from headscale.acme.authority import ACCOUNT
from headscale.acme.keeper import CHALLENGES, Keeper
from headscale.clock import ManualClock, SystemClock
from headscale.config.settings import ACMESettings, Challenge, Listen
from tests.integration.fakes import PATIENCE_S, registered, until

HOST = "127.0.0.1"
NAME = "hs.example"
WHILE_S = 30.0


@dataclass(frozen=True)
class Place:
    """An authority that finds the name here, and the ports at which it looks."""

    pebble: Pebble
    http_port: int
    tls_port: int
    folder: Path

    def keys(self, challenge: str) -> dict[str, object]:
        """A server's configuration."""
        return {
            "acme_url": self.pebble.directory,
            "acme_email": "ops@example.com",
            "tls_letsencrypt_hostname": NAME,
            "tls_letsencrypt_cache_dir": str(self.folder / "cache"),
            "tls_letsencrypt_challenge_type": challenge,
            "tls_letsencrypt_listen": f"{HOST}:{self.http_port}",
        }

    @property
    def trust(self) -> ssl.SSLContext:
        """Who trusts the certificates of this authority, and nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.pebble.root.decode())
        return context


@pytest.fixture
def remembers() -> bool:
    """Whether the authority believes later what it once found."""
    return False


@pytest.fixture
async def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembers: bool) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        names = await start_nameserver(stack, HOST, {NAME: HOST})
        http_port, tls_port = free_port(HOST), free_port(HOST)
        try:
            pebble = await start_pebble(
                stack,
                HOST,
                dns_server=names.address,
                http_port=http_port,
                tls_port=tls_port,
                remembers=remembers,
            )
        except Missing as problem:
            unavailable(str(problem))
        root = tmp_path / "pebble.pem"
        root.write_bytes(pebble.authority)
        monkeypatch.setenv("SSL_CERT_FILE", str(root))
        yield Place(pebble, http_port, tls_port, tmp_path)


@asynccontextmanager
async def serving(place: Place, challenge: str) -> AsyncIterator[InProcessServer]:
    settings: LocalSettings = local_settings(
        HOST, ephemeral_timeout=timedelta(minutes=5), configuration=Configuration(place.keys(challenge))
    )
    # The variables say where the harness's servers listen otherwise.
    settings = replace(settings, port=place.tls_port)
    server = InProcessServer(settings)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


async def presented(place: Place) -> x509.Certificate:
    """What a client that trusts the authority gets, which it checks. Raises SSLError for another."""
    _, writer = await asyncio.open_connection(HOST, place.tls_port, ssl=place.trust, server_hostname=NAME)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(found)


async def until_presented(place: Place) -> x509.Certificate:
    async with asyncio.timeout(WHILE_S):
        while True:
            try:
                return await presented(place)
            except OSError:  # not trusted, or the server hung up because we did not
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("challenge", ["HTTP-01", "TLS-ALPN-01"])
async def test_a_server_gets_its_certificate_by_itself(acme: Place, challenge: str) -> None:
    """A client that trusts the authority gets in; what was obtained is kept, for the owner's eyes alone."""
    async with serving(acme, challenge) as server:
        certificate = await until_presented(acme)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [NAME]
        await server.create_user("alice")
        more = {"reusable": False, "ephemeral": False, "lifetime": timedelta(hours=1), "tags": ()}
        key = (await server.create_key("1", **more)).text  # type: ignore[arg-type]
        trust = acme.trust
        trust.check_hostname = False  # the client here dials an address
        async with FakeClient(f"https://{HOST}:{acme.tls_port}", ca=trust) as client:
            await registered(client, key)
            await until(await client.stream_map(), lambda netmap: netmap.updates > 0)
    cache = acme.folder / "cache"
    assert sorted(path.name for path in cache.iterdir()) == sorted([ACCOUNT, NAME])
    assert {stat.S_IMODE(path.stat().st_mode) for path in cache.iterdir()} == {0o600}
    async with serving(acme, challenge):  # a restart asks nobody
        assert (await presented(acme)).serial_number == certificate.serial_number


@pytest.mark.parametrize("remembers", [False, True])
async def test_a_certificate_that_ends_soon_is_renewed_under_open_connections(acme: Place) -> None:
    """By the same account, with another key; who is connected stays so."""
    clock = ManualClock(SystemClock().now())
    settings = ACMESettings(
        hostname=NAME,
        directory=acme.pebble.directory,
        email="",
        cache=acme.folder / "cache",
        challenge=Challenge.TLS_ALPN,
        listen=Listen(host=HOST, port=acme.http_port),
    )
    keeper = Keeper(settings, clock)
    assert keeper.due()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    async with await asyncio.start_server(echo, HOST, acme.tls_port, ssl=keeper.context):
        running = asyncio.create_task(keeper.run())
        await asyncio.wait_for(keeper.obtained.wait(), WHILE_S)
        running.cancel()
        first = await presented(acme)
        assert not keeper.due()
        reader, writer = await asyncio.open_connection(
            HOST, acme.tls_port, ssl=acme.trust, server_hostname=NAME
        )
        account = (settings.cache / ACCOUNT).read_bytes()
        clock.advance(first.not_valid_after_utc - clock.now() - timedelta(days=29))
        assert keeper.due()
        running = asyncio.create_task(keeper.run())
        async with asyncio.timeout(WHILE_S):
            while (await presented(acme)).serial_number == first.serial_number:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        running.cancel()
        assert (settings.cache / ACCOUNT).read_bytes() == account
        assert (await presented(acme)).public_key() != first.public_key()
        writer.write(b"still here\n")
        assert await asyncio.wait_for(reader.readline(), PATIENCE_S) == b"still here\n"
        writer.close()


async def test_the_listener_for_the_authority_sends_everybody_else_to_the_server(acme: Place) -> None:
    async with serving(acme, "HTTP-01") as server, aiohttp.ClientSession() as http:
        base = f"http://{HOST}:{acme.http_port}"
        async with http.get(f"{base}/admin?x=1", allow_redirects=False) as answer:
            assert answer.status == 302
            assert answer.headers["Location"] == f"{server.settings.url}/admin?x=1"
        async with http.post(f"{base}/admin", allow_redirects=False) as answer:
            assert answer.status == 400
        async with http.get(f"{base}{CHALLENGES}other", allow_redirects=False) as answer:
            assert answer.status == 302


async def test_why_there_is_none_is_said_and_the_server_runs(
    acme: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """An authority that does not find us: its reason is in the log, with when it is asked again."""
    other = replace(acme, http_port=free_port(HOST))
    async with serving(other, "HTTP-01") as server:
        async with asyncio.timeout(WHILE_S):
            while f"does not find {NAME} here" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert "tried again in" in caplog.text
        assert await server.users() == []
        with pytest.raises(ssl.SSLError):
            await presented(other)
