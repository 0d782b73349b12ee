"""Which server the commands talk to: one on this machine by its socket, or with `cli.address` one elsewhere.

An address without a scheme is https. The API key goes to that server and to nobody else: redirections are not followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from headscale.cli.framework import Failed
from headscale.config import Config

ADDRESS_HELP: Final = "expected for example headscale.example.com or https://headscale.example.com:8443"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where it is; `name` is for people. `socket` is a path, empty for a server elsewhere."""

    name: str
    url: str
    socket: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_verified: bool = True

    def session(self, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        """A session with it."""
        connector: aiohttp.BaseConnector
        if self.socket:
            connector = aiohttp.UnixConnector(path=self.socket)
        else:
            connector = aiohttp.TCPConnector(ssl=self.is_verified)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self.headers)

    def why_not(self, problem: aiohttp.ClientConnectorError) -> Failed | None:
        """What keeps us from it for good; None for a server that may only be starting."""
        if isinstance(problem, aiohttp.ClientConnectorCertificateError):
            reason = getattr(problem.certificate_error, "verify_message", "") or problem.certificate_error
            return Failed(
                f"the certificate of {self.name} cannot be trusted: {reason}. If it is the right server all the "
                "same, set cli.insecure (HEADSCALE_CLI_INSECURE=true)"
            )
        if isinstance(problem, aiohttp.ClientSSLError):
            return Failed(
                f"{self.name} does not speak TLS: if it has none, say so with http:// in cli.address"
            )
        if self.socket and isinstance(problem.os_error, PermissionError):
            return NoServer(f"you may not use {self.name}: run this as the server's user or group")
        return None

    @property
    def silence(self) -> "NoServer":
        """Nobody answers there."""
        if not self.socket:
            return NoServer(f"no server answers at {self.name} (cli.address)")
        return NoServer(
            f"no server answers at {self.name}: start it with `headscale serve`, or name its configuration with -c"
        )


class NoServer(Failed):
    """Nobody answers, or we may not ask."""


def server_of(config: Config) -> Server:
    """The server that this configuration names; raises Failed for one that cannot be asked."""
    if not config.cli_address:
        return Server(name=str(config.unix_socket), url="http://headscale", socket=str(config.unix_socket))
    address = config.cli_address if "://" in config.cli_address else f"https://{config.cli_address}"
    try:
        parts = urlsplit(address)
        is_good = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good or parts.username is not None or parts.query or parts.fragment:
        raise Failed(f"cli.address: {ADDRESS_HELP}")
    if not config.cli_api_key:
        raise Failed(
            "HEADSCALE_CLI_API_KEY environment variable needs to be set (or cli.api_key): make a key with "
            "`headscale apikeys create` on the server"
        )
    url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return Server(
        name=url,
        url=url,
        headers={"Authorization": f"Bearer {config.cli_api_key}"},
        is_verified=not config.cli_insecure,
    )
