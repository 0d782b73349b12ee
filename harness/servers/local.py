"""What servers on this host share: a short-lived data directory, free ports, and the settings made of them."""

import shutil
import socket
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Where a server on this host listens and keeps its data; stays the same through restarts."""

    host: str
    port: int
    relay_port: int
    stun_port: int
    data: Path
    ephemeral_timeout: timedelta

    @property
    def url(self) -> str:
        """A literal address: clients then never try HTTPS at 443, whatever happened two minutes ago."""
        return f"http://{self.host}:{self.port}"

    @property
    def socket(self) -> Path:
        """The administrators' Unix socket."""
        return self.data / "headscale.sock"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data / "db.sqlite"


def local_settings(host: str, *, ephemeral_timeout: timedelta) -> LocalSettings:
    """Free ports on this address, and a new data directory whose path is short enough for a socket."""
    return LocalSettings(
        host=host,
        port=free_port(host),
        relay_port=free_port(host),
        stun_port=free_port(host, udp=True),
        data=Path(tempfile.mkdtemp(prefix="hs-server-")),
        ephemeral_timeout=ephemeral_timeout,
    )


def remove_data(settings: LocalSettings) -> None:
    """Delete the data directory."""
    shutil.rmtree(settings.data, ignore_errors=True)


def free_port(host: str, *, udp: bool = False) -> int:
    """A port on this IPv4 address that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
