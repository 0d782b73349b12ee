"""What servers on this host share: a short-lived data directory, free ports, and the settings made of them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from harness.ports import free_port
from harness.runs import new_folder
from harness.servers.configuration import FILE, Configuration


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Where a server on this host listens and keeps its data; stays the same through restarts."""

    host: str
    port: int
    relay_port: int
    stun_port: int
    data: Path
    ephemeral_timeout: timedelta
    authority: bytes | None = None
    """Who signed the server's certificate (PEM); None for a server without TLS."""
    everywhere: bool = False
    """It listens at all of the host's addresses; its URL is at one of them."""
    configuration: Configuration = field(default_factory=Configuration)
    """What the scenario wants besides."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Variables that name a database which is not in the data directory."""

    public_url: str = ""
    """What clients know it by, where something stands before it."""

    @property
    def url(self) -> str:
        """A literal address: with http clients then never try HTTPS at 443, whatever happened two minutes ago."""
        return self.public_url or f"{'https' if self.authority else 'http'}://{self.host}:{self.port}"

    @property
    def certificate(self) -> Path:
        """The server's certificate chain, where there is TLS."""
        return self.data / "server.crt"

    @property
    def certificate_key(self) -> Path:
        """The certificate's key."""
        return self.data / "server.key"

    @property
    def file(self) -> Path:
        """The configuration file; paths in it are relative to the data directory."""
        return self.data / FILE

    @property
    def variables(self) -> Mapping[str, str]:
        """The rest of the configuration, as variables of the environment; all of it where the scenario adds nothing."""
        tls = {
            "HEADSCALE_TLS_CERT_PATH": str(self.certificate),
            "HEADSCALE_TLS_KEY_PATH": str(self.certificate_key),
        }
        host = "" if self.everywhere else self.host
        return {
            **(tls if self.authority else {}),
            **({"HEADSCALE_CONFIG": str(self.file)} if self.configuration.keys else {}),
            **self.elsewhere,
            "HEADSCALE_DATA_DIR": str(self.data),
            "HEADSCALE_UNIX_SOCKET": str(self.socket),
            "HEADSCALE_SERVER_URL": self.url,
            "HEADSCALE_LISTEN_ADDR": f"{host}:{self.port}",
            "HEADSCALE_DERP_SERVER_TLS_LISTEN_ADDR": f"{host}:{self.relay_port}",
            "HEADSCALE_DERP_SERVER_STUN_LISTEN_ADDR": f"{host}:{self.stun_port}",
        }

    @property
    def socket(self) -> Path:
        """The administrators' Unix socket."""
        return self.data / "headscale.sock"

    @property
    def database(self) -> Path:
        """The SQLite file, where the records are not elsewhere."""
        return self.data / "db.sqlite"


def local_settings(
    host: str,
    *,
    ephemeral_timeout: timedelta,
    with_tls: bool = False,
    everywhere: bool = False,
    configuration: Configuration | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> LocalSettings:
    """Free ports on this address, and a new data directory whose path is short enough for a socket.

    With TLS there is a certificate of a new authority in the data directory.
    """
    settings = LocalSettings(
        host=host,
        port=free_port(host),
        relay_port=free_port(host),
        stun_port=free_port(host, udp=True),
        data=new_folder("server"),
        ephemeral_timeout=ephemeral_timeout,
        everywhere=everywhere,
        configuration=configuration or Configuration(),
        elsewhere=elsewhere or {},
    )
    if settings.configuration != Configuration():
        settings.configuration.write(settings.data)
    return _certified(settings) if with_tls else settings


def _certified(settings: LocalSettings) -> LocalSettings:
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert(settings.host)
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    settings.certificate.write_bytes(chain)
    settings.certificate_key.touch(mode=0o600)
    settings.certificate_key.write_bytes(issued.private_key_pem.bytes())
    return replace(settings, authority=authority.cert_pem.bytes())


def remove_data(settings: LocalSettings) -> None:
    """Delete the data directory."""
    shutil.rmtree(settings.data, ignore_errors=True)
