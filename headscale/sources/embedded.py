"""The region of our own relay, as clients are told of it."""

from urllib.parse import urlsplit

from cryptography import x509

from headscale import tls
from headscale.config.settings import Config
from headscale.derp.regions import EmbeddedRegion, embedded_region
from headscale.tailcfg.derpmap import DERPRegion


def region_of(config: Config, certificate: x509.Certificate | None) -> DERPRegion:
    """Behind the server's URL; with a certificate of its own on its own listener, pinned. There must be a relay."""
    assert config.derp is not None
    url = urlsplit(config.tailnet.server_url)
    return embedded_region(
        EmbeddedRegion(
            region_id=config.derp.region_id,
            code=config.derp.region_code,
            name=config.derp.region_name,
            host=url.hostname or "localhost",
            derp_port=config.derp.tls_listen.port if certificate else url.port or 443,
            stun_port=config.derp.stun_listen.port,
            ipv4=config.derp.ipv4,
            ipv6=config.derp.ipv6,
            cert_pin=tls.pin(certificate) if certificate else None,
        )
    )
