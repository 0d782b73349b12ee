"""A server with a certificate: clients check it, and the relay shares it."""

from harness.clients.base import Ability
from harness.conditions import needs_login
from harness.plugin import MakeTailnet
from harness.wait import Budget


async def test_clients_join_over_https_and_relay_with_the_servers_certificate(
    make_tailnet: MakeTailnet,
) -> None:
    """Clients that trust the certificate's authority join, find their relay behind it, and reach each other."""
    tailnet = await make_tailnet(with_tls=True)
    clients = await tailnet.join_each(able=Ability.OWN_ROOTS)
    await tailnet.reach(clients)


async def test_a_client_that_does_not_trust_the_certificate_stays_out(make_tailnet: MakeTailnet) -> None:
    """Without the authority the server's key cannot be had: nobody is let in, and the user reads why."""
    tailnet = await make_tailnet(with_tls=True)
    key = await tailnet.auth_key("alice", reusable=True)
    trusting = await tailnet.join_each(able=Ability.OWN_ROOTS)
    client = await tailnet.client(trusting[-1].release)
    client.env.pop("SSL_CERT_FILE")
    await client.restart()
    result = await client.up(tailnet.server.url, auth_key=key.text, extra=["--timeout=5s"])
    assert not result.ok
    status = await client.until(needs_login(), Budget.SYNC)
    assert "certificate signed by unknown authority" in " ".join(status.health)
    assert len(await tailnet.server.nodes()) == len(trusting)
