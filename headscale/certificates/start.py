"""From the configuration to a publisher."""

from pathlib import Path

from headscale.certificates.command import CommandNameserver
from headscale.certificates.publisher import Nameserver, Publisher
from headscale.clock import Clock
from headscale.config.settings import Certificates, DNSCommand
from headscale.errors import Unavailable


def publisher_of(settings: Certificates, folder: Path, clock: Clock) -> Publisher:
    """What publishes as configured, with its file in the folder. Raises Unavailable when the secret cannot be read."""
    backend = settings.backend
    if isinstance(backend, DNSCommand):
        nameserver: Nameserver = CommandNameserver(backend)
    elif not backend.tsig_secret:
        raise Unavailable("dns.certificates.rfc2136.tsig_secret_path: the server may not read this file")
    else:
        from headscale.certificates.updates import (
            UpdatedNameserver,
        )  # no server without it waits for dnspython

        nameserver = UpdatedNameserver(backend)
    return Publisher(nameserver, folder, clock, timeout=settings.timeout, lifetime=settings.record_lifetime)
