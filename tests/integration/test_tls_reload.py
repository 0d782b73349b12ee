"""A certificate that is renewed under the running server: new connections get it, open ones go on."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import trustme

from harness.clients.fake import FakeClient
from harness.servers.inprocess import InProcessServer
from harness.servers.local import LocalSettings, local_settings
from tests.integration.fakes import PATIENCE_S, registered, until


@pytest.fixture
async def server() -> AsyncIterator[InProcessServer]:
    """One with a certificate."""
    settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5), with_tls=True)
    made = InProcessServer(settings)
    await made.start()
    yield made
    await made.close()


async def served(settings: LocalSettings) -> bytes:
    """The certificate that a new connection gets, DER."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(settings.host, settings.port, ssl=trust)
    presented: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return presented


async def until_served(settings: LocalSettings, wanted: trustme.LeafCert) -> None:
    """Wait until new connections get this certificate."""
    expected = ssl.PEM_cert_to_DER_cert(wanted.cert_chain_pems[0].bytes().decode())
    async with asyncio.timeout(PATIENCE_S):
        while await served(settings) != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_renewed_certificate_is_served(server: InProcessServer) -> None:
    """Without a restart: a poll that is open hears of a peer that came by the new one."""
    settings = server.settings
    assert settings.authority is not None
    await server.create_user("alice")

    async def key() -> str:
        more = {"reusable": False, "ephemeral": False, "lifetime": timedelta(hours=1), "tags": ()}
        return (await server.create_key("1", **more)).text  # type: ignore[arg-type]

    old = ssl.create_default_context(cadata=settings.authority.decode())
    authority = trustme.CA()
    new = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    async with (
        FakeClient(settings.url, hostname="before", ca=old) as before,
        FakeClient(settings.url, hostname="after", ca=new) as after,
    ):
        await registered(before, await key())
        stream = await before.stream_map()
        await until(stream, lambda netmap: netmap.updates > 0)
        renewed = authority.issue_cert(settings.host)
        settings.certificate.write_bytes(b"".join(part.bytes() for part in renewed.cert_chain_pems))
        settings.certificate_key.write_bytes(renewed.private_key_pem.bytes())
        await until_served(settings, renewed)
        await registered(after, await key())
        await until(stream, lambda netmap: netmap.peer_named("after") is not None)


async def test_a_pair_that_does_not_belong_together_is_not_taken(
    server: InProcessServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once; the former pair is served until the other half is there."""
    settings = server.settings
    before = await served(settings)
    renewed = trustme.CA().issue_cert(settings.host)
    settings.certificate.write_bytes(b"".join(part.bytes() for part in renewed.cert_chain_pems))
    async with asyncio.timeout(PATIENCE_S):
        while "the certificate is not taken" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert await served(settings) == before
    await asyncio.sleep(1.5)
    assert caplog.text.count("the certificate is not taken") == 1
    settings.certificate_key.write_bytes(renewed.private_key_pem.bytes())
    await until_served(settings, renewed)


async def test_files_that_are_gone_for_a_moment_change_nothing(server: InProcessServer) -> None:
    """As whoever renews by deleting and writing leaves them."""
    settings = server.settings
    before = await served(settings)
    content = settings.certificate.read_bytes()
    settings.certificate.unlink()
    await asyncio.sleep(2)
    assert await served(settings) == before
    settings.certificate.write_bytes(content)
    await asyncio.sleep(1.5)
    assert await served(settings) == before
